"""A language model that repeats its last message."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from deployments.answer_events import Opening, Piece, TokenUsage
from deployments.types import ModelCard

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping, Sequence

    from deployments.answer_events import AnswerEvent

MODEL = "small"
_OPENING: dict[str, Any] = {"id": "1", "created": 1, "model": MODEL}
_USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


@dataclass
class FakeModel:
    """Answers with its last message, or with `reply`, word by word; a token is a word.

    `reasoning` comes before the answer, `tool_calls` after it.
    """

    window: int = 4096
    bodies: list[Mapping[str, Any]] = field(default_factory=list)
    closed: asyncio.Event = field(default_factory=asyncio.Event)
    fail_at_start: Exception | None = None
    fail_midway: Exception | None = None
    endless: bool = False
    silent: bool = False
    opening: str = ""
    reply: str = ""
    reasoning: str = ""
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    finish_reason: str = "stop"
    usage: dict[str, int] | None = None

    async def check_health(self) -> None: ...

    async def card(self) -> ModelCard:
        return ModelCard(MODEL, self.window, running_requests=1, waiting_requests=2)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]

    async def prompt_tokens(self, body: Mapping[str, Any]) -> int:
        return sum(len(str(message["content"]).split()) for message in body["messages"])

    async def chat(self, body: Mapping[str, Any]) -> dict[str, Any]:
        self.bodies.append(body)
        if self.fail_at_start:
            raise self.fail_at_start
        message: dict[str, Any] = {"role": "assistant", "content": self._answer(body)}
        message["refusal"] = None
        message |= {"reasoning": self.reasoning} if self.reasoning else {}
        message |= {"tool_calls": self.tool_calls} if self.tool_calls else {}
        choice = {"message": message, "logprobs": None, "finish_reason": self.finish_reason}
        return {
            **_OPENING,
            "object": "chat.completion",
            "choices": [{"index": index, **choice} for index in _choices(body)],
            "usage": self.usage or _USAGE,
        }

    async def complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        self.bodies.append(body)
        choice = {"text": str(body["prompt"]), "logprobs": None, "finish_reason": "stop"}
        return {
            **_OPENING,
            "object": "text_completion",
            "choices": [{"index": index, **choice} for index in _choices(body)],
            "usage": self.usage or _USAGE,
        }

    async def stream_complete(
        self, body: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        self.bodies.append(body)
        if self.silent:
            return
        yield [Opening(_OPENING | {"object": "text_completion"}, is_chat=False)]
        for word in str(body["prompt"]).split():
            yield [Piece(word, index) for index in _choices(body)]

    async def stream_chat(
        self, body: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        self.bodies.append(body)
        if self.fail_at_start:
            raise self.fail_at_start
        if self.silent:
            return
        try:
            role = {"role": "assistant"}
            yield [
                Opening(_OPENING | {"object": "chat.completion.chunk"}),
                *(Piece(self.opening, index, delta=role) for index in _choices(body)),
            ]
            if self.reasoning:
                yield [Piece(None, delta={"reasoning": self.reasoning})]
            while True:
                for word in self._answer(body).split():
                    yield [Piece(word + " ", index) for index in _choices(body)]
                    await asyncio.sleep(0)
                if not self.endless:
                    break
                await asyncio.sleep(0.01)
            if self.fail_midway:
                raise self.fail_midway
            for index, call in enumerate(self.tool_calls):
                yield [Piece(None, delta={"tool_calls": [{"index": index, **call}]})]
            finished = self.finish_reason
            yield [Piece("", index, finish_reason=finished) for index in _choices(body)]
            if self.usage and body.get("stream_options", {}).get("include_usage"):
                yield [TokenUsage(self.usage)]
        finally:
            self.closed.set()

    def _answer(self, body: Mapping[str, Any]) -> str:
        return self.reply or str(body["messages"][-1].get("content") or "")


def _choices(body: Mapping[str, Any]) -> range:
    return range(body.get("n") or 1)
