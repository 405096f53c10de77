"""The LLM deployment by its handle."""

from __future__ import annotations

import asyncio
import contextlib
import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from deployments.answer_events import ChunkReader
from deployments.remote.handle import Remote, streamed
from deployments.serving.ray_errors import MissingMethod

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from deployments import types
    from deployments.answer_events import AnswerEvent
    from deployments.remote.handle import Handle

    Counts = Callable[[Sequence[str]], list[int]]

_BLOCKS = {"chat_events": "stream_chat", "completion_events": "stream_complete"}
"""The methods that send events, and those by which version 0.1 sent blocks of text instead."""
_COUNTING_THREADS = 2  # two long prompts of different keys; others wait


class RemoteTextGenerator(Remote):
    """Calls of the LLM deployment."""

    _methods = ("count_tokens", "prompt_tokens", "card")
    _abandonable = frozenset(_methods)

    def __init__(self, handle: Handle, name: str, counts: Counts | None = None) -> None:
        """Set what counts tokens here, in a thread; without it, every count is a call."""
        super().__init__(handle, name)
        self._handle = handle
        self._counts = counts
        self._counting = ThreadPoolExecutor(_COUNTING_THREADS, "count-tokens")
        self._streams = {
            method: handle.options(
                method_name=method,
                stream=True,
                # The default takes ten times as long, for each message.
                response_serialization="pickle" if method in _BLOCKS else "cloudpickle",
            )
            for method in ("chat", "complete", *_BLOCKS)
        }

    async def chat(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self._whole("chat", body)

    def stream_chat(self, body: Mapping[str, Any]) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        return self._events("chat_events", body)

    async def complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        return await self._whole("complete", body)

    def stream_complete(
        self, body: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        return self._events("completion_events", body)

    async def _whole(self, method: str, body: Mapping[str, Any]) -> dict[str, Any]:
        async with contextlib.aclosing(self._stream(method, body)) as parts:
            answer: dict[str, Any] = json.loads("".join([part async for part in parts]))
            return answer

    async def _events(
        self, method: str, body: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        try:
            async with contextlib.aclosing(self._stream(method, body)) as batches:
                async for events in batches:
                    yield events
        except MissingMethod:
            # A language model of version 0.1, which may still run, sends server-sent events.
            reader = ChunkReader()
            handle = self._handle.options(method_name=_BLOCKS[method], stream=True)
            async with contextlib.aclosing(streamed(handle, self._name, body)) as blocks:
                async for block in blocks:
                    if events := list(reader.events_in(block)):
                        yield events

    def _stream(self, method: str, body: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        return streamed(self._streams[method], self._name, body)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        if self._counts is not None:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(self._counting, self._counts, texts)
        counts: list[int] = await self._repeatable("count_tokens", texts)
        return counts

    async def prompt_tokens(self, body: Mapping[str, Any]) -> int:
        tokens: int = await self._repeatable("prompt_tokens", body)
        return tokens

    async def card(self) -> types.ModelCard:
        card: types.ModelCard = await self._repeatable("card")
        return card
