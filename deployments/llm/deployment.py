"""The LLM deployment: one engine a replica."""

from __future__ import annotations

import asyncio
import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray import serve

from deployments.answer_events import DONE, Opening, block_of, chunk_of
from deployments.llm.openai_engine import OpenAIEngine
from deployments.llm.usage import report_usage
from deployments.llm.vllm_engine import VllmEngine
from deployments.model_source import resolve, revision_of
from deployments.observability.logs import kept_open, log_to_serve
from deployments.observability.metrics import export_metrics
from deployments.observability.stderr_filter import filter_stderr
from deployments.serving.memory import keep_loaded
from deployments.serving.private_files import keep_files_private
from deployments.settings import Secrets

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence

    from deployments.answer_events import AnswerEvent
    from deployments.settings import LLMSettings
    from deployments.types import ModelCard

_PART_CHARS = 1024**2


@serve.deployment(name="LLM", max_ongoing_requests=64, max_queued_requests=128)
class LLM:
    """An engine, with the methods that `RemoteTextGenerator` calls.

    Whole answers are sent as JSON in parts: several of them, with the logprobs of each token, may
    exceed a gRPC message, which holds 4 MiB. The environment may hold GENSERVE_LLM_API_KEY, for
    `openai`.
    """

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self, settings: LLMSettings, data_dir: str
    ) -> None:
        log_to_serve()
        keep_files_private(data_dir)
        export_metrics()
        self._engine: VllmEngine | OpenAIEngine
        if settings.engine == "openai":
            self._engine = OpenAIEngine(settings, Secrets().llm_api_key)
        else:
            model, revision = resolve(settings.model, Path(data_dir)), revision_of(settings.model)
            named = {"revision": revision} if revision else {}
            filter_stderr()
            with kept_open():  # vLLM sets up logging when it is imported
                self._engine = await VllmEngine.start(
                    model, settings.served_name, named | settings.engine_args
                )
        keep_loaded()
        self._reporting = asyncio.create_task(report_usage(self._engine.usage))

    async def chat(self, body: Mapping[str, Any]) -> AsyncGenerator[str, None]:
        for part in _parts(await self._engine.chat(body)):
            yield part

    async def chat_events(
        self, body: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        # A cancelled call ends here: the engine must hear of it now, not at collection.
        async with contextlib.aclosing(self._engine.chat_events(body)) as stream:
            async for events in stream:
                yield events

    async def stream_chat(self, body: Mapping[str, Any]) -> AsyncGenerator[str, None]:
        """Stream as server-sent events, for an ingress of version 0.1."""
        async with contextlib.aclosing(_blocks(self._engine.chat_events(body))) as blocks:
            async for block in blocks:
                yield block

    async def complete(self, body: Mapping[str, Any]) -> AsyncGenerator[str, None]:
        for part in _parts(await self._engine.complete(body)):
            yield part

    async def completion_events(
        self, body: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        async with contextlib.aclosing(self._engine.completion_events(body)) as stream:
            async for events in stream:
                yield events

    async def stream_complete(self, body: Mapping[str, Any]) -> AsyncGenerator[str, None]:
        """Stream as server-sent events, for an ingress of version 0.1."""
        async with contextlib.aclosing(_blocks(self._engine.completion_events(body))) as blocks:
            async for block in blocks:
                yield block

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return await self._engine.count_tokens(texts)

    async def prompt_tokens(self, body: Mapping[str, Any]) -> int:
        return await self._engine.prompt_tokens(body)

    async def card(self) -> ModelCard:
        return await self._engine.card()

    async def check_health(self) -> None:
        await self._engine.check_health()

    async def __del__(self) -> None:
        if hasattr(self, "_engine"):
            self._reporting.cancel()
            await self._engine.close()


def _parts(answer: Mapping[str, Any]) -> Iterator[str]:
    text = json.dumps(answer)  # ASCII: a character is a byte
    for start in range(0, len(text), _PART_CHARS):
        yield text[start : start + _PART_CHARS]


async def _blocks(
    stream: AsyncGenerator[Sequence[AnswerEvent], None],
) -> AsyncGenerator[str, None]:
    """Yield the server-sent events of an answer."""
    opening = Opening({})
    async with contextlib.aclosing(stream):
        async for events in stream:
            for event in events:
                if isinstance(event, Opening):
                    opening = event
                else:
                    yield block_of(chunk_of(event, opening))
    yield DONE
