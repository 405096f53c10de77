"""The retriever: embeds documents and questions, asks a vector store, ranks what it finds."""

from __future__ import annotations

import asyncio
import weakref
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
from loguru import logger

from deployments.collection_names import check_collection_name
from deployments.errors import ServiceError
from deployments.observability.tracing import span
from deployments.retriever import ranking
from deployments.retriever.bm25 import LexicalEncoder
from deployments.retriever.relevance import Relevance
from deployments.retriever.vector_store import EmbeddedChunk, HybridQuery

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from deployments.catalogue.entries import CurrentVersion
    from deployments.interfaces import Embedder
    from deployments.retriever.vector_store import Candidate, VectorStore
    from deployments.settings import RetrieverSettings
    from deployments.types import Chunk, Document, DocumentList, Passage

    CurrentVersions = Callable[[str, Sequence[str]], Awaitable[Mapping[str, CurrentVersion]]]

_MAX_HEADING_CHARS = 80  # of title and of section: with them a chunk must fit the embedder's window
_BATCH_CHUNKS = 64
_RERANK_TIMEOUT_S = 3.0  # after which passages stay in the order they were found in
_VERSION_ATTEMPTS = 8
_SPARE = 3  # chunks looked at for each passage: those beside a better one join it


class DocumentRetriever:
    """Implements `deployments.interfaces.Retriever` on any store and embedder.

    `versions` returns the current versions of documents: chunks of others are not found. Without,
    all are.

    At most `batch_chunks` texts go to the embedder and the store in one call. The
    size of the vectors is the embedder's: a new collection takes it from its first chunk.
    """

    def __init__(
        self,
        store: VectorStore,
        embedder: Embedder,
        settings: RetrieverSettings,
        *,
        versions: CurrentVersions | None = None,
        batch_chunks: int = _BATCH_CHUNKS,
    ) -> None:
        self._versions = versions
        self._batch_chunks = batch_chunks
        self._store = store
        self._embedder = embedder
        self._settings = settings
        self._lexical = LexicalEncoder()
        self._relevance = Relevance(embedder)
        self._locks = weakref.WeakValueDictionary[tuple[str, str], asyncio.Lock]()

    async def add(self, document: Document, chunks: Sequence[Chunk]) -> None:
        """Embed and store chunks, hidden; `document.chunks` must be the final count."""
        async with self._document_lock(document.collection, document.id):
            await self._add_all(document, chunks)

    async def _add_all(self, document: Document, chunks: Sequence[Chunk]) -> None:
        check_collection_name(document.collection)
        remaining = iter(chunks)
        while batch := list(islice(remaining, self._batch_chunks)):
            await self._add(document, batch)

    async def _add(self, document: Document, chunks: Sequence[Chunk]) -> None:
        texts = [read_as(document.title, chunk.section, chunk.text) for chunk in chunks]
        dense = await self._embedder.embed(texts, "passage")
        await self._store.add(
            document,
            [
                EmbeddedChunk(chunk, row, self._lexical.passage(text))
                for chunk, row, text in zip(chunks, dense, texts, strict=True)
            ],
        )

    def _document_lock(self, collection: str, document_id: str) -> asyncio.Lock:
        """Return the lock that adding, publishing and deleting a document take.

        A batch may still be at work here when its caller was killed and the document is deleted:
        stored afterwards, its chunks would stay for ever. A deletion in the middle of publishing
        would leave a published record without chunks.
        """
        return self._locks.setdefault((collection, document_id), asyncio.Lock())

    async def publish(self, document: Document, chunks: Sequence[Chunk] = ()) -> None:
        """Make the whole document visible at once; InvalidRequest if chunks are missing.

        `chunks` are stored first.
        """
        async with self._document_lock(document.collection, document.id):
            await self._add_all(document, chunks)
            await self._store.publish(document)

    async def discard(self, collection: str, document_id: str, versions: Sequence[int]) -> None:
        """Drop some versions of a document."""
        async with self._document_lock(collection, document_id):
            await self._store.discard(collection, document_id, versions)

    async def search(
        self, queries: Sequence[str], collection: str, limit: int, max_chars: int
    ) -> list[Passage]:
        """Find at most `limit` passages, best first; see `deployments.interfaces.Retriever`."""
        check_collection_name(collection)
        if not (await self._store.documents(collection, 1, None)).documents:
            return []  # without asking the embedder, which may be busy or away
        with span("embed"):
            dense = await self._embedder.embed(queries, "query")
        sparse = [self._lexical.query(query) for query in queries]
        wide = max(self._settings.candidates, limit)
        with span("query"):
            found = await self._current(collection, HybridQuery(dense, sparse, wide))
        found = await self._relevant(found, dense[0])
        found = ranking.raised_by_company(await self._reranked(found, queries[0]))
        best = ranking.diverse(found, self._settings.diversity, limit * _SPARE)
        around = await self._store.chunks(
            collection, ranking.neighbourhood(best[:limit], known=found)
        )
        names = {one.stored.document.id: one.stored.document for one in found}
        around = [replace(one, document=names[one.document.id]) for one in around]
        return ranking.passages(
            best, found, around, query=dense[0], limit=limit, max_chars=max_chars
        )

    async def _current(self, collection: str, query: HybridQuery) -> list[Candidate]:
        """Find chunks of current versions only, under the names that their documents have.

        The catalogue may switch to another version between the two look-ups. It does so once that
        one is stored, so a second search finds it. That search leaves out what is not current now,
        which would take up places.
        """
        current: list[Candidate] = []
        seen: dict[tuple[str, str], int] = {}  # versions, by document and edition
        for _ in range(_VERSION_ATTEMPTS):
            found = await self._store.candidates(collection, query)
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
                if (named := _named(one, versions.get(one.stored.document.id)))
            ]
            stale = {
                (document_id, edition)
                for (document_id, edition), number in seen.items()
                if document_id not in versions or versions[document_id].number != number
            }
            if len(current) == len(found) and stale >= query.excluded:
                break
            query = replace(query, excluded=frozenset(stale))
        return current

    async def _relevant(
        self, found: list[Candidate], query: NDArray[np.float32]
    ) -> list[Candidate]:
        """Leave out what is no more like the question than the operator wants."""
        least = self._settings.min_relevance
        if least is None or not found:
            return found
        ratings = await self._relevance.of(query, np.stack([one.dense for one in found]))
        return [one for one, rating in zip(found, ratings, strict=True) if rating >= least]

    async def _reranked(self, found: list[Candidate], query: str) -> list[Candidate]:
        """Have a cross-encoder read the first of them, if there is one and it has the time."""
        first = found[: self._settings.rerank]
        if not first:
            return found
        texts = [
            read_as(one.stored.document.title, one.stored.chunk.section, one.stored.chunk.text)
            for one in first
        ]
        try:
            async with asyncio.timeout(_RERANK_TIMEOUT_S):
                scores = await self._embedder.rerank(query, texts)
        except (TimeoutError, ServiceError) as error:
            logger.warning("passages are in the order they were found in, not reranked: {}", error)
            return found
        return ranking.in_order_of(scores, found)

    async def documents(self, collection: str, limit: int, after: str | None) -> DocumentList:
        """List published documents in a fixed order, from behind the document id `after`."""
        return await self._store.documents(collection, limit, after)

    async def document(self, collection: str, document_id: str) -> Document:
        """Find one published document; raises NotFound."""
        return await self._store.document(collection, document_id)

    async def delete(self, collection: str, document_id: str) -> bool:
        """Remove a document whole, published or not; whether anything was there."""
        async with self._document_lock(collection, document_id):
            return await self._store.delete(collection, document_id)

    async def collections(self) -> list[str]:
        """Name all collections in alphabetical order."""
        return await self._store.collections()

    async def create(self, collection: str) -> None:
        """Create a collection for vectors of the embedder's size unless it exists."""
        check_collection_name(collection)
        probe = await self._embedder.embed(["size"], "passage")
        await self._store.create(collection, probe.shape[1])

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


def _named(one: Candidate, version: CurrentVersion | None) -> Candidate | None:
    """Return a candidate under the present name of its document; None if it is not current."""
    document = one.stored.document
    if version is None or version.number != document.version:
        return None
    if document.filename == version.filename:
        return one
    title = version.filename if document.title == document.filename else document.title
    renamed = replace(document, filename=version.filename, title=title)
    return replace(one, stored=replace(one.stored, document=renamed))
