"""Fair services: a language model and an embedder that serve the keys in turn."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np

from deployments.bounds import MAX_PAIRS_PER_CALL, MAX_TEXTS_PER_CALL
from deployments.types import Embeddings, Scores
from serve_app.access.fair_queue import FairQueue

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        Awaitable,
        Callable,
        Iterator,
        Mapping,
        Sequence,
    )

    from numpy.typing import NDArray

    from deployments.answer_events import AnswerEvent
    from deployments.interfaces import Embedder, TextGenerator
    from deployments.types import EmbeddingModel, EmbeddingOptions, ModelCard, TextKind

_Result = TypeVar("_Result")

_ANSWERS = 32  # until the size of the deployment is known
_ANSWERS_WAITING_PER_PLACE = 3
_EMBEDDINGS_WAITING_PER_PLACE = 8
_CHARS_PER_TOKEN = 4
_PASSES = 2  # one is computed while the next one is filled
_PARTS_PER_PASS = 2
_PARTS_OF_A_CALL = 2
_MIN_SHARE_OF_PASS = 32  # a text counts at least as this part of a pass


def answer_queue(weights: Mapping[str, float]) -> FairQueue:
    """Return the queue for answers of the language model; a place is an answer."""
    queue = FairQueue("answers", weights, _ANSWERS_WAITING_PER_PLACE)
    queue.resize(_ANSWERS)
    return queue


def embedding_queue(weights: Mapping[str, float], pass_tokens: int) -> FairQueue:
    """Return the queue for embeddings; a place is a character, as tokens are not counted yet."""
    queue = FairQueue("characters to embed", weights, _EMBEDDINGS_WAITING_PER_PLACE)
    queue.resize(_PASSES * pass_tokens * _CHARS_PER_TOKEN)
    return queue


class _Part(NamedTuple):
    first: int  # the number of the first text
    texts: Sequence[str]
    chars: int


class FairTextGenerator:
    """Begins an answer when it is the turn of its owner, and holds the place until its end."""

    def __init__(self, llm: TextGenerator, queue: FairQueue, owner: str) -> None:
        self._llm = llm
        self._queue = queue
        self._owner = owner

    async def chat(self, body: Mapping[str, Any]) -> dict[str, Any]:
        async with self._queue.take(self._owner):
            return await self._llm.chat(body)

    def stream_chat(self, body: Mapping[str, Any]) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        return self._stream(self._llm.stream_chat, body)

    async def complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        async with self._queue.take(self._owner):
            return await self._llm.complete(body)

    def stream_complete(
        self, body: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        return self._stream(self._llm.stream_complete, body)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return await self._llm.count_tokens(texts)

    async def card(self) -> ModelCard:
        return await self._llm.card()

    async def check_health(self) -> None:
        await self._llm.check_health()

    async def _stream(
        self,
        generate: Callable[[Mapping[str, Any]], AsyncGenerator[Sequence[AnswerEvent], None]],
        body: Mapping[str, Any],
    ) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        async with self._queue.take(self._owner), contextlib.aclosing(generate(body)) as stream:
            async for events in stream:
                yield events


class FairEmbedder:
    """Cuts what a caller wants embedded or scored into parts of half a pass.

    The parts take turns by owner. A search embeds its few queries elsewhere and does not wait here.
    """

    def __init__(self, embedder: Embedder, queue: FairQueue, owner: str, pass_tokens: int) -> None:
        self._embedder = embedder
        self._queue = queue
        self._owner = owner
        self._part_chars = pass_tokens * _CHARS_PER_TOKEN // _PARTS_PER_PASS
        self._least_chars = max(1, pass_tokens * _CHARS_PER_TOKEN // _MIN_SHARE_OF_PASS)

    async def model(self) -> EmbeddingModel:
        return await self._embedder.model()

    async def embed(
        self, texts: Sequence[str], kind: TextKind, fingerprint: str = ""
    ) -> NDArray[np.float32]:
        return await self._embedder.embed(texts, kind, fingerprint)

    async def embeddings(
        self,
        texts: Sequence[str],
        dimensions: int | None = None,
        first: int = 0,
        options: EmbeddingOptions | None = None,
    ) -> Embeddings:
        cut = list(self._cut(texts))
        parts = await self._in_turns(
            iter(cut),
            lambda part: self._embedder.embeddings(
                part.texts, dimensions, first + part.first, options
            ),
        )
        made = list(zip(cut, parts, strict=True))
        return Embeddings(
            np.concatenate([one.vectors for one in parts]),
            tuple(count for one in parts for count in one.tokens),
            tuple(part.first + number for part, one in made for number in one.windowed),
            tuple(part.first + number for part, one in made for number in one.truncated),
            parts[0].max_tokens,
        )

    async def rerank(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        return await self._embedder.rerank(query, texts)

    async def relevance(self, query: str, texts: Sequence[str], max_tokens: int) -> Scores:
        # A cross-encoder reads the query with each text.
        cut = self._cut(texts, each_chars=len(query), most=MAX_PAIRS_PER_CALL)
        parts = await self._in_turns(
            cut, lambda part: self._embedder.relevance(query, part.texts, max_tokens)
        )
        ends = np.cumsum([len(one.relevance) for one in parts])
        return Scores(
            np.concatenate([one.relevance for one in parts]),
            sum(one.tokens for one in parts),
            tuple(
                int(end) - len(one.relevance) + number
                for one, end in zip(parts, ends, strict=True)
                for number in one.cut
            ),
            query_cut=parts[0].query_cut,
        )

    async def check_health(self) -> None:
        await self._embedder.check_health()

    async def _in_turns(
        self, parts: Iterator[_Part], call: Callable[[_Part], Awaitable[_Result]]
    ) -> list[_Result]:
        """Return the results for all parts, in order; each part waits for the owner's turn."""
        under_way = asyncio.Semaphore(_PARTS_OF_A_CALL)

        async def result(part: _Part) -> _Result:
            async with under_way, self._queue.take(self._owner, part.chars):
                return await call(part)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(result(part)) for part in parts]
        except BaseExceptionGroup as failures:  # the first one stops the others
            raise failures.exceptions[0] from None
        return [task.result() for task in tasks]

    def _cut(
        self, texts: Sequence[str], *, each_chars: int = 0, most: int = MAX_TEXTS_PER_CALL
    ) -> Iterator[_Part]:
        """Cut texts into parts of at most `most`; each text costs `each_chars` beside its own."""
        start, chars = 0, 0
        for index, text in enumerate(texts):
            full = chars + each_chars + len(text) > self._part_chars or index - start == most
            if index > start and full:
                yield _Part(start, texts[start:index], max(chars, self._least_chars))
                start, chars = index, 0
            chars += each_chars + len(text)
        yield _Part(start, texts[start:], max(chars, self._least_chars))
