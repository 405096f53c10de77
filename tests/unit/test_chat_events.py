"""Which streams of vLLM's become events, and what of an answer is in them; vLLM is a stand-in."""

from __future__ import annotations

import sys
import types
from collections.abc import AsyncGenerator
from types import SimpleNamespace
from typing import Any

import pytest

from deployments.answer_events import AnswerEvent, Opening, Piece, TokenUsage
from deployments.llm.chat_events import ChatEvents
from deployments.llm.output_hold import Part
from deployments.llm.progress import Progress

pytestmark = pytest.mark.anyio


class Delegating:
    """vLLM's parser that leaves text alone where there are no tools."""

    reasoning_parser: Any = None
    _engine_based = False

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def parse_delta(self, *, delta_text: str, **_: Any) -> Any:
        fields = (
            {"content": delta_text} if delta_text != "<tool>" else {"tool_calls": [{"id": "c"}]}
        )
        return SimpleNamespace(model_dump=lambda **_: dict(fields)) if delta_text else None

    def _extract_tool_calls_streaming(self) -> None: ...

    def count_reasoning_tokens(self, token_ids: tuple[int, ...]) -> int:
        return len(token_ids) - 1


class Combined(Delegating):
    def parse_delta(self, **_: Any) -> Any:
        return SimpleNamespace(model_dump=lambda **_: {"reasoning": "hm"})


@pytest.fixture(autouse=True)
def _parsers(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("vllm.parser.abstract_parser")
    module.DelegatingParser = Delegating  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "vllm.parser.abstract_parser", module)


class Serving:
    def __init__(self, parser_cls: Any = None, **more: Any) -> None:
        self.parser_cls = parser_cls
        self.enable_log_outputs = self.enable_per_request_metrics = False
        self.enable_force_include_usage = self.enable_prompt_tokens_details = False
        self._include_reasoning_tokens_details = False
        self.system_fingerprint = "f"
        self.default_chat_template_kwargs: dict[str, Any] = {}
        self.renderer = SimpleNamespace(tokenizer=None)
        self.model_config = None
        config = SimpleNamespace(speculative_config=None)
        self.engine_client = SimpleNamespace(vllm_config=config)
        vars(self).update(more)

    async def chat_completion_stream_generator(
        self, *_: Any, **__: Any
    ) -> AsyncGenerator[str, None]:
        yield "a block"

    def _make_parser(self, *_: Any) -> Any:
        return self.parser_cls()

    def get_chat_request_role(self, _: Any) -> str:
        return "assistant"

    def _raise_if_error(self, reason: str | None, _: str) -> None:
        if reason == "error":
            msg = "broken"
            raise ValueError(msg)


def request(**fields: Any) -> Any:
    names = ("n", "stream_options", "tools", "logprobs", "echo", "return_token_ids")
    defaults = dict.fromkeys((*names, "return_prompt_text", "use_beam_search"))
    return SimpleNamespace(
        **(defaults | {"tool_choice": "none", "parallel_tool_calls": True} | fields)
    )


async def results(*texts: str, reason: str = "stop") -> AsyncGenerator[Any, None]:
    for number, text in enumerate(texts):
        last = number == len(texts) - 1
        output = SimpleNamespace(
            text=text,
            token_ids=[number],
            finish_reason=reason if last else None,
            stop_reason="###" if last else None,
        )
        yield SimpleNamespace(prompt_token_ids=[1, 2, 3] if number == 0 else None, outputs=[output])


async def events(
    serving: Serving, asked: Any, *texts: str, reason: str = "stop"
) -> list[AnswerEvent]:
    stream = ChatEvents(serving)(
        asked, results(*texts, reason=reason), "id", "model", [], None, None
    )
    return [event async for some in stream for event in some]  # type: ignore[misc]


@pytest.mark.parametrize("parser", [None, Delegating])
async def test_text_alone_becomes_events(parser: Any) -> None:
    options = SimpleNamespace(include_usage=True, continuous_usage_stats=False)
    opening, *others = await events(
        Serving(parser), request(stream_options=options), "Snow", "", " is", " white"
    )
    assert isinstance(opening, Opening)
    assert {**opening.fields, "created": 0} == {
        "id": "id",
        "object": "chat.completion.chunk",
        "created": 0,
        "model": "model",
    }
    assert others == [
        Piece("", delta={"role": "assistant"}),
        Piece("Snow"),
        Piece(" is"),
        Piece(" white", finish_reason="stop", choice={"stop_reason": "###"}),
        TokenUsage(
            {"prompt_tokens": 3, "total_tokens": 7, "completion_tokens": 4},
            {"system_fingerprint": "f"},
        ),
    ]


async def test_tool_calls_are_parsed_and_end_as_such() -> None:
    asked = request(tools=[{}], tool_choice="auto")
    found = (await events(Serving(Delegating), asked, "a", "<tool>", ""))[2:]
    assert found == [
        Piece("a"),
        Piece(None, delta={"tool_calls": [{"id": "c"}]}),
        Piece(
            None,
            finish_reason="tool_calls",
            choice={"stop_reason": "###"},
            chunk={"system_fingerprint": "f"},
        ),
    ]


class Named:
    """As vLLM's choice of one tool, which has no hash."""

    __hash__ = None  # type: ignore[assignment]


async def test_a_call_of_the_tool_that_was_named_ends_as_text_does() -> None:
    asked = request(tools=[{}], tool_choice=Named())
    last = (await events(Serving(Delegating), asked, "<tool>", ""))[-1]
    assert isinstance(last, Piece)
    assert last.finish_reason == "stop"


async def test_what_was_merged_is_parsed_part_by_part() -> None:
    output = SimpleNamespace(text="a<tool>", token_ids=[1, 2], finish_reason=None)
    merged = SimpleNamespace(prompt_token_ids=[1], outputs=[output])
    merged.parts = [Part("a", [1]), Part("<tool>", [2])]

    async def one() -> AsyncGenerator[Any, None]:
        yield merged

    asked = request(tools=[{}], tool_choice="auto")
    stream = ChatEvents(Serving(Delegating))(asked, one(), "id", "model", [], None, None)
    found = [event async for some in stream for event in some]
    assert found[2:] == [Piece("a"), Piece(None, delta={"tool_calls": [{"id": "c"}]})]


async def test_a_parser_that_changes_all_text_is_asked_without_tools_too() -> None:
    found = await events(Serving(Combined), request(), "a", "b")
    assert found[2] == Piece(None, delta={"reasoning": "hm"})


async def test_reasoning_tokens_are_counted() -> None:
    options = SimpleNamespace(include_usage=True, continuous_usage_stats=False)
    serving = Serving(Combined, _include_reasoning_tokens_details=True)
    usage = (await events(serving, request(stream_options=options), "a", "b"))[-1]
    assert isinstance(usage, TokenUsage)
    assert usage.tokens["completion_tokens_details"] == {"reasoning_tokens": 1}


@pytest.mark.parametrize(
    ("serving", "asked"),
    [
        ({}, {"n": 2}),
        ({}, {"logprobs": True}),
        ({}, {"echo": True}),
        ({}, {"return_token_ids": True}),
        ({}, {"tools": [{}], "parallel_tool_calls": False}),
        ({}, {"stream_options": SimpleNamespace(continuous_usage_stats=True)}),
        ({"enable_log_outputs": True}, {}),
    ],
)
async def test_what_only_vllm_has_is_left_to_it(
    serving: dict[str, Any], asked: dict[str, Any]
) -> None:
    characters = await events(Serving(**serving), request(**asked), "a")
    assert "".join(map(str, characters)) == "a block"


async def test_an_error_of_the_engine_is_raised() -> None:
    with pytest.raises(ValueError, match="broken"):
        await events(Serving(), request(), "a", "b", reason="error")


async def test_an_engine_that_ends_at_once_has_no_events() -> None:
    assert await events(Serving(), request()) == []


def test_a_stall_is_the_time_with_requests_and_without_a_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = iter((0.0, 10.0, 20.0, 70.0, 80.0, 90.0, 100.0, 110.0, 120.0))
    monkeypatch.setattr("deployments.llm.progress.time.monotonic", lambda: next(clock))
    processor = SimpleNamespace(process_outputs=len, update_scheduler_stats=str)
    progress = Progress(processor)
    seen = [progress.stalled_s(busy=busy) for busy in (False, True, False, True)]
    # A request that gave up counts, an idle time does not.
    assert seen == [0.0, 10.0, 10.0, 20.0]
    assert processor.process_outputs([1, 2]) == 2
    assert progress.stalled_s(busy=True) == 10.0
    processor.update_scheduler_stats(SimpleNamespace(num_running_reqs=0))
    assert progress.stalled_s(busy=False) == 10.0
    processor.update_scheduler_stats(SimpleNamespace(num_running_reqs=1))  # of a long prompt
    assert progress.stalled_s(busy=False) == 0.0
