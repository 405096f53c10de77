"""The engine over vLLM's serving layer, which a stand-in plays: vLLM itself loads a model first."""

from __future__ import annotations

import json
import sys
import threading
import types
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import pytest
from jinja2 import TemplateError
from pydantic import TypeAdapter, ValidationError

from deployments.answer_events import Opening, Piece
from deployments.errors import InvalidRequest, Unavailable
from deployments.llm.grammars.bounds import Constraint
from deployments.llm.grammars.judge import GrammarJudge
from deployments.llm.outside_text import OutsideText
from deployments.llm.request_errors import Admission, from_exception
from deployments.llm.vllm_engine import VllmEngine, _Surface
from tests.support.grammars import ATTACK, FakeProcess, response_format, tool

pytestmark = pytest.mark.anyio
NOTHING = OutsideText.of(object(), "")


@pytest.fixture
def imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The classes of vLLM that the engine tells apart; importing the real ones takes seconds."""
    names = {
        "vllm.entrypoints.serve.engine.protocol": ["ErrorResponse"],
        "vllm.exceptions": ["GracefulHTTPError", "VLLMClientError"],
        "vllm.v1.engine.exceptions": ["EngineDeadError"],
    }
    for module, classes in names.items():
        stand_in = types.ModuleType(module)
        for name in classes:
            setattr(stand_in, name, type(name, (Exception,), {}))
        monkeypatch.setitem(sys.modules, module, stand_in)


def engine(*blocks: str, tokenizer: object = None) -> VllmEngine:
    async def events() -> AsyncGenerator[str, None]:
        for block in blocks:
            yield block

    async def answer(_request: Any, _raw: None) -> AsyncGenerator[str, None]:
        return events()

    loaded = types.SimpleNamespace(model_config=types.SimpleNamespace(max_model_len=64))
    surface = _Surface(dict, answer)
    judge = GrammarJudge(FakeProcess())
    return VllmEngine(loaded, surface, surface, OutsideText.of(tokenizer, ""), "ours", judge=judge)


@pytest.mark.parametrize("blocks", [(), ("data: [DONE]\n\n",)])
async def test_a_stream_that_ends_before_its_first_chunk_is_unavailable(
    blocks: tuple[str, ...], imported: None
) -> None:
    for stream in (engine(*blocks).chat_events({}), engine(*blocks).completion_events({})):
        with pytest.raises(Unavailable, match="before it began"):
            await anext(stream)


async def test_blocks_of_vllm_become_events(imported: None) -> None:
    chunk = {"id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choice = {"index": 0, "delta": {"content": "x"}, "logprobs": None, "finish_reason": None}
    blocks = [f"data: {json.dumps(chunk | {'choices': [choice]})}\n\n", "data: [DONE]\n\n"]
    events = [event async for some in engine(*blocks).chat_events({}) for event in some]
    assert events == [Opening(chunk), Piece("x")]


class CountingTokenizer:
    """A token for each character; notes how many characters it was given."""

    def __init__(self) -> None:
        self.chars = 0
        self.backend_tokenizer = self

    def encode_batch(self, texts: Sequence[str], **_options: bool) -> list[str]:
        self.chars += sum(map(len, texts))
        return list(texts)

    def __call__(self, texts: Sequence[str], **_options: bool) -> dict[str, list[list[int]]]:
        return {"input_ids": [[] for _ in texts]}


async def test_a_prompt_far_over_the_window_is_not_encoded_to_its_end(imported: None) -> None:
    tokenizer = CountingTokenizer()
    loaded = engine("data: {}\n\n", tokenizer=tokenizer)
    for body in (
        {"messages": [{"role": "user", "content": "x" * 1_000_000}]},
        {"prompt": ["short", "x" * 1_000_000]},
    ):
        with pytest.raises(InvalidRequest, match="more than 128") as caught:
            await anext(loaded.chat_events(body))
        assert caught.value.param in body
    assert tokenizer.chars < 50_000


async def test_what_vllm_would_compile_for_tools_is_judged(
    imported: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.llm.vllm_engine.check_supported", lambda _: None)
    process = FakeProcess()
    loaded = types.SimpleNamespace(model_config=types.SimpleNamespace(max_model_len=64))
    threads: list[int] = []
    answered: list[Any] = []

    def tools(request: dict[str, Any]) -> list[Constraint]:
        threads.append(threading.get_ident())
        schema = request["tools"][0]["function"]["parameters"]
        free = request["tool_choice"] == "auto"
        return [] if free else [Constraint("tools", "json", json.dumps(schema))]

    async def answer(request: Any, _raw: None) -> Any:
        answered.append(request)
        return types.SimpleNamespace(model_dump=lambda **_: {"choices": []})

    surface = _Surface(dict, answer, tools=tools)
    judge = GrammarJudge(process)
    model = VllmEngine(loaded, surface, surface, NOTHING, "ours", judge=judge)
    await model.chat({"tools": [tool(ATTACK)], "tool_choice": "auto"})
    assert (len(answered), process.judged) == (1, [])
    with pytest.raises(InvalidRequest, match="tools: 30000 repetitions"):
        await model.chat({"tools": [tool(ATTACK)], "tool_choice": "required"})
    dear = {"tools": [tool({"type": "string", "maxLength": 9})], "tool_choice": "required"}
    await model.chat(dear)
    assert [(each.field, each.kind) for (each,) in process.judged] == [("tools", "json")]
    assert threading.get_ident() not in threads
    # The response format is judged first: vLLM's parser validates it.
    process.verdict = "it takes too long"
    calls = len(threads)
    with pytest.raises(InvalidRequest, match=r"response_format: .* it takes too long"):
        await model.chat(dear | {"response_format": response_format({"pattern": "a"})})
    assert (len(threads), len(answered)) == (calls, 2)


async def test_a_schema_is_refused_before_vllm_sees_it(imported: None) -> None:
    with pytest.raises(InvalidRequest, match="repetitions"):
        await anext(engine().chat_events({"response_format": response_format(ATTACK)}))


@pytest.mark.parametrize(
    ("error", "accepted", "kind", "message"),
    [
        (ValueError("too long"), False, InvalidRequest, "too long"),
        (KeyError("function"), False, InvalidRequest, "the wrong type"),
        (TypeError("no"), False, InvalidRequest, "the wrong type"),
        (RecursionError(), False, InvalidRequest, "too deeply"),
        (UnicodeEncodeError("utf-8", "\ud800", 0, 1, "no"), False, InvalidRequest, "Unicode"),
        (TemplateError("roles must alternate"), False, InvalidRequest, "chat template"),
        (InvalidRequest("as it is"), True, InvalidRequest, "as it is"),
        (ValueError("of the engine"), True, Unavailable, "failed"),
        (KeyError("of the engine"), True, Unavailable, "failed"),
        (OSError("of the engine"), False, Unavailable, "failed"),
        (MemoryError(), False, Unavailable, "failed"),
    ],
)
def test_an_exception_before_acceptance_is_the_requests_fault(
    error: Exception, kind: type[Exception], message: str, imported: None, *, accepted: bool
) -> None:
    found = from_exception(error, Admission(accepted))
    assert type(found) is kind
    assert message in found.message


def test_a_validation_error_quotes_no_input(imported: None) -> None:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(int).validate_python("SECRET")
    found = from_exception(caught.value, Admission())
    assert isinstance(found, InvalidRequest)
    assert "SECRET" not in found.message


async def test_each_owner_has_a_salt_that_only_this_engine_can_make(imported: None) -> None:
    seen: list[dict[str, Any]] = []

    async def answer(request: dict[str, Any], _raw: None) -> Any:
        seen.append(request)
        return types.SimpleNamespace(model_dump=lambda **_: {"choices": []})

    loaded = types.SimpleNamespace(model_config=types.SimpleNamespace(max_model_len=64))
    surface = _Surface(dict, answer)
    for _ in range(2):
        engine = VllmEngine(
            loaded, surface, surface, NOTHING, "ours", judge=GrammarJudge(FakeProcess())
        )
        for owner in ("alice", "alice", "bob"):
            await engine.chat({"cache_salt": owner})
        await engine.complete({"cache_salt": "bob"})
        await engine.complete({})
    first, again, bobs, completed = (body["cache_salt"] for body in seen[:4])
    assert first == again != bobs == completed
    assert "cache_salt" not in seen[4]
    assert len({body.get("cache_salt") for body in seen}) == 5  # another engine, another secret
    assert not {"alice", "bob"} & {body.get("cache_salt") for body in seen}
