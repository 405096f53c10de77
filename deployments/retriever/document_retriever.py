"""The retriever over a vector store and an embedder: documents in, passages out."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from loguru import logger

from deployments.catalogue.removals import Removal
from deployments.collection_names import check_collection_name
from deployments.errors import NotFound, Unavailable
from deployments.filters import same_attributes
from deployments.retriever.bm25 import LexicalEncoder
from deployments.retriever.claims import Claims, not_moved
from deployments.retriever.document_locks import DocumentLocks
from deployments.retriever.embedding import IndexEmbedder, index_of, read_as
from deployments.retriever.points import unknown_document
from deployments.retriever.search import Search
from deployments.retriever.vector_store import EmbeddedChunk, VectorIndex

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from deployments.filters import Attributes, Filter
    from deployments.interfaces import Embedder
    from deployments.retriever.claims import IndexedCollections
    from deployments.retriever.search import CurrentVersions
    from deployments.retriever.vector_store import VectorStore
    from deployments.settings import RetrieverSettings
    from deployments.types import Chunk, Document, DocumentList, EmbeddingModel, Passage

    class HeldRemovals(Protocol):
        """See `deployments.catalogue.removals.Removals`."""

        async def deferred(self, *removals: Removal) -> bool:
            """Take removals if a backup holds them; return whether it does."""
            ...

    AttributesOf = Callable[[str, str], Awaitable[Attributes | None]]

_BATCH_CHUNKS = 64
_ATTRIBUTE_ATTEMPTS = 8
_SAME_VECTOR = 0.98  # cosine similarity: a processor of another kind computes slightly others


class DocumentRetriever:
    """Implements `deployments.interfaces.Retriever` on any store and embedder.

    `versions` returns the current versions of documents: chunks of others are not found. Without,
    all are. `attributes` returns those of a document that is published, None if it was removed.
    `collections` says which collections exist, and records the index of each: without, all do.
    `removals` takes what is to be deleted while a backup needs it. At
    most `batch_chunks` texts go to the embedder and the store in one call.
    """

    def __init__(  # noqa: PLR0913 - one parameter per collaborator
        self,
        store: VectorStore,
        embedder: Embedder,
        settings: RetrieverSettings,
        *,
        versions: CurrentVersions | None = None,
        attributes: AttributesOf | None = None,
        collections: IndexedCollections | None = None,
        removals: HeldRemovals | None = None,
        batch_chunks: int = _BATCH_CHUNKS,
    ) -> None:
        self._attributes = attributes
        self._removals = removals
        self._batch_chunks = batch_chunks
        self._store = store
        self._indexing = IndexEmbedder(embedder)
        self._claims = Claims(collections)
        self._search = Search(
            store, embedder, self._indexing, self._claims, settings, versions=versions
        )
        self._lexical = LexicalEncoder()
        self._locks = DocumentLocks()

    async def add(self, document: Document, chunks: Sequence[Chunk]) -> None:
        """Embed and store chunks, hidden; `document.chunks` must be the final count."""
        async with self._locks.of(document.collection, document.id).shared():
            await self._add_all(document, chunks)

    async def _add_all(self, document: Document, chunks: Sequence[Chunk]) -> None:
        check_collection_name(document.collection)
        remaining = iter(chunks)
        while batch := list(itertools.islice(remaining, self._batch_chunks)):
            await self._add(document, batch)

    async def _add(self, document: Document, chunks: Sequence[Chunk]) -> None:
        texts = [read_as(document.title, chunk.section, chunk.text) for chunk in chunks]
        expected = await self._indexing.model()
        await self._claims.record(document.collection, expected)
        async with self._locks.of(document.collection, document.id).embedding:
            model, dense = await self._indexing.embed(texts, "passage")
        if model != expected:  # it was replaced meanwhile
            await self._claims.record(document.collection, model)
        await self._store.add(
            index_of(model),
            document,
            [
                EmbeddedChunk(chunk, row, self._lexical.passage(text))
                for chunk, row, text in zip(chunks, dense, texts, strict=True)
            ],
        )

    def _document_lock(
        self, collection: str, document_id: str
    ) -> AbstractAsyncContextManager[None]:
        """Hold off whatever else changes a document.

        A batch may still be at work here when its caller was killed and the document is deleted:
        stored afterwards, its chunks would stay for ever. A deletion during publishing would
        delete chunks that were just checked to be complete.
        """
        return self._locks.of(collection, document_id).exclusive()

    async def publish(self, document: Document, chunks: Sequence[Chunk] = ()) -> None:
        """Make the whole document visible at once; InvalidRequest if chunks are missing.

        `chunks` are stored first.
        """
        async with self._document_lock(document.collection, document.id):
            await self._add_all(document, chunks)
            model = await self._indexing.model()
            try:
                await self._claims.record(document.collection, model)
            except NotFound:  # it was dropped, maybe before the last chunk was stored
                await self._delete(document.collection, document.id)
                raise
            known = await self._attributes_of(document.collection, document.id)
            await self._store.publish(index_of(model), replace(document, attributes=known or {}))
            await self._write_attributes(document.collection, document.id, known)

    async def apply_attributes(self, collection: str, document_id: str) -> None:
        """Write the attributes of a document to its chunks, as the catalogue has them."""
        async with self._document_lock(collection, document_id):
            await self._write_attributes(collection, document_id, None)

    async def _write_attributes(
        self, collection: str, document_id: str, written: Attributes | None
    ) -> None:
        """Write the attributes of a document to its chunks until they are the newest.

        Another replica may write newer ones before this one has written those that it read.
        """
        for _ in range(_ATTRIBUTE_ATTEMPTS):
            newest = await self._attributes_of(collection, document_id)
            if newest is None or (written is not None and same_attributes(newest, written)):
                return
            await self._store.set_attributes(collection, document_id, newest)
            written = newest

    async def _attributes_of(self, collection: str, document_id: str) -> Attributes | None:
        if self._attributes is None:
            return None
        return await self._attributes(collection, document_id)

    async def discard(self, collection: str, document_id: str, versions: Sequence[int]) -> None:
        """Drop some versions of a document."""
        removals = [Removal(collection, document_id, version) for version in versions]
        async with self._document_lock(collection, document_id):
            if not await self._deferred(*removals):
                await self._store.discard(collection, document_id, versions)

    async def search(
        self,
        queries: Sequence[str],
        collections: str | Sequence[str],
        limit: int,
        max_chars: int,
        filters: Filter | None = None,
    ) -> list[Passage]:
        """Find at most `limit` passages, best first; see `deployments.interfaces.Retriever`."""
        return await self._search.passages(queries, collections, limit, max_chars, filters)

    async def content(self, document: Document, first: int, limit: int) -> list[Chunk]:
        """Return chunks of a published version, in order; see `deployments.interfaces`."""
        check_collection_name(document.collection)
        index = await self._index_of(document.collection)
        near = await self._store.published(
            index, document.collection, document.id, document.version
        )
        numbers = range(first, min(first + limit, document.chunks))
        wanted = [(near, number) for number in numbers] if near else []
        found = await self._store.chunks(index, document.collection, wanted) if wanted else []
        if len(found) != len(numbers):
            msg = "the document is being replaced: try again"
            raise Unavailable(msg)
        return sorted((one.chunk for one in found), key=lambda chunk: chunk.number)

    async def _index_of(self, collection: str) -> VectorIndex:
        """Return the index that a collection is in, which need not be that of the model."""
        claimed = await self._claims.of(collection)
        if claimed is None or (claimed.name is None and not claimed.completed):
            return index_of(await self._indexing.model())
        if claimed.name is None:
            raise not_moved(collection)
        return VectorIndex(claimed.name, dimensions=0)

    async def document(self, collection: str, document_id: str, version: int) -> Document:
        """Return the description with which a version was published; raises NotFound."""
        index = await self._index_of(collection)
        found = await self._store.published(index, collection, document_id, version)
        if found is None:
            raise unknown_document(document_id)
        return found.document

    async def delete(self, collection: str, document_id: str) -> bool:
        """Delete a document, published or not, and return whether it existed.

        While a backup needs it, Jobs does this later.
        """
        async with self._document_lock(collection, document_id):
            return await self._delete(collection, document_id)

    async def _delete(self, collection: str, document_id: str) -> bool:
        if await self._deferred(Removal(collection, document_id)):
            return True
        return await self._store.delete(collection, document_id)

    async def _deferred(self, *removals: Removal) -> bool:
        """Return whether a backup holds removals, which are then carried out later."""
        return self._removals is not None and await self._removals.deferred(*removals)

    async def collections(self) -> list[str]:
        """Name the collections of which something is stored, of every owner, in order."""
        return await self._store.collections()

    async def unmoved_collections(self) -> list[str]:
        """Name the collections of version 0.1 that are not moved."""
        return sorted(await self._store.collections_of_0_1.dimensions())

    async def documents(self, collection: str, limit: int, after: str | None) -> DocumentList:
        """List documents of a collection of version 0.1, from behind the document id `after`."""
        return await self._store.collections_of_0_1.documents(collection, limit, after)

    async def move_collections(self) -> int:
        """Move the collections of version 0.1 into the index; see StoredDocuments."""
        collections_of_0_1, moved = self._store.collections_of_0_1, 0
        for collection, dimensions in (await collections_of_0_1.dimensions()).items():
            model = await self._indexing.model()
            index = index_of(model)
            try:
                claimed = await self._claims.of(collection)
                if claimed is None or claimed.name is None:
                    if not await self._is_of(collection, dimensions, model):
                        logger.warning(
                            "collection {} of version 0.1 is not moved: its vectors are not of "
                            "the embedding model {}",
                            *(collection, model.name),
                        )
                        continue
                    chunks = await collections_of_0_1.copy(collection, index)
                    await self._claims.record(collection, model, moved=True)
                    logger.info("moved collection {} of version 0.1: {} chunks", collection, chunks)
                elif claimed.name != index.name:
                    continue  # it is in the index of another model
                await collections_of_0_1.delete(collection)
                moved += 1
            except NotFound:  # deleted since, or another program's
                continue
        return moved

    async def _is_of(self, collection: str, dimensions: int, model: EmbeddingModel) -> bool:
        """Return whether a model has made the vectors of a collection of version 0.1."""
        if dimensions != model.dimensions:
            return False
        if (sample := await self._store.collections_of_0_1.sample(collection)) is None:
            return True
        stored, dense = sample
        text = read_as(stored.document.title, stored.chunk.section, stored.chunk.text)
        _, again = await self._indexing.embed([text], "passage")
        return float(again[0] @ dense) >= _SAME_VECTOR

    async def drop(self, collection: str) -> bool:
        """Delete a collection and return whether it existed; see `delete`."""
        if await self._deferred(Removal(collection)):
            return True
        return await self._store.drop(collection)

    async def purge(self, age_s: float) -> bool:
        """Remove from the disk what was deleted; see `VectorStore.purge`."""
        return await self._store.purge(age_s)

    async def backup(self, name: str) -> bool:
        """Copy the vectors into a folder of this name; see `VectorStore.backup`."""
        return await self._store.backup(name)

    async def close(self) -> None:
        """Close the store."""
        await self._store.close()
