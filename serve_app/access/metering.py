"""Token metering: a language model that charges its tokens to one owner."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from deployments.answer_events import Piece, TokenUsage
from deployments.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from deployments.answer_events import AnswerEvent
    from deployments.interfaces import TextGenerator
    from deployments.types import ModelCard
    from serve_app.access.rate_limits import Allowance

_CHARS_PER_TOKEN = 4


class MeteredTextGenerator:
    """Refuses a request once the tokens of the minute are used up, and charges at the end.

    A stream is always asked for its usage, which is shown only if the caller asked for it. An
    answer that is left early reports none and is charged by the length of question and answer.
    """

    def __init__(self, llm: TextGenerator, allowance: Allowance) -> None:
        self._llm = llm
        self._allowance = allowance

    async def chat(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self._whole(self._llm.chat, body)

    def stream_chat(self, body: Mapping[str, Any]) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        return self._stream(self._llm.stream_chat, body)

    async def complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self._whole(self._llm.complete, body)

    def stream_complete(
        self, body: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        return self._stream(self._llm.stream_complete, body)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return await self._llm.count_tokens(texts)

    async def prompt_tokens(self, body: Mapping[str, Any]) -> int:
        return await self._llm.prompt_tokens(body)

    async def card(self) -> ModelCard:
        return await self._llm.card()

    async def check_health(self) -> None:
        await self._llm.check_health()

    async def _whole(
        self, generate: Callable[[Mapping[str, Any]], Any], body: Mapping[str, Any]
    ) -> dict[str, Any]:
        await self._allowance.check_tokens()
        try:
            answer: dict[str, Any] = await generate(body)
        except asyncio.CancelledError:
            await self._allowance.spend_tokens(_asked_tokens(body))
            raise
        await self._allowance.spend_tokens(_total(answer))
        return answer

    async def _stream(
        self,
        generate: Callable[[Mapping[str, Any]], AsyncGenerator[Sequence[AnswerEvent], None]],
        body: Mapping[str, Any],
    ) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        await self._allowance.check_tokens()
        options = dict(body.get("stream_options") or {})
        shown = bool(options.get("include_usage"))
        asked = {**body, "stream_options": options | {"include_usage": True}}
        tally, refused = _Tally(), False
        try:
            async with contextlib.aclosing(generate(asked)) as stream:
                async for events in stream:
                    if not tally.count(events) or shown:
                        yield events
                    elif others := [one for one in events if not isinstance(one, TokenUsage)]:
                        yield others
        except ServiceError:
            refused = not tally.pieces
            raise
        finally:
            guess = _asked_tokens(body) + max(tally.pieces, tally.chars // _CHARS_PER_TOKEN)
            await self._allowance.spend_tokens(0 if refused else tally.reported or guess)


class _Tally:
    """The size of a stream so far, in case it is left before it reports its tokens."""

    def __init__(self) -> None:
        self.pieces = 0
        self.chars = 0
        self.reported = 0

    def count(self, events: Sequence[AnswerEvent]) -> bool:
        """Count events; return whether a TokenUsage is among them."""
        has_usage = False
        for event in events:
            if isinstance(event, Piece):
                self.pieces += 1
                self.chars += len(event.text or "")
                if event.delta:
                    self.chars += len(str(event.delta))
                if event.chunk and "usage" in event.chunk:
                    self._report(event.chunk["usage"])
            elif isinstance(event, TokenUsage):
                has_usage = True
                self._report(event.tokens)
        return has_usage

    def _report(self, tokens: Mapping[str, Any]) -> None:
        self.reported = max(self.reported, int(tokens.get("total_tokens") or 0))


def _asked_tokens(body: Mapping[str, Any]) -> int:
    return len(str(body.get("messages") or body.get("prompt") or "")) // _CHARS_PER_TOKEN


def _total(answer: Mapping[str, Any]) -> int:
    return int((answer.get("usage") or {}).get("total_tokens") or 0)
