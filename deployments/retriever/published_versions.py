"""Published versions of documents, as they are read whole: not searched."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deployments.collection_names import check_collection_name
from deployments.errors import Unavailable
from deployments.retriever.claims import not_moved
from deployments.retriever.embedding import index_of
from deployments.retriever.points import unknown_document
from deployments.retriever.vector_store import VectorIndex
from deployments.types import EmbeddedChunks

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.retriever.claims import Claims
    from deployments.retriever.embedding import Embedders
    from deployments.retriever.vector_store import StoredChunk, VectorStore
    from deployments.types import Chunk, Document


@dataclass(frozen=True, slots=True)
class PublishedVersions:
    """Reads versions from the indexes of their collections."""

    store: VectorStore
    embedders: Embedders
    claims: Claims

    async def content(self, document: Document, first: int, limit: int) -> list[Chunk]:
        """Return chunks of a published version, in order; see `deployments.interfaces`."""
        index, wanted = await self._wanted(document, first, limit)
        found = await self.store.chunks(index, document.collection, wanted)
        _check_complete(wanted, found)
        return sorted((one.chunk for one in found), key=lambda chunk: chunk.number)

    async def embedded(self, document: Document, first: int, limit: int) -> EmbeddedChunks:
        """Return chunks of a published version with their vectors, in order."""
        index, wanted = await self._wanted(document, first, limit)
        found = await self.store.vectors(index, document.collection, wanted)
        _check_complete(wanted, found)
        found.sort(key=lambda one: one[0].chunk.number)
        vectors = np.stack([vector for _, vector in found])
        return EmbeddedChunks(index.name, tuple(stored.chunk for stored, _ in found), vectors)

    async def _wanted(
        self, document: Document, first: int, limit: int
    ) -> tuple[VectorIndex, list[tuple[StoredChunk, int]]]:
        """Name chunks of a published version; raise Unavailable if it is not published."""
        check_collection_name(document.collection)
        numbers = range(first, min(first + limit, document.chunks))
        for index in await self._indexes_of(document.collection):
            near = await self.store.published(
                index, document.collection, document.id, document.version
            )
            if near is not None and _is_chunked_as(near.document, document):
                return index, [(near, number) for number in numbers]
        raise _being_replaced()

    async def _indexes_of(self, collection: str) -> list[VectorIndex]:
        """Return the indexes that a collection is in, whose models need not be loaded.

        A document that was uploaded while only the model of the second one is loaded is in that.
        """
        claimed = await self.claims.of(collection)
        if claimed is None or (claimed.name is None and not claimed.completed):
            return [index_of(await self.embedders.first.model())]
        if claimed.name is None:
            raise not_moved(collection)
        return [VectorIndex(name, 0) for name in (claimed.name, claimed.other) if name is not None]

    async def document(self, collection: str, document_id: str, version: int) -> Document:
        """Return the description with which a version was published; raises NotFound."""
        for index in await self._indexes_of(collection):
            found = await self.store.published(index, collection, document_id, version)
            if found is not None:
                return found.document
        raise unknown_document(document_id)


def _is_chunked_as(stored: Document, document: Document) -> bool:
    """Return whether a version has not been rechunked since `document` was read."""
    return (stored.chunks, stored.chunker) == (document.chunks, document.chunker)


def _check_complete(wanted: Sequence[object], found: Sequence[object]) -> None:
    if len(found) != len(wanted):
        raise _being_replaced()


def _being_replaced() -> Unavailable:
    return Unavailable("the document is being replaced: try again")
