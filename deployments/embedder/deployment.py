"""The Embedder deployment: calls of many callers share batches, filled by tokens."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ray import serve

from deployments.embedder.encoder import Encoder
from deployments.errors import TooLarge
from deployments.logs import log_to_serve
from deployments.model_source import resolve

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from deployments.settings import EmbedderSettings
    from deployments.types import TextKind


@dataclass(frozen=True, slots=True)
class _Piece:
    """Texts of one call that fit into one batch, with their token counts."""

    texts: list[str]
    tokens: list[int]


def _total_tokens(pieces: list[_Piece]) -> int:
    return sum(sum(piece.tokens) for piece in pieces)


@serve.deployment(name="Embedder", max_ongoing_requests=64, max_queued_requests=256)
class Embedder:
    """Texts to vectors."""

    def __init__(self, settings: EmbedderSettings, data_dir: str) -> None:
        log_to_serve()
        self._settings = settings
        self._encoder = Encoder(resolve(settings.model, Path(data_dir)), settings)
        batching: Any = self._encode  # Serve's decorator adds setters unknown to its types
        batching.set_max_batch_size(self._encoder.max_batch_tokens)
        batching.set_batch_wait_timeout_s(settings.batch_wait_s)

    async def embed(self, texts: Sequence[str], kind: TextKind) -> NDArray[np.float32]:
        if len(texts) > self._settings.max_texts_per_call:
            msg = f"at most {self._settings.max_texts_per_call} texts a call"
            raise TooLarge(msg, param="input")
        settings = self._settings
        prefix = settings.query_prefix if kind == "query" else settings.passage_prefix
        prefixed = [prefix + text for text in texts] if prefix else list(texts)
        counts = await asyncio.to_thread(self._encoder.count_tokens, prefixed)
        pieces = _pieces(prefixed, counts, self._encoder.max_batch_tokens)
        parts = await asyncio.gather(*(self._encode(piece) for piece in pieces))
        if not parts:
            return np.empty((0, self._encoder.dimensions), dtype=np.float32)
        return np.concatenate(parts)

    async def check_health(self) -> None:
        """Well once loaded: the model has no life of its own."""

    @serve.batch(max_batch_size=8192, batch_size_fn=_total_tokens)
    async def _encode(self, pieces: list[_Piece]) -> list[NDArray[np.float32]]:
        texts = [text for piece in pieces for text in piece.texts]
        counts = [count for piece in pieces for count in piece.tokens]
        vectors = await asyncio.to_thread(self._encoder.encode, texts, counts)
        ends = np.cumsum([len(piece.texts) for piece in pieces])[:-1]
        return np.split(vectors, ends)


def _pieces(texts: list[str], counts: list[int], max_tokens: int) -> Iterator[_Piece]:
    """Cut a call into pieces within the batch bound: Serve refuses a larger one."""
    start, total = 0, 0
    for end, count in enumerate(counts):
        if total + count > max_tokens and end > start:
            yield _Piece(texts[start:end], counts[start:end])
            start, total = end, 0
        total += count
    if start < len(texts):
        yield _Piece(texts[start:], counts[start:])
