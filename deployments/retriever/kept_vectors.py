"""Reuse the vectors of a published version for texts that stay when it is rechunked."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

from deployments.retriever.embedding import embedded_as

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from deployments.retriever.embedding import LoadedModel
    from deployments.retriever.vector_store import VectorIndex, VectorStore
    from deployments.types import Document, EmbeddingModel

    Vectors = Mapping[bytes, NDArray[np.float32]]

_SLICE_CHUNKS = 256
_MOST_CHUNKS = 20_000
"""The vectors of longer documents are not kept: they take up too much memory."""


class KeptVectors:
    """Embeds texts, and reuses vectors that the document has; these are read once."""

    def __init__(self, store: VectorStore) -> None:
        self._store = store
        self._of: tuple[str, str, int] | None = None
        self._read: dict[tuple[str, str], Vectors] = {}  # by index and edition

    async def embed(
        self, texts: Sequence[str], target: LoadedModel, document: Document | None
    ) -> tuple[EmbeddingModel, NDArray[np.float32]]:
        """Return a model and its vectors of texts, reusing those of a version."""
        known = {} if document is None else await self._of_document(target.index, document)
        rows = [known.get(_digest(text)) for text in texts] if known else [None] * len(texts)
        new = [text for text, row in zip(texts, rows, strict=True) if row is None]
        if not new:
            return target.model, np.stack([row for row in rows if row is not None])
        model, made = await target.embedder.embed(new, "passage")
        if len(new) == len(texts):
            return model, made
        if model != target.model:  # the kept ones are of another model
            return await target.embedder.embed(texts, "passage")
        remaining = iter(made)
        return model, np.stack([next(remaining) if row is None else row for row in rows])

    async def _of_document(self, index: VectorIndex, document: Document) -> Vectors:
        """Return the vectors of the published chunks of a version, by digests of their texts."""
        key = document.collection, document.id, document.version
        near = await self._store.published(index, *key)
        if near is None or near.document.chunks > _MOST_CHUNKS:
            return {}
        if key != self._of:
            self._of, self._read = key, {}
        if (found := self._read.get((index.name, near.edition))) is None:
            vectors: dict[bytes, NDArray[np.float32]] = {}
            for first in range(0, near.document.chunks, _SLICE_CHUNKS):
                numbers = range(first, min(first + _SLICE_CHUNKS, near.document.chunks))
                wanted = [(near, number) for number in numbers]
                for stored, vector in await self._store.vectors(index, key[0], wanted):
                    chunk = stored.chunk
                    text = embedded_as(near.document.title, chunk.section, chunk.text)
                    vectors[_digest(text)] = vector
            found = self._read[index.name, near.edition] = vectors
        return found

    def forget(self, document: Document) -> None:
        """Free the memory if it is of this version."""
        if self._of == (document.collection, document.id, document.version):
            self._of, self._read = None, {}


def _digest(text: str) -> bytes:
    """Return the SHA-256 of a text that is embedded."""
    return sha256(text.encode()).digest()
