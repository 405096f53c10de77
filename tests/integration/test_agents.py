"""Coding agents, unmodified: they call their tools as the model says, and answer from the results.

Their prompts are longer than the small model can read, and it calls no tools by itself. So a fake
model answers them, over the service's real routes.
"""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from deployments.answer_events import AnswerEvent, Opening, Piece, TokenUsage
from serve_app.testing import MODEL, FakeModel, Fakes
from tests.integration.page.fake_service import FakeService, served
from tests.support.clients import Clients

pytestmark = pytest.mark.clients
COMMAND = "echo 1790 > year.txt && cat year.txt"
# How each agent names its tool that runs a command, and the command in it.
TOOLS = {"exec_command": "cmd", "Bash": "command", "bash": "command"}


@dataclass
class AgentModel(FakeModel):
    """Runs COMMAND by the agent's tool, then says what came of it."""

    window: int = 100_000

    async def stream_chat(
        self, body: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        self.bodies.append(body)
        yield [Opening({"id": "1"}), Piece("", delta={"role": "assistant"})]
        last = body["messages"][-1]
        names = [tool["function"]["name"] for tool in body.get("tools", ())]
        name = next((name for name in names if name in TOOLS), None)
        if name is None or last["role"] == "tool":
            for word in ("The ", "tool ", "says: ", last["content"]):
                yield [Piece(word)]
            yield [Piece("", finish_reason="stop")]
        else:
            arguments = json.dumps({TOOLS[name]: COMMAND, "description": "Writes the year"})
            function = {"name": name, "arguments": arguments}
            call = {"index": 0, "id": "call_1", "type": "function", "function": function}
            yield [Piece(None, delta={"tool_calls": [call]})]
            yield [Piece("", finish_reason="tool_calls")]
        yield [TokenUsage({"prompt_tokens": 90, "completion_tokens": 9, "total_tokens": 99})]


@pytest.fixture
def agents() -> Iterator[FakeService]:
    with served(Fakes(llm=AgentModel()), limits={"max_prompt_chars": 400_000}) as service:
        yield service


def run(clients: Clients, folder: Path, command: Sequence[str], **more: str) -> str:
    """Run an agent in an empty folder, which is its home as well."""
    home = dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "PWD"), str(folder))
    home["NO_PROXY"] = "127.0.0.1,localhost"
    # These are no programs of Node or Python: the closed port keeps them from other machines.
    proxy = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    proxy |= {name.lower(): value for name, value in proxy.items()} | {"no_proxy": home["NO_PROXY"]}
    output = clients.run(list(command), folder, **home, **proxy, **more)
    assert (folder / "year.txt").read_text() == "1790\n"
    return output


def conversation(service: FakeService) -> list[dict[str, Any]]:
    """The messages of the model's last request."""
    bodies: list[Mapping[str, Any]] = service.fakes.llm.bodies
    return list(bodies[-1]["messages"])


def test_codex(clients: Clients, agents: FakeService, tmp_path: Path) -> None:
    program = clients.node("codex") / "node_modules" / ".bin" / "codex"
    provider = {"name": "GenServe", "base_url": f"{agents.url}/v1", "env_key": "GENSERVE_API_KEY"}
    options = {"model": MODEL, "model_provider": "genserve"}
    options |= {f"model_providers.genserve.{name}": value for name, value in provider.items()}
    config = [part for name, value in options.items() for part in ("-c", f'{name}="{value}"')]
    command = [str(program), "exec", "--skip-git-repo-check", *config]
    command += ["--dangerously-bypass-approvals-and-sandbox", "Write the year"]
    output = run(clients, tmp_path, command, GENSERVE_API_KEY="none", CODEX_HOME=str(tmp_path))
    assert "The tool says: " in output
    call, result = conversation(agents)[-2:]
    assert call["tool_calls"][0]["function"]["name"] == "exec_command"
    assert "1790" in result["content"]
    # Codex groups functions in namespaces, which chat templates do not know.
    names = [tool["function"]["name"] for tool in agents.fakes.llm.bodies[-1]["tools"]]
    assert any("__" in name for name in names)


def test_claude_code(clients: Clients, agents: FakeService, tmp_path: Path) -> None:
    packages = clients.node("claude_code") / "node_modules" / "@anthropic-ai"
    (program,) = packages.glob("claude-code-*/claude")
    settings = {"ANTHROPIC_BASE_URL": agents.url, "ANTHROPIC_API_KEY": "none"}
    settings |= dict.fromkeys(("ANTHROPIC_MODEL", "ANTHROPIC_DEFAULT_HAIKU_MODEL"), MODEL)
    settings["CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC"] = "1"
    command = [str(program), "-p", "Write the year", "--allowedTools", "Bash"]
    output = run(clients, tmp_path, command, **settings)
    assert output.strip() == "The tool says: 1790"
    call, result = conversation(agents)[-2:]
    assert call["tool_calls"][0]["function"]["name"] == "Bash"
    assert result["content"] == "1790"


def test_opencode(clients: Clients, agents: FakeService, tmp_path: Path) -> None:
    program = next((clients.node("opencode") / "node_modules").glob("opencode-*/bin/opencode"))
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "options": {"baseURL": f"{agents.url}/v1", "apiKey": "none"},
        "models": {MODEL: {"name": "Small", "limit": {"context": 32_768, "output": 4096}}},
    }
    (tmp_path / "opencode.json").write_text(json.dumps({"provider": {"genserve": provider}}))
    command = [str(program), "run", "-m", f"genserve/{MODEL}", "Write the year"]
    output = run(clients, tmp_path, command)
    assert "The tool says: 1790" in output
    call, result = conversation(agents)[-2:]
    assert call["tool_calls"][0]["function"]["name"] == "bash"
    assert result["content"].strip() == "1790"
