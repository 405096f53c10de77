"""The vector store on a Qdrant server or cluster, 1.19 or newer.

Older servers compute the inverse document frequency (IDF) over all collections.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

from qdrant_client import AsyncQdrantClient, models

from deployments.attribute_payloads import attributes_payload
from deployments.errors import NotFound
from deployments.retriever import points
from deployments.retriever.qdrant.calls import Caller
from deployments.retriever.qdrant.collections_0_1 import ServerCollectionsOf01
from deployments.retriever.qdrant.copies import IndexCopies
from deployments.retriever.qdrant.indexes import ServerIndexes, index_name, qdrant_name
from deployments.retriever.qdrant.requests import (
    IS_HIDDEN,
    chunk_point,
    in_collection,
    lookups,
    of_document,
    of_edition,
    of_versions,
    publication,
    published_version,
)
from deployments.retriever.vector_store import VectorIndex
from deployments.types import StoredIndex

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from deployments.filters import Attributes
    from deployments.retriever.vector_store import (
        Candidate,
        EmbeddedChunk,
        HybridQuery,
        StoredChunk,
    )
    from deployments.types import Document, StoredPoint

T = TypeVar("T")

_IN_MEMORY = ":memory:"
_TIMEOUT_S = 10.0
_MAX_COLLECTIONS = 1_000_000


class ServerStore:
    """Keeps each index in a Qdrant collection `genserve-index-NAME`.

    `url` may be `:memory:`, which is Qdrant's imitation in Python, for tests. A call fails with
    DeadlineExceeded after `timeout_s` seconds, counted in whole ones; where no connection can
    be made or it breaks, the call is repeated, since every one here may be.
    """

    def __init__(
        self,
        url: str,
        *,
        chunker_version: int,
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
        self._call = Caller(timeout_s)
        self._indexes = ServerIndexes(
            self._client,
            self._call,
            indexed=not in_memory,  # which has no indexes and warns of it
        )
        self._chunker_version = chunker_version
        self.collections_of_0_1 = ServerCollectionsOf01(self._client, self._call, self._indexes)
        self.copies = IndexCopies(self._client, self._call, self._indexes)

    async def add(
        self, index: VectorIndex, document: Document, chunks: Sequence[EmbeddedChunk]
    ) -> None:
        """See VectorStore."""
        if not chunks:
            return
        edition = points.edition_of(document, self._chunker_version)
        new = [chunk_point(document, edition, embedded) for embedded in chunks]
        try:
            await self._upsert(index, new)
        except NotFound:  # somebody has deleted the index on the server
            self._indexes.forget(index)
            await self._upsert(index, new)

    async def _upsert(self, index: VectorIndex, new: list[models.PointStruct]) -> None:
        name = await self._indexes.prepare(index)
        await self._call(self._client.upsert, name, new, update_filter=IS_HIDDEN)

    async def publish(self, index: VectorIndex, document: Document) -> None:
        """See VectorStore."""
        edition = points.edition_of(document, self._chunker_version)
        which = of_edition(document, edition)
        count = await self._if_exists(
            index, lambda name: self._client.count(name, count_filter=which, exact=True)
        )
        points.check_whole(document, 0 if count is None else count.count)
        await self._call(
            self._client.batch_update_points, qdrant_name(index), publication(document, edition)
        )

    async def published(
        self, index: VectorIndex, collection: str, document_id: str, version: int
    ) -> StoredChunk | None:
        """See VectorStore."""
        which = published_version(collection, document_id, version)
        found = await self._if_exists(
            index,
            lambda name: self._client.scroll(name, scroll_filter=which, limit=1, with_payload=True),
        )
        records = found[0] if found else ()
        return next((points.stored_from(record.payload or {}) for record in records), None)

    async def set_attributes(
        self, collection: str, document_id: str, attributes: Attributes
    ) -> None:
        """See VectorStore."""
        payload, which = attributes_payload(attributes), of_document(collection, document_id)
        for name in await self._indexes.names():
            await self._call(self._client.set_payload, name, payload, points=which)

    async def discard(self, collection: str, document_id: str, versions: Sequence[int]) -> None:
        """See VectorStore."""
        await self._remove(of_versions(collection, document_id, versions))

    async def candidates(
        self, index: VectorIndex, collection: str, query: HybridQuery
    ) -> list[Candidate]:
        """See VectorStore."""
        requests = lookups(collection, query)
        found = await self._if_exists(
            index, lambda name: self._client.query_batch_points(name, requests)
        )
        if not found:
            return []
        payloads = {point.id: point.payload or {} for point in found[0].points}
        return points.candidates_from(query, [answer.points for answer in found], payloads)

    async def chunks(
        self, index: VectorIndex, collection: str, wanted: Sequence[tuple[StoredChunk, int]]
    ) -> list[StoredChunk]:
        """See VectorStore."""
        if not wanted:
            return []
        ids = points.chunk_ids(wanted)
        records = await self._if_exists(
            index, lambda name: self._client.retrieve(name, ids, with_payload=True)
        )
        payloads = [record.payload or {} for record in records or ()]
        return points.all_stored_from(
            payload for payload in payloads if points.is_published(payload, collection)
        )

    async def vectors(
        self, index: VectorIndex, collection: str, wanted: Sequence[tuple[StoredChunk, int]]
    ) -> list[tuple[StoredChunk, NDArray[np.float32]]]:
        """See VectorStore."""
        if not wanted:
            return []
        ids = points.chunk_ids(wanted)
        records = await self._if_exists(
            index,
            lambda name: self._client.retrieve(
                name, ids, with_payload=True, with_vectors=[points.DENSE]
            ),
        )
        return [
            (points.stored_from(record.payload), points.dense_of(record.vector))
            for record in records or ()
            if record.payload and points.is_published(record.payload, collection)
        ]

    async def delete(self, collection: str, document_id: str) -> bool:
        """See VectorStore."""
        # First, as a collection that is being moved goes from there into an index.
        removed = await self.collections_of_0_1.delete(collection, document_id)
        return await self._remove(of_document(collection, document_id)) or removed

    async def drop(self, collection: str) -> bool:
        """See VectorStore."""
        removed = await self.collections_of_0_1.delete(collection)
        return await self._remove(in_collection(collection)) or removed

    async def empty(self, index: VectorIndex, collection: str) -> None:
        """See VectorStore."""
        selector = models.FilterSelector(filter=in_collection(collection))
        await self._if_exists(index, lambda name: self._client.delete(name, selector))

    async def collections(self) -> list[str]:
        """See VectorStore."""
        found = set(await self.collections_of_0_1.dimensions())
        for name in await self._indexes.names():
            answer = await self._call(
                self._client.facet, name, points.COLLECTION, limit=_MAX_COLLECTIONS, exact=True
            )
            found |= {str(hit.value) for hit in answer.hits}
        return sorted(found)

    async def indexes(self) -> list[StoredIndex]:
        """See VectorStore."""
        return [StoredIndex(index_name(name)) for name in await self._indexes.names()]

    async def inventory(
        self,
        index: str,
        limit: int,
        after: str | None = None,
        document: tuple[str, str] | None = None,
    ) -> list[StoredPoint]:
        """See VectorStore."""
        which = of_document(*document) if document else None
        found = await self._if_exists(
            VectorIndex(index, dimensions=0),
            lambda name: self._client.scroll(
                name,
                scroll_filter=which,
                limit=limit + 1,  # the offset itself is among them, if it still exists
                offset=after,
                with_payload=list(points.INVENTORIED_FIELDS),
            ),
        )
        records = found[0] if found else ()
        listed = [points.inventoried(record.id, record.payload or {}) for record in records]
        return [point for point in listed if point.id != after][:limit]

    async def purge(self, age_s: float) -> bool:  # noqa: ARG002 - the server decides when
        """See VectorStore. The server rewrites a segment once enough of it is deleted."""
        return False

    async def backup(self, name: str) -> bool:  # noqa: ARG002 - see `copies`
        """See VectorStore."""
        return False

    async def close(self) -> None:
        """See VectorStore."""
        await self._client.close()

    async def _remove(self, which: models.Filter) -> bool:
        """Remove points from every index and return whether there were any."""
        removed = False
        for name in await self._indexes.names():
            found = await self._call(self._client.count, name, count_filter=which, exact=True)
            if found.count:
                selector = models.FilterSelector(filter=which)
                await self._call(self._client.delete, name, selector)
                removed = True
        return removed

    async def _if_exists(
        self, index: VectorIndex, method: Callable[[str], Awaitable[T]]
    ) -> T | None:
        """Call a method on an index; None if somebody has deleted that on the server."""
        name = await self._indexes.prepare(index)
        try:
            return await self._call(method, name)
        except NotFound:
            self._indexes.forget(index)
            return None
