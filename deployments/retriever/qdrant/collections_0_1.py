"""Collections that version 0.1 stored, each as a Qdrant collection `genserve_NAME`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qdrant_client import models

from deployments.retriever import points, points_0_1
from deployments.retriever.qdrant.requests import has

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from qdrant_client import AsyncQdrantClient

    from deployments.retriever.qdrant.calls import Caller
    from deployments.retriever.qdrant.indexes import ServerIndexes
    from deployments.retriever.vector_store import StoredChunk, VectorIndex
    from deployments.types import DocumentList

_PREFIX = "genserve_"
_SLICE_POINTS = 256
_IS_LISTED, _IS_FOUND = (
    models.Filter(must=[has(field, value) for field, value in values.items()])
    for values in (points_0_1.IS_LISTED, points_0_1.IS_FOUND)
)


class ServerCollectionsOf01:
    """Collections of a server that has others' too."""

    def __init__(self, client: AsyncQdrantClient, call: Caller, indexes: ServerIndexes) -> None:
        self._client = client
        self._call = call
        self._indexes = indexes

    async def dimensions(self) -> dict[str, int]:
        """See CollectionsOf01."""
        found = await self._call(self._client.get_collections)
        names = [one.name for one in found.collections if one.name.startswith(_PREFIX)]
        sizes = {}
        for name in sorted(names):
            about = await self._call(self._client.get_collection, name)
            vectors = about.config.params.vectors
            if isinstance(vectors, dict) and points.DENSE in vectors:  # else another program's
                sizes[name.removeprefix(_PREFIX)] = vectors[points.DENSE].size
        return sizes

    async def documents(self, collection: str, limit: int, after: str | None) -> DocumentList:
        """See CollectionsOf01."""
        records, _ = await self._call(
            self._client.scroll,
            _PREFIX + collection,
            scroll_filter=_IS_LISTED,
            offset=None if after is None else points_0_1.record_id(after),
            limit=limit + 2,
            with_payload=True,
        )
        return points_0_1.page_of([record.payload or {} for record in records], limit, after)

    async def delete(self, collection: str, document_id: str | None = None) -> bool:
        """See CollectionsOf01."""
        name = _PREFIX + collection
        if not await self._call(self._client.collection_exists, name):
            return False
        if document_id is None:
            await self._call(self._client.delete_collection, name)
            return True
        which = models.Filter(must=[has(points.DOCUMENT_ID, document_id)])
        found = await self._call(self._client.count, name, count_filter=which, exact=True)
        if found.count:
            await self._call(self._client.delete, name, models.FilterSelector(filter=which))
        return found.count > 0

    async def sample(self, collection: str) -> tuple[StoredChunk, NDArray[np.float32]] | None:
        """See CollectionsOf01."""
        records, _ = await self._call(
            self._client.scroll,
            _PREFIX + collection,
            scroll_filter=_IS_FOUND,
            limit=1,
            with_payload=True,
            with_vectors=[points.DENSE],
        )
        for record in records:
            stored = points.stored_from(record.payload or {})
            return stored, points.dense_of(record.vector)
        return None

    async def copy(self, collection: str, index: VectorIndex) -> int:
        """See CollectionsOf01."""
        target = await self._indexes.prepare(index)
        copied, after = 0, None
        while True:
            records, after = await self._call(
                self._client.scroll,
                _PREFIX + collection,
                limit=_SLICE_POINTS,
                offset=after,
                with_payload=True,
                with_vectors=True,
            )
            new = [_moved(collection, record) for record in records]
            if chunks := [point for point in new if point is not None]:
                await self._call(self._client.upsert, target, chunks)
            copied += len(chunks)
            if after is None:
                return copied


def _moved(collection: str, record: models.Record) -> models.PointStruct | None:
    moved = points_0_1.moved(collection, record.payload or {})
    if moved is None:
        return None
    vectors: Any = record.vector
    return models.PointStruct(id=moved[0], vector=vectors, payload=moved[1])
