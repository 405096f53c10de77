"""Vectors of a published version, for those texts that stay when it is cut anew."""

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
_MOST_INDEXES = 2  # those that a document is in


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
        if near is None:
            return {}
        if key != self._of or len(self._read) >= _MOST_INDEXES:
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

    def forget(self) -> None:
        """Free the memory."""
        self._of, self._read = None, {}


def digest(text: str) -> bytes:
    """Return what stands for a text, as embedders read it."""
    return sha256(text.encode()).digest()
