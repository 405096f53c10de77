"""The retriever over a vector store and an embedder: documents in, passages out."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from loguru import logger

from deployments.catalogue.removals import Removal
from deployments.collection_names import check_collection_name
from deployments.errors import (
    MODEL_CHANGED,
    Conflict,
    InvalidRequest,
    NotFound,
    ServiceError,
    Unavailable,
)
from deployments.filters import same_attributes
from deployments.retriever.bm25 import LexicalEncoder
from deployments.retriever.claims import Claims
from deployments.retriever.copying import Copier
from deployments.retriever.document_locks import DocumentLocks
from deployments.retriever.embedding import Embedders, embedded_as, index_of, read_as
from deployments.retriever.kept_vectors import KeptVectors
from deployments.retriever.moving_0_1 import move_collections
from deployments.retriever.published_versions import PublishedVersions
from deployments.retriever.search import Search
from deployments.retriever.vector_store import EmbeddedChunk, VectorIndex
from deployments.types import CopiedChunks, EmbeddedChunks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence
    from contextlib import AbstractAsyncContextManager

    import numpy as np
    from numpy.typing import NDArray

    from deployments.filters import Attributes, Filter
    from deployments.interfaces import Embedder
    from deployments.retriever.bm25 import SparseVector
    from deployments.retriever.claims import IndexedCollections, IndexPairs, Targets
    from deployments.retriever.search import CurrentVersions
    from deployments.retriever.vector_store import VectorStore
    from deployments.settings import RetrieverSettings
    from deployments.types import (
        Chunk,
        Document,
        DocumentList,
        EmbeddingModel,
        Passage,
        StoredIndex,
        StoredPoint,
    )

    class HeldRemovals(Protocol):
        """See `deployments.catalogue.removals.Removals`."""

        async def deferred(self, *removals: Removal) -> bool:
            """Take removals if a backup holds them; return whether it does."""
            ...

    AttributesOf = Callable[[str, str], Awaitable[Attributes | None]]

_BATCH_CHUNKS = 64
_ATTRIBUTE_ATTEMPTS = 8


class DocumentRetriever:
    """Implements `deployments.interfaces.Retriever` on any store and embedder.

    `versions` returns the current versions of documents: chunks of others are not found. Without,
    all are. `attributes` returns those of a document that is published, None if it was removed.
    `collections` says which collections exist, and records the index of each: without, all do.
    While the embedding model is changed, `next_embedder` has the other one, and `pairs` records
    what is in both indexes. `removals` takes what is to be deleted while a backup needs it. At most
    `batch_chunks` texts go to an embedder or the store in a call.
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
        pairs: IndexPairs | None = None,
        next_embedder: Embedder | None = None,
        removals: HeldRemovals | None = None,
        batch_chunks: int = _BATCH_CHUNKS,
    ) -> None:
        self._attributes = attributes
        self._removals = removals
        self._batch_chunks = batch_chunks
        self._store = store
        self._embedders = Embedders(embedder, next_embedder)
        self._claims = Claims(collections, pairs, self._embedders)
        self._search = Search(store, self._embedders, self._claims, settings, versions=versions)
        self._lexical = LexicalEncoder()
        self._published = PublishedVersions(store, self._embedders, self._claims)
        self._copier = Copier(store, self._embedders, self._claims, self._lexical)
        self._kept = KeptVectors(store)
        self._locks = DocumentLocks()
        self._searched_s = -math.inf

    async def add(self, document: Document, chunks: Sequence[Chunk]) -> None:
        """Embed and store chunks, hidden; `document.chunks` must be the final count."""
        async with self._locks.of(document.collection, document.id).shared():
            await self._add_all(document, chunks)

    async def replace_chunks(self, document: Document, chunks: Sequence[Chunk]) -> float:
        """Store chunks as `add` does; see `deployments.interfaces`."""
        async with self._locks.of(document.collection, document.id).shared():
            await self._add_all(document, chunks, replaced=True)
        return time.monotonic() - self._searched_s

    async def _add_all(
        self, document: Document, chunks: Sequence[Chunk], *, replaced: bool = False
    ) -> None:
        check_collection_name(document.collection)
        remaining = iter(chunks)
        while batch := list(itertools.islice(remaining, self._batch_chunks)):
            await self._add(document, batch, replaced=replaced)

    async def _add(self, document: Document, chunks: Sequence[Chunk], *, replaced: bool) -> None:
        """Store chunks in the indexes of their collection.

        A second one that fails gets the document later. With `replaced`, texts that the version
        has in an index already keep their vectors.
        """
        texts = [embedded_as(document.title, chunk.section, chunk.text) for chunk in chunks]
        targets = await self._claims.targets(document.collection)
        kept = document if replaced else None
        async with self._locks.of(document.collection, document.id).embedding:
            model, dense, second = await self._embed(texts, targets, kept)
        if model != targets.first.model:  # it was replaced meanwhile
            again = await self._claims.targets(document.collection)
            if again.first.model != model:
                msg = "the embedding model is being replaced: try again"
                raise Unavailable(msg)
        words = await self._words(document, chunks)
        await self._store.add(index_of(model), document, _embedded(chunks, dense, words))
        if targets.second is not None and second is not None:
            with _left_for_later(document):
                embedded = _embedded(chunks, second, words)
                await self._store.add(targets.second.index, document, embedded)

    async def _words(self, document: Document, chunks: Sequence[Chunk]) -> list[SparseVector]:
        texts = [read_as(document.title, chunk.section, chunk.text) for chunk in chunks]
        return await asyncio.to_thread(self._lexical.passages, texts, document.language)

    async def _embed(
        self, texts: Sequence[str], targets: Targets, kept: Document | None
    ) -> tuple[EmbeddingModel, NDArray[np.float32], NDArray[np.float32] | None]:
        """Return the first model, its vectors, and those of the second if there are any."""
        if targets.second is None:
            return *(await self._kept.embed(texts, targets.first, kept)), None
        first, second = await asyncio.gather(
            self._kept.embed(texts, targets.first, kept),
            self._kept.embed(texts, targets.second, kept),
            return_exceptions=True,
        )
        if isinstance(first, BaseException):
            raise first
        if isinstance(second, BaseException):
            with _left_for_later():
                raise second
            return *first, None
        model, dense = second
        return *first, dense if model == targets.second.model else None

    async def add_embedded(self, document: Document, chunks: EmbeddedChunks) -> None:
        """Store chunks with vectors of the present model; see `deployments.interfaces`."""
        check_collection_name(document.collection)
        async with self._locks.of(document.collection, document.id).shared():
            index = (await self._claims.targets(document.collection)).first.index
            if chunks.index != index.name:
                msg = "the vectors are of another embedding model than the present one"
                raise Conflict(msg, code=MODEL_CHANGED)
            if chunks.vectors.shape != (len(chunks.chunks), index.dimensions):
                msg = f"the vectors of this embedding model have {index.dimensions} dimensions"
                raise InvalidRequest(msg)
            words = await self._words(document, chunks.chunks)
            # A second index gets the document later.
            await self._store.add(index, document, _embedded(chunks.chunks, chunks.vectors, words))

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
            self._kept.forget(document)
            await self._add_all(document, chunks)
            try:
                targets = await self._claims.targets(document.collection)
            except NotFound:  # it was dropped, maybe before the last chunk was stored
                await self._delete(document.collection, document.id)
                raise
            known = await self._attributes_of(document.collection, document.id)
            published = replace(document, attributes=known or {})
            await self._store.publish(targets.first.index, published)
            indexes = [targets.first.index.name]
            if targets.second is not None:
                with _left_for_later(document):
                    await self._store.publish(targets.second.index, published)
                    indexes.append(targets.second.index.name)
            if targets.paired:
                await self._claims.mark(document, indexes)
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
        async with self._document_lock(collection, document_id):
            await self._discard(collection, document_id, versions)

    async def _discard(self, collection: str, document_id: str, versions: Sequence[int]) -> None:
        removals = [Removal(collection, document_id, version) for version in versions]
        if not await self._deferred(*removals):
            await self._store.discard(collection, document_id, versions)

    async def search(  # noqa: PLR0913 - a question and its bounds
        self,
        queries: Sequence[str],
        collections: str | Sequence[str],
        limit: int,
        max_chars: int,
        filters: Filter | None = None,
        *,
        by_document: bool = False,
    ) -> list[Passage]:
        """Find at most `limit` passages, best first; see `deployments.interfaces.Retriever`."""
        self._searched_s = time.monotonic()
        return await self._search.passages(
            queries, collections, limit, max_chars, filters, by_document=by_document
        )

    async def content(self, document: Document, first: int, limit: int) -> list[Chunk]:
        """Return chunks of a published version, in order; see `deployments.interfaces`."""
        return await self._published.content(document, first, limit)

    async def embedded(self, document: Document, first: int, limit: int) -> EmbeddedChunks:
        """Return chunks of a published version with their vectors, in order."""
        return await self._published.embedded(document, first, limit)

    async def document(self, collection: str, document_id: str, version: int) -> Document:
        """Return the description with which a version was published; raises NotFound."""
        return await self._published.document(collection, document_id, version)

    async def index_models(self) -> dict[str, str]:
        """Return the indexes of the loaded models; see `deployments.interfaces.SecondIndexes`."""
        loaded, all_known = await self._embedders.loaded()
        if not all_known:
            msg = "the embedder of the next model does not answer"
            raise Unavailable(msg)
        return {each.index.name: each.model.name for each in loaded}

    async def copy(
        self, document: Document, first: int, limit: int, *, only_second: bool = False
    ) -> CopiedChunks:
        """Copy chunks into the other index; see `deployments.interfaces.SecondIndexes`."""
        collection, document_id = document.collection, document.id
        async with self._locks.of(collection, document_id).shared():
            copy, done = await self._copier.slice(document, first, limit, only_second=only_second)
        if done >= copy.document.chunks:
            async with self._document_lock(collection, document_id):
                known = await self._attributes_of(collection, document_id)
                if await self._copier.publish(copy, replace(document, attributes=known or {})):
                    await self._write_attributes(collection, document_id, known)
                else:
                    await self._discard(collection, document_id, [document.version])
        return CopiedChunks(done, time.monotonic() - self._searched_s)

    async def empty(self, collection: str, index_name: str) -> None:
        """Remove the chunks of a collection from one index."""
        await self._store.empty(VectorIndex(index_name, 0), collection)

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
        return await move_collections(self._store, self._embedders.first, self._claims)

    async def drop(self, collection: str) -> bool:
        """Delete a collection and return whether it existed; see `delete`."""
        if await self._deferred(Removal(collection)):
            return True
        return await self._store.drop(collection)

    async def indexes(self) -> list[StoredIndex]:
        """Name all indexes; see `VectorStore.indexes`."""
        return await self._store.indexes()

    async def inventory(
        self,
        index: str,
        limit: int,
        after: str | None = None,
        document: tuple[str, str] | None = None,
    ) -> list[StoredPoint]:
        """List the points of an index; see `VectorStore.inventory`."""
        return await self._store.inventory(index, limit, after, document)

    async def purge(self, age_s: float) -> bool:
        """Remove from the disk what was deleted; see `VectorStore.purge`."""
        return await self._store.purge(age_s)

    async def backup(self, name: str) -> bool:
        """Copy the vectors into a folder of this name; see `VectorStore.backup`."""
        return await self._store.backup(name)

    async def close(self) -> None:
        """Close the store."""
        await self._store.close()


def _embedded(
    chunks: Sequence[Chunk], dense: NDArray[np.float32], words: Sequence[SparseVector]
) -> list[EmbeddedChunk]:
    return [EmbeddedChunk(*each) for each in zip(chunks, dense, words, strict=True)]


@contextlib.contextmanager
def _left_for_later(document: Document | None = None) -> Iterator[None]:
    """Log an error of the second index, into which Jobs copies the document later."""
    try:
        yield
    except ServiceError as error:
        name = document.id if document else "a document"
        logger.warning("{} is copied into the second index later: {}", name, error)
