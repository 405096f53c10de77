"""The vector store on a Qdrant server or cluster, 1.16 or newer.

Older servers do not know conditional upserts and would hide a document that is added again.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from qdrant_client import AsyncQdrantClient, models

from deployments import collection_names
from deployments.errors import InvalidRequest, NotFound
from deployments.retriever import points
from deployments.retriever.qdrant.collections import ServerCollections, qdrant_name
from deployments.retriever.qdrant.requests import (
    IS_HIDDEN,
    IS_LISTED,
    chunk_point,
    has,
    lookups,
    of_document,
    of_versions,
    publication,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.retriever.vector_store import (
        Candidate,
        EmbeddedChunk,
        HybridQuery,
        StoredChunk,
    )
    from deployments.types import Document, DocumentList

_IN_MEMORY = ":memory:"
_TIMEOUT_S = 10.0


class ServerStore:
    """Keeps each collection in a Qdrant collection `genserve_NAME`.

    `url` may be `:memory:`, which is Qdrant's imitation in Python, for tests. A call fails with
    DeadlineExceeded after `timeout_s` seconds, counted in whole ones; where no connection can
    be made or it breaks, the call is repeated, since every one here may be.
    """

    def __init__(
        self,
        url: str,
        *,
        chunker_version: int,
        max_collections: int,
        timeout_s: float = _TIMEOUT_S,
        api_key: str | None = None,
    ) -> None:
        in_memory = url == _IN_MEMORY
        self._client = (
            AsyncQdrantClient(_IN_MEMORY)
            if in_memory
            else AsyncQdrantClient(
                url=url, api_key=api_key, timeout=math.ceil(timeout_s), check_compatibility=False
            )
        )
        self._collections = ServerCollections(
            self._client,
            max_collections=max_collections,
            retry_timeout_s=timeout_s,
            indexed=not in_memory,  # which has no indexes and warns of it
        )
        self._chunker_version = chunker_version

    async def add(self, document: Document, chunks: Sequence[EmbeddedChunk]) -> None:
        """See VectorStore."""
        collection = document.collection
        collection_names.check_collection_name(collection)
        if not chunks:
            return
        given = len(chunks[0].dense)
        edition = points.edition_of(document, self._chunker_version)
        new = [chunk_point(document, edition, embedded) for embedded in chunks]
        try:
            await self._upsert(collection, given, new)
        except NotFound:
            # Another replica dropped it, of which this one did not know.
            await self._upsert(collection, given, new)

    async def _upsert(
        self, collection: str, dimensions: int, new: list[models.PointStruct]
    ) -> None:
        if collection_names.is_vector_store(collection):
            stored = await self._collections.find(collection, dimensions) or dimensions
        else:
            stored = await self._collections.prepare(collection, dimensions)
        points.check_dimensions(collection, stored=stored, given=dimensions)
        await self._collections.call(
            collection, self._client.upsert, qdrant_name(collection), new, update_filter=IS_HIDDEN
        )

    async def publish(self, document: Document) -> None:
        """See VectorStore."""
        collection = document.collection
        edition = points.edition_of(document, self._chunker_version)
        await self._check_whole(document, edition)
        await self._collections.call(
            collection,
            self._client.batch_update_points,
            qdrant_name(collection),
            publication(document, edition),
        )
        try:
            await self._check_whole(document, edition)
        except InvalidRequest:
            # Another replica deleted the document between the check and the publication.
            await self._collections.call(
                collection,
                self._client.delete,
                qdrant_name(collection),
                models.PointIdsList(points=[points.record_id(document.id)]),
            )
            raise

    async def discard(self, collection: str, document_id: str, versions: Sequence[int]) -> None:
        """See VectorStore."""
        await self._collections.read(
            collection,
            self._client.delete,
            qdrant_name(collection),
            models.FilterSelector(filter=of_versions(document_id, versions)),
        )

    async def _check_whole(self, document: Document, edition: str) -> None:
        """Raise InvalidRequest unless every chunk of this edition is stored."""
        of_edition = models.Filter(
            must=[
                has(points.DOCUMENT_ID, document.id),
                has(points.KIND, points.CHUNK),
                has(points.EDITION, edition),
            ]
        )
        points.check_whole(document, await self._count(document.collection, of_edition))

    async def candidates(self, collection: str, query: HybridQuery) -> list[Candidate]:
        """See VectorStore."""
        given = query.dense.shape[1]
        stored = await self._collections.find(collection, given)
        if stored is None:
            return []
        points.check_dimensions(collection, stored=stored, given=given)
        prefetch = lookups(query)
        found = await self._collections.read(
            collection,
            self._client.query_points,
            qdrant_name(collection),
            prefetch=prefetch,
            query=models.RrfQuery(rrf=models.Rrf(k=points.RRF_K)),
            limit=len(prefetch) * query.limit,
            with_payload=True,
            with_vectors=[points.DENSE],
        )
        if found is None:
            return []
        return [
            points.candidate_from(point.payload or {}, point.vector, point.score)
            for point in found.points
        ]

    async def chunks(
        self, collection: str, wanted: Sequence[tuple[StoredChunk, int]]
    ) -> list[StoredChunk]:
        """See VectorStore."""
        if not wanted:
            return []
        records = await self._collections.read(
            collection,
            self._client.retrieve,
            qdrant_name(collection),
            points.chunk_ids(wanted),
            with_payload=True,
        )
        payloads = [record.payload or {} for record in records or ()]
        return [
            points.stored_from(payload)
            for payload in payloads
            if payload[points.STATE] == points.PUBLISHED
        ]

    async def documents(self, collection: str, limit: int, after: str | None) -> DocumentList:
        """See VectorStore."""
        found = await self._collections.read(
            collection,
            self._client.scroll,
            qdrant_name(collection),
            scroll_filter=IS_LISTED,
            offset=None if after is None else points.record_id(after),
            limit=limit + 2,
            with_payload=True,
        )
        records, _ = found or ([], None)
        return points.page_of([record.payload or {} for record in records], limit, after)

    async def document(self, collection: str, document_id: str) -> Document:
        """See VectorStore."""
        records = await self._collections.read(
            collection,
            self._client.retrieve,
            qdrant_name(collection),
            [points.record_id(document_id)],
            with_payload=True,
        )
        for record in records or ():
            payload = record.payload or {}
            if payload[points.STATE] == points.PUBLISHED:
                return points.document_from(payload)
        raise points.unknown_document(document_id)

    async def delete(self, collection: str, document_id: str) -> bool:
        """See VectorStore."""
        there = await self._count(collection, of_document(document_id)) > 0
        if there:
            await self._collections.call(
                collection,
                self._client.delete,
                qdrant_name(collection),
                models.FilterSelector(filter=of_document(document_id)),
            )
        return there

    async def collections(self) -> list[str]:
        """See VectorStore."""
        return await self._collections.names()

    async def create(self, collection: str, dimensions: int) -> None:
        """See VectorStore."""
        collection_names.check_collection_name(collection)
        await self._collections.prepare(collection, dimensions)

    async def drop(self, collection: str) -> bool:
        """See VectorStore."""
        collection_names.check_collection_name(collection)
        return await self._collections.drop(collection)

    async def purge(self, age_s: float) -> bool:  # noqa: ARG002 - the server decides when
        """See VectorStore. The server rewrites a segment once enough of it is deleted."""
        return False

    async def close(self) -> None:
        """See VectorStore."""
        await self._client.close()

    async def _count(self, collection: str, which: models.Filter) -> int:
        found = await self._collections.read(
            collection, self._client.count, qdrant_name(collection), count_filter=which, exact=True
        )
        return 0 if found is None else found.count
