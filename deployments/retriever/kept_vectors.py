"""Vectors of a published version, for those texts that stay when it is rechunked."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

from deployments.retriever.embedding import read_as

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

    from deployments.retriever.vector_store import VectorIndex, VectorStore
    from deployments.types import Document

    Vectors = Mapping[bytes, NDArray[np.float32]]

_SLICE_CHUNKS = 256
_MOST_CHUNKS = 20_000
"""The vectors of longer documents are not kept: they take up too much memory."""


class KeptVectors:
    """Reads the vectors of one document at a time, and keeps them until the next one."""

    def __init__(self, store: VectorStore) -> None:
        self._store = store
        self._of: tuple[str, str, int] | None = None
        self._read: dict[tuple[str, str], Vectors] = {}  # by index and edition

    async def of(self, index: VectorIndex, document: Document) -> Vectors:
        """Return the vectors of the published chunks of a version, by `digest` of their texts."""
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
                    text = read_as(near.document.title, stored.chunk.section, stored.chunk.text)
                    vectors[digest(text)] = vector
            found = self._read[index.name, near.edition] = vectors
        return found

    def forget(self, document: Document) -> None:
        """Free the memory if it is of this version."""
        if self._of == (document.collection, document.id, document.version):
            self._of, self._read = None, {}


def digest(text: str) -> bytes:
    """Return the SHA-256 of a text that is embedded."""
    return sha256(text.encode()).digest()
