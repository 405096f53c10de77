"""The Embedder deployment by its handle."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from deployments import types
from deployments.micro_batches import MicroBatches
from deployments.remote.handle import Remote, transport

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from deployments.remote.handle import Handle

_FEW_TEXTS = 128  # with vectors of 4,096 dimensions, 2 MiB
_SHORT_TEXTS = 16  # of short documents, in a call: a pass or two of the embedder on a processor
_SHORT_CALLS = 3  # one is at work; the others fill the next pass


class RemoteEmbedder(Remote):
    """Calls of the Embedder deployment."""

    _methods = ("model", "embed", "embeddings", "rerank", "relevance")
    _abandonable = frozenset({*_methods, "embed_many"})
    _large = frozenset({"embeddings"})

    def __init__(self, handle: Handle, name: str) -> None:
        super().__init__(handle, name)
        self._calls["embed_many"] = handle.options(method_name="embed", **transport(large=True))
        self._short = MicroBatches(
            self._embed_together,
            calls_at_once=_SHORT_CALLS,
            most=_SHORT_TEXTS,
            size=len,
        )

    async def model(self) -> types.EmbeddingModel:
        model: types.EmbeddingModel = await self._repeatable("model")
        return model

    async def embed(
        self, texts: Sequence[str], kind: types.TextKind, fingerprint: str = ""
    ) -> NDArray[np.float32]:
        if kind == "passage" and len(texts) <= _SHORT_TEXTS:
            return await self._short.result((texts, fingerprint))
        method = "embed" if len(texts) <= _FEW_TEXTS else "embed_many"
        vectors: NDArray[np.float32] = await self._repeatable(method, texts, kind, fingerprint)
        return vectors

    async def _embed_together(
        self, calls: Sequence[tuple[Sequence[str], str]]
    ) -> list[NDArray[np.float32]]:
        texts = list(itertools.chain.from_iterable(texts for texts, _ in calls))
        expected = {fingerprint for _, fingerprint in calls}
        if len(expected) > 1:  # the model was replaced a moment ago
            return [
                await self._repeatable("embed", texts, "passage", fingerprint)
                for texts, fingerprint in calls
            ]
        vectors: NDArray[np.float32] = await self._repeatable("embed", texts, "passage", *expected)
        ends = list(itertools.accumulate(len(texts) for texts, _ in calls))
        return [vectors[start:end] for start, end in itertools.pairwise([0, *ends])]

    async def embeddings(
        self,
        texts: Sequence[str],
        dimensions: int | None = None,
        first: int = 0,
        options: types.EmbeddingOptions | None = None,
    ) -> types.Embeddings:
        # Version 0.1, which may still run, knows neither `first` nor `options`.
        more = [first, options] if options else [first] if first else []
        embeddings: types.Embeddings = await self._repeatable(
            "embeddings", texts, dimensions, *more
        )
        if not hasattr(embeddings, "max_tokens"):  # of version 0.1
            return types.Embeddings(embeddings.vectors, embeddings.tokens)
        return embeddings

    async def rerank(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = await self._repeatable("rerank", query, texts)
        return scores

    async def relevance(self, query: str, texts: Sequence[str], max_tokens: int) -> types.Scores:
        scores: types.Scores = await self._repeatable("relevance", query, texts, max_tokens)
        return scores
