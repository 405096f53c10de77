"""The retriever: embeds documents and questions, asks a vector store, ranks what it finds."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from loguru import logger

from deployments.collection_names import check_collection_name
from deployments.errors import NotFound, ServiceError, Unavailable
from deployments.filters import matches, same_attributes
from deployments.observability.tracing import span
from deployments.retriever import ranking
from deployments.retriever.bm25 import LexicalEncoder
from deployments.retriever.claims import check_index
from deployments.retriever.document_locks import DocumentLocks
from deployments.retriever.embedding import IndexEmbedder, index_of
from deployments.retriever.merging import ranked_together
from deployments.retriever.points import edition_of, unknown_document
from deployments.retriever.relevance import Relevance
from deployments.retriever.vector_store import EmbeddedChunk, HybridQuery, StoredChunk
from deployments.types import Chunk

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager

    from numpy.typing import NDArray

    from deployments.catalogue.entries import CollectionIndex, CurrentVersion
    from deployments.filters import Attributes, Filter
    from deployments.interfaces import Embedder
    from deployments.retriever.claims import IndexedCollections
    from deployments.retriever.vector_store import (
        Candidate,
        VectorIndex,
        VectorStore,
    )
    from deployments.settings import RetrieverSettings
    from deployments.types import Document, DocumentList, EmbeddingModel, Passage

    CurrentVersions = Callable[[str, Sequence[str]], Awaitable[Mapping[str, CurrentVersion]]]
    AttributesOf = Callable[[str, str], Awaitable[Attributes | None]]

_MAX_HEADING_CHARS = 80  # of title and of section: with them a chunk must fit the embedder's window
_BATCH_CHUNKS = 64
_RERANK_TIMEOUT_S = 3.0  # after which passages stay in the order they were found in
_VERSION_ATTEMPTS = 8
_ATTRIBUTE_ATTEMPTS = 8
_SPARE = 3  # chunks looked at for each passage: those beside a better one join it


class DocumentRetriever:
    """Implements `deployments.interfaces.Retriever` on any store and embedder.

    `versions` returns the current versions of documents: chunks of others are not found. Without,
    all are. `attributes` returns those of a document that is published, None if it was removed.
    `collections` says which collections exist, and records the index of each: without, all do. At
    most `batch_chunks` texts go to the embedder and the store in one call. What version 0.1 stored
    was cut by `chunker_version`.
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
        batch_chunks: int = _BATCH_CHUNKS,
        chunker_version: int = 0,
    ) -> None:
        self._chunker_version = chunker_version
        self._versions = versions
        self._attributes = attributes
        self._collections = collections
        self._batch_chunks = batch_chunks
        self._store = store
        self._embedder = embedder
        self._indexing = IndexEmbedder(embedder)
        self._settings = settings
        self._lexical = LexicalEncoder()
        self._relevance = Relevance(embedder)
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
        async with self._locks.of(document.collection, document.id).embedding:
            model, dense = await self._indexing.embed(texts, "passage")
        await self._claim(document.collection, model)
        await self._store.add(
            index_of(model),
            document,
            [
                EmbeddedChunk(chunk, row, self._lexical.passage(text))
                for chunk, row, text in zip(chunks, dense, texts, strict=True)
            ],
        )

    async def _claim(self, collection: str, model: EmbeddingModel, *, moved: bool = False) -> None:
        """Record the index of a collection; raise NotFound, and Unavailable if it has another."""
        if self._collections is not None:
            index = index_of(model)
            claimed = await self._collections.claim_index(
                collection, index.name, model.name, moved=moved
            )
            check_index(collection, claimed, index, model)

    async def _claimed(self, collection: str) -> CollectionIndex | None:
        """Return the index of a collection; raise NotFound. None without a catalogue."""
        return None if self._collections is None else await self._collections.index(collection)

    def _document_lock(
        self, collection: str, document_id: str
    ) -> AbstractAsyncContextManager[None]:
        """Hold off whatever else changes a document.

        A batch may still be at work here when its caller was killed and the document is deleted:
        stored afterwards, its chunks would stay for ever. A deletion in the middle of publishing
        would leave a published record without chunks.
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
                await self._claim(document.collection, model)
            except NotFound:  # it was dropped, maybe before the last chunk was stored
                await self._store.delete(document.collection, document.id)
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
        async with self._document_lock(collection, document_id):
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
        names = [collections] if isinstance(collections, str) else list(dict.fromkeys(collections))
        populated = await self._populated(names)
        if not populated:
            return []  # without asking the embedder, which may be busy or away
        with span("embed"):
            model, dense = await self._indexing.embed(queries, "query")
        index = index_of(model)
        for collection, claimed in populated.items():
            if claimed is not None:
                check_index(collection, claimed, index, model)
        sparse = [self._lexical.query(query) for query in queries]
        query = HybridQuery(dense, sparse, max(self._settings.candidates, limit), filters=filters)
        with span("query"):
            each = await asyncio.gather(
                *(self._current(index, collection, query) for collection in populated)
            )
        found = each[0] if len(each) == 1 else await self._together(each, query)
        found = await self._relevant(found, dense[0], model)
        found = ranking.raised_by_company(await self._reranked(found, queries[0]))
        best = ranking.diverse(found, self._settings.diversity, limit * _SPARE)
        around = await self._around(index, best[:limit], found)
        return ranking.passages(
            best, found, around, query=dense[0], limit=limit, max_chars=max_chars
        )

    async def content(self, document: Document, first: int, limit: int) -> list[Chunk]:
        """Return chunks of a published version, in order; see `deployments.interfaces`."""
        check_collection_name(document.collection)
        edition = edition_of(document, self._chunker_version)
        near = StoredChunk(document, edition, Chunk(first, "", 0))
        numbers = range(first, min(first + limit, document.chunks))
        wanted = [(near, number) for number in numbers]
        index = index_of(await self._indexing.model())
        found = await self._store.chunks(index, document.collection, wanted) if wanted else []
        if len(found) != len(wanted):
            msg = "the document is being replaced: try again"
            raise Unavailable(msg)
        return sorted((one.chunk for one in found), key=lambda chunk: chunk.number)

    async def _populated(self, collections: Sequence[str]) -> dict[str, CollectionIndex | None]:
        """Return the collections that have documents, with their indexes.

        Raises NotFound for an unknown one. Of several, the caller has checked that they exist.
        """

        async def populated(collection: str) -> tuple[bool, CollectionIndex | None]:
            check_collection_name(collection)
            try:
                claimed = await self._claimed(collection)
            except NotFound:
                if len(collections) == 1:
                    raise
                return False, None
            return claimed is None or claimed.completed > 0, claimed

        found = await asyncio.gather(*map(populated, collections))
        return {
            name: claimed
            for name, (has_any, claimed) in zip(collections, found, strict=True)
            if has_any
        }

    async def _together(
        self, each: Sequence[Sequence[Candidate]], query: HybridQuery
    ) -> list[Candidate]:
        """Rank the candidates of several collections together."""
        found = list(itertools.chain.from_iterable(each))

        def ranked() -> list[Candidate]:
            words = [self._lexical.passage(_text_of(one)) for one in found]
            return ranked_together(found, words, query)

        return await asyncio.to_thread(ranked)

    async def _around(
        self, index: VectorIndex, best: Sequence[Candidate], found: Sequence[Candidate]
    ) -> list[StoredChunk]:
        """Fetch the chunks around the best ones, with their documents as the catalogue has them."""
        wanted: defaultdict[str, list[tuple[StoredChunk, int]]] = defaultdict(list)
        for near, number in ranking.neighbourhood(best, known=found):
            wanted[near.document.collection].append((near, number))
        fetched = await asyncio.gather(
            *(self._store.chunks(index, collection, some) for collection, some in wanted.items())
        )
        documents = {ranking.document_key(one.stored): one.stored.document for one in found}
        return [
            replace(one, document=documents[ranking.document_key(one)])
            for one in itertools.chain.from_iterable(fetched)
        ]

    async def _current(
        self, index: VectorIndex, collection: str, query: HybridQuery
    ) -> list[Candidate]:
        """Find chunks of current versions only, under the names that their documents have.

        The catalogue may switch to another version between the two look-ups. It does so once that
        one is stored, so a second search finds it. That search leaves out what is not current now,
        which would take up places.
        """
        current: list[Candidate] = []
        seen: dict[tuple[str, str], int] = {}  # versions, by document and edition
        for _ in range(_VERSION_ATTEMPTS):
            found = await self._store.candidates(index, collection, query)
            if self._versions is None or not (found or seen):
                return found
            seen |= {
                (one.stored.document.id, one.stored.edition): one.stored.document.version
                for one in found
            }
            versions = await self._versions(collection, sorted({id_ for id_, _ in seen}))
            current = [
                named
                for one in found
                if (named := _named(one, versions.get(one.stored.document.id), query.filters))
            ]
            stale = {
                (document_id, edition)
                for (document_id, edition), number in seen.items()
                if not _is_found(versions.get(document_id), number, query.filters)
            }
            if len(current) == len(found) and stale >= query.excluded:
                break
            query = replace(query, excluded=frozenset(stale))
        return current

    async def _relevant(
        self, found: list[Candidate], query: NDArray[np.float32], model: EmbeddingModel
    ) -> list[Candidate]:
        """Leave out what is no more like the question than the operator wants."""
        least = self._settings.min_relevance
        if least is None or not found:
            return found
        vectors = np.stack([one.dense for one in found])
        ratings = await self._relevance.of(query, vectors, model.fingerprint)
        return [one for one, rating in zip(found, ratings, strict=True) if rating >= least]

    async def _reranked(self, found: list[Candidate], query: str) -> list[Candidate]:
        """Have a cross-encoder read the first of them, if there is one and it has the time."""
        first = found[: self._settings.rerank]
        if not first:
            return found
        texts = list(map(_text_of, first))
        try:
            async with asyncio.timeout(_RERANK_TIMEOUT_S):
                scores = await self._embedder.rerank(query, texts)
        except (TimeoutError, ServiceError) as error:
            logger.warning("passages are in the order they were found in, not reranked: {}", error)
            return found
        return ranking.in_order_of(scores, found)

    async def document(self, collection: str, document_id: str, version: int) -> Document:
        """Return the description with which a version was published; raises NotFound."""
        found = await self._store.published(collection, document_id, version)
        if found is None:
            raise unknown_document(document_id)
        return found

    async def delete(self, collection: str, document_id: str) -> bool:
        """Remove a document whole, published or not; whether anything was there."""
        async with self._document_lock(collection, document_id):
            return await self._store.delete(collection, document_id)

    async def collections(self) -> list[str]:
        """Name the collections of which something is stored, of every owner, in order."""
        return await self._store.collections()

    async def unmoved_collections(self) -> list[str]:
        """Name the collections of release 0.1 that are not moved."""
        return sorted(await self._store.collections_of_0_1.dimensions())

    async def documents(self, collection: str, limit: int, after: str | None) -> DocumentList:
        """List documents of a collection of release 0.1, from behind the document id `after`."""
        return await self._store.collections_of_0_1.documents(collection, limit, after)

    async def move_collections(self) -> int:
        """Move the collections of release 0.1 into the index; see StoredDocuments."""
        old, moved = self._store.collections_of_0_1, 0
        if not (dimensions := await old.dimensions()):
            return 0
        model = await self._indexing.model()
        for collection, length in dimensions.items():
            if length != model.dimensions:
                logger.warning(
                    "collection {} of release 0.1 stays as it is: its vectors have {} numbers, "
                    "those of {} have {}",
                    *(collection, length, model.name, model.dimensions),
                )
                continue
            with contextlib.suppress(NotFound):  # deleted since, or another program's
                await self._claimed(collection)
                logger.info("collection {} of release 0.1 is moved into the index", collection)
                chunks = await old.move(collection, index_of(model))
                await self._claim(collection, model, moved=True)
                logger.info("collection {} is moved: {} chunks", collection, chunks)
                moved += 1
        return moved

    async def drop(self, collection: str) -> bool:
        """Remove a collection whole; whether it was there."""
        return await self._store.drop(collection)

    async def purge(self, age_s: float) -> bool:
        """Remove from the disk what was deleted; see `VectorStore.purge`."""
        return await self._store.purge(age_s)

    async def close(self) -> None:
        """Close the store."""
        await self._store.close()


def read_as(title: str, section: str, text: str) -> str:
    """Give a chunk as embedder, word index and reranker read it: under its headings.

    A stretch of text seldom names what the whole is about.
    """
    headings = (title[:_MAX_HEADING_CHARS], section[:_MAX_HEADING_CHARS])
    return "\n".join(filter(None, (*headings, text)))


def _text_of(one: Candidate) -> str:
    chunk = one.stored.chunk
    return read_as(one.stored.document.title, chunk.section, chunk.text)


def _is_found(version: CurrentVersion | None, number: int, filters: Filter | None) -> bool:
    """Return whether the catalogue lets a version of a document be found.

    Its attributes decide, even if the store has not got the newest yet.
    """
    if version is None or version.number != number:
        return False
    return filters is None or matches(filters, version.attributes)


def _named(
    one: Candidate, version: CurrentVersion | None, filters: Filter | None
) -> Candidate | None:
    """Return a candidate with its document's present name and attributes; None if not found."""
    document = one.stored.document
    if version is None or not _is_found(version, document.version, filters):
        return None
    title = document.title
    if document.filename != version.filename and title == document.filename:
        title = version.filename
    present = replace(
        document, filename=version.filename, title=title, attributes=version.attributes
    )
    return replace(one, stored=replace(one.stored, document=present))
