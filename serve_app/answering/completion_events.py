"""Convert a whole completion to the events of a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deployments.answer_events import Piece, TokenUsage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from deployments.answer_events import AnswerEvent

_REASONING = ("reasoning", "reasoning_content")  # the name depends on the engine


def text_events(completion: Mapping[str, Any]) -> Iterator[AnswerEvent]:
    """Yield the reasoning and the text of a whole completion as events of a stream."""
    choice = completion["choices"][0]
    message = choice["message"]
    reasoning = {name: message.get(name) for name in _REASONING}
    logprobs = {"logprobs": choice.get("logprobs")}
    yield Piece(message.get("content"), 0, delta=reasoning, choice=logprobs)


def ending_events(completion: Mapping[str, Any]) -> Iterator[AnswerEvent]:
    """Yield the tool calls, the finish reason and the token usage of a whole completion."""
    choice = completion["choices"][0]
    calls = choice["message"].get("tool_calls") or ()
    stopped_by = {"stop_reason": choice.get("stop_reason")}
    yield Piece(None, 0, choice.get("finish_reason"), {"tool_calls": calls}, stopped_by)
    if usage := completion.get("usage"):
        yield TokenUsage(usage)


def reasoning_of(delta: Mapping[str, Any]) -> str:
    """Return the reasoning of a delta; empty if it has none."""
    return next((delta[name] for name in _REASONING if delta.get(name)), "")
