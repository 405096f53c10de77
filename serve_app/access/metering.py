"""Token metering: a language model that charges its tokens to one owner."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from typing import TYPE_CHECKING, Any

from deployments.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from deployments.interfaces import TextGenerator
    from deployments.types import ModelCard
    from serve_app.access.rate_limits import Allowance

_USAGE_EVENT = re.compile(
    r'"choices":\s*\[\]'
)  # no answer's text can pass for it: quotes in it are escaped
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

    def stream_chat(self, body: Mapping[str, Any]) -> AsyncGenerator[str, None]:
        return self._stream(self._llm.stream_chat, body)

    async def complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self._whole(self._llm.complete, body)

    def stream_complete(self, body: Mapping[str, Any]) -> AsyncGenerator[str, None]:
        return self._stream(self._llm.stream_complete, body)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return await self._llm.count_tokens(texts)

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
        generate: Callable[[Mapping[str, Any]], AsyncGenerator[str, None]],
        body: Mapping[str, Any],
    ) -> AsyncGenerator[str, None]:
        await self._allowance.check_tokens()
        options = dict(body.get("stream_options") or {})
        shown = bool(options.get("include_usage"))
        asked = {**body, "stream_options": options | {"include_usage": True}}
        told, events, chars, envelope, refused = 0, 0, 0, 0, False
        try:
            async with contextlib.aclosing(generate(asked)) as stream:
                async for event in stream:
                    if _USAGE_EVENT.search(event):
                        told = _total_of_event(event)
                        kept = event if shown else _without_usage(event)
                        if kept:
                            yield kept
                        continue
                    envelope = envelope or len(event)  # the first one has no text yet
                    events, chars = events + 1, chars + len(event) - envelope
                    yield event
        except ServiceError:
            refused = not events
            raise
        finally:
            guess = _asked_tokens(body) + max(events, chars // _CHARS_PER_TOKEN)
            await self._allowance.spend_tokens(0 if refused else told or guess)


def _asked_tokens(body: Mapping[str, Any]) -> int:
    return len(str(body.get("messages") or body.get("prompt") or "")) // _CHARS_PER_TOKEN


def _total(answer: Mapping[str, Any]) -> int:
    return int((answer.get("usage") or {}).get("total_tokens") or 0)


def _blocks(event: str) -> list[str]:
    return [f"{block}\n\n" for block in event.split("\n\n") if block.strip()]


def _total_of_event(event: str) -> int:
    datas = (block.removeprefix("data: ") for block in _blocks(event) if _USAGE_EVENT.search(block))
    return max((_total(json.loads(data)) for data in datas), default=0)


def _without_usage(event: str) -> str:
    return "".join(block for block in _blocks(event) if not _USAGE_EVENT.search(block))
