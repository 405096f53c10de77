"""Score the relevance of texts to a query, from 0 to 1, by a cross-encoder or by vectors."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import numpy as np

from deployments.embedder.windows import cut_into_windows
from deployments.types import Scores

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.embedder.encoder import Encoder
    from deployments.embedder.passes import Passes
    from deployments.embedder.reranker import Pair, Reranker
    from deployments.settings import EmbedderSettings

_QUERY_SHARE = 2  # the query gets at most half of a cross-encoder's window


class VectorScorer:
    """Scores by the cosine of the vectors of query and text, mapped from -1..1 to 0..1.

    A text that is longer than the model's window has the score of its best window.
    """

    def __init__(self, encoder: Encoder, passes: Passes[str], settings: EmbedderSettings) -> None:
        self._encoder = encoder
        self._passes = passes
        self._settings = settings

    async def score(self, query: str, texts: Sequence[str], max_tokens: int) -> Scores:
        encoder, settings = self._encoder, self._settings
        asked = settings.query_prefix + query
        (length,) = await asyncio.to_thread(encoder.measure, [asked])
        beginnings, cut = await asyncio.to_thread(encoder.shorten, texts, max_tokens)
        windows = await asyncio.to_thread(
            cut_into_windows,
            beginnings,
            encoder.measure,
            encoder.max_length,
            settings.passage_prefix,
        )
        tokens = [min(length, encoder.max_length), *windows.tokens]
        rows = np.concatenate(await self._passes.rows([asked, *windows.texts], tokens))
        best = np.full(len(texts), -1.0, dtype=np.float32)
        np.maximum.at(best, windows.sources, rows[1:] @ rows[0])
        relevance = np.clip((best + 1) / np.float32(2), 0.0, 1.0)
        return Scores(relevance, sum(tokens), cut, query_cut=length > encoder.max_length)


class PairScorer:
    """Scores by the probability that a cross-encoder gives to query and text."""

    def __init__(self, reranker: Reranker, passes: Passes[Pair]) -> None:
        self._reranker = reranker
        self._passes = passes

    async def score(self, query: str, texts: Sequence[str], max_tokens: int) -> Scores:
        reranker = self._reranker
        (asked,), query_cut = await asyncio.to_thread(
            reranker.shorten, [query], reranker.max_length // _QUERY_SHARE
        )
        beginnings, cut = await asyncio.to_thread(reranker.shorten, texts, max_tokens)
        pairs = [(asked, text) for text in beginnings]
        lengths = await asyncio.to_thread(reranker.measure, pairs)
        over = [number for number, length in enumerate(lengths) if length > reranker.max_length]
        tokens = [min(length, reranker.max_length) for length in lengths]
        scores = np.concatenate(await self._passes.rows(pairs, tokens))
        return Scores(
            reranker.probabilities(scores),
            sum(tokens),
            tuple(sorted({*cut, *over})),
            query_cut=bool(query_cut),
        )
