"""The Embedder deployment: calls of many callers share passes, queries before passages."""

from __future__ import annotations

import asyncio
import json
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from ray import serve

from deployments.bounds import MAX_PAIRS_PER_CALL, MAX_TEXTS_PER_CALL
from deployments.embedder.encoder import Encoder
from deployments.embedder.passes import Passes
from deployments.embedder.reranker import Reranker
from deployments.embedder.scoring import PairScorer, VectorScorer
from deployments.embedder.windows import cut_into_windows, means
from deployments.errors import (
    CONTEXT_LENGTH_EXCEEDED,
    MODEL_CHANGED,
    Conflict,
    InvalidRequest,
    TooLarge,
)
from deployments.model_fingerprint import fingerprint_of
from deployments.model_source import resolve, revision_of
from deployments.observability.logs import log_to_serve
from deployments.serving.capacity import reserved_cores
from deployments.serving.memory import keep_loaded, trim_regularly
from deployments.serving.private_files import keep_files_private
from deployments.types import EmbeddingModel, EmbeddingOptions, Embeddings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deployments.embedder.reranker import Pair
    from deployments.settings import EmbedderSettings
    from deployments.types import Scores, TextKind

# Eight times what LangChain sends at once: other tokenizers need more tokens for the same text.
_MAX_TOKENS_PER_TEXT = 65_536


@serve.deployment(name="Embedder", max_ongoing_requests=64, max_queued_requests=256)
class Embedder:
    """Texts to vectors, and to scores if a reranker is set."""

    def __init__(self, settings: EmbedderSettings, data_dir: str) -> None:
        log_to_serve()
        keep_files_private(data_dir)
        self._settings = settings
        cores = reserved_cores()
        self._encoder = Encoder(resolve(settings.model, Path(data_dir)), settings, threads=cores)
        self._model = _model_of(settings, Path(data_dir), self._encoder)
        self._encoding = Passes(self._encoder.encode, self._encoder.max_pass_tokens)
        self._reranker: Reranker | None = None
        self._scoring: Passes[Pair] | None = None
        self._scorer: PairScorer | VectorScorer
        self._scorer = VectorScorer(self._encoder, self._encoding, settings)
        if settings.reranker is not None:
            self._reranker = Reranker(
                resolve(settings.reranker, Path(data_dir)),
                settings,
                revision=revision_of(settings.reranker),
                threads=cores,
            )
            self._scoring = Passes(self._reranker.score, self._reranker.max_pass_tokens)
            self._scorer = PairScorer(self._reranker, self._scoring)
        keep_loaded()
        trim_regularly()

    async def model(self) -> EmbeddingModel:
        return self._model

    async def embed(
        self, texts: Sequence[str], kind: TextKind, fingerprint: str = ""
    ) -> NDArray[np.float32]:
        if fingerprint not in {"", self._model.fingerprint}:
            msg = f"the embedding model is {self._model.name!r} now"
            raise Conflict(msg, code=MODEL_CHANGED)
        _check_texts(texts)
        prefix = self._prefix(kind)
        encoder = self._encoder
        if kind == "query":
            prefixed = [prefix + text for text in texts]
            counts = await asyncio.to_thread(encoder.count_tokens, prefixed)
            return await self._encoded(prefixed, counts, urgent=True)
        windows = await asyncio.to_thread(
            cut_into_windows, texts, encoder.measure, encoder.max_length, prefix
        )
        return means(await self._encoded(windows.texts, windows.tokens), windows, len(texts))

    async def embeddings(
        self,
        texts: Sequence[str],
        dimensions: int | None = None,
        first: int = 0,
        options: EmbeddingOptions | None = None,
    ) -> Embeddings:
        if dimensions not in {None, self._encoder.dimensions}:
            msg = (
                f"dimensions: this model makes vectors of {self._encoder.dimensions} numbers "
                "and cannot shorten them"
            )
            raise InvalidRequest(msg, param="dimensions")
        _check_texts(texts)
        encoder, options = self._encoder, options or EmbeddingOptions()
        long_texts = options.long_texts or self._settings.long_texts
        prefix = self._prefix(options.kind)
        prefixed = [prefix + text for text in texts]
        counts = await asyncio.to_thread(encoder.measure, prefixed)
        bound = encoder.max_length if long_texts == "refuse" else _MAX_TOKENS_PER_TEXT
        if long_texts != "truncate":
            _check_lengths(counts, bound, first)
        most = min(options.max_tokens or encoder.max_length, encoder.max_length)
        most = max(most, encoder.min_length)
        long = tuple(number for number, count in enumerate(counts) if count > most)
        if not long:
            vectors = await self._encoded(prefixed, counts)
            return Embeddings(vectors, tuple(counts), max_tokens=most)
        if long_texts == "truncate":
            if most < encoder.max_length:  # otherwise the model truncates
                prefixed = await asyncio.to_thread(encoder.beginnings, prefixed, most)
            counts = [min(count, most) for count in counts]
            vectors = await self._encoded(prefixed, counts)
            return Embeddings(vectors, tuple(counts), truncated=long, max_tokens=most)
        windows = await asyncio.to_thread(
            cut_into_windows, texts, encoder.measure, encoder.max_length, prefix
        )
        vectors = means(await self._encoded(windows.texts, windows.tokens), windows, len(texts))
        return Embeddings(vectors, windows.tokens_of(len(texts)), windowed=long, max_tokens=most)

    async def _encoded(
        self, texts: list[str], tokens: list[int], *, urgent: bool = False
    ) -> NDArray[np.float32]:
        if not texts:
            return np.empty((0, self._encoder.dimensions), dtype=np.float32)
        return np.concatenate(await self._encoding.rows(texts, tokens, urgent=urgent))

    def _prefix(self, kind: TextKind) -> str:
        settings = self._settings
        return settings.query_prefix if kind == "query" else settings.passage_prefix

    async def rerank(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        reranker, scoring = self._reranker, self._scoring
        if reranker is None or scoring is None:
            msg = "there is no reranker: `embedder.reranker` is not set"
            raise InvalidRequest(msg)
        _check_pairs(texts)
        pairs = [(query, text) for text in texts]
        counts = await asyncio.to_thread(reranker.count_tokens, pairs)
        parts = await scoring.rows(pairs, counts)
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)

    async def relevance(self, query: str, texts: Sequence[str], max_tokens: int) -> Scores:
        _check_pairs(texts)
        return await self._scorer.score(query, texts, max_tokens)

    async def check_health(self) -> None:
        """Well once loaded: the models have no life of their own."""


def _check_texts(texts: Sequence[str]) -> None:
    if len(texts) > MAX_TEXTS_PER_CALL:
        msg = f"at most {MAX_TEXTS_PER_CALL} texts a call"
        raise TooLarge(msg, param="input")


def _check_lengths(counts: Sequence[int], most: int, first: int) -> None:
    for number, count in enumerate(counts, first):
        if count > most:
            # Clients recognise this error by its words.
            msg = (
                f"This model's maximum context length is {most} tokens, and input {number} has "
                f"{count}."
            )
            raise InvalidRequest(msg, code=CONTEXT_LENGTH_EXCEEDED, param="input")


def _check_pairs(texts: Sequence[str]) -> None:
    if len(texts) > MAX_PAIRS_PER_CALL:
        msg = f"at most {MAX_PAIRS_PER_CALL} texts to rerank a call"
        raise TooLarge(msg)


def _model_of(settings: EmbedderSettings, data_dir: Path, encoder: Encoder) -> EmbeddingModel:
    weights = fingerprint_of(settings.model, data_dir)
    parts = [weights, settings.query_prefix, settings.passage_prefix, encoder.dimensions]
    fingerprint = sha256(json.dumps(parts).encode()).hexdigest()
    return EmbeddingModel(settings.name, fingerprint, encoder.dimensions, encoder.scripts)
