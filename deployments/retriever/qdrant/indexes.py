"""Indexes on a Qdrant server: a Qdrant collection for each embedding model.

The collections of this service are tenants in it, as Qdrant advises: `m=0` and `payload_m` build
a graph for each tenant and none for all of them together.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from qdrant_client import models

from deployments.attribute_payloads import NUMBER_FIELDS
from deployments.errors import Conflict, NotFound
from deployments.retriever import points
from deployments.retriever.vector_store import VectorIndex

if TYPE_CHECKING:
    from qdrant_client import AsyncQdrantClient

    from deployments.retriever.qdrant.calls import Caller

_PREFIX = "genserve-index-"
_TENANT_GRAPH = models.HnswConfigDiff(m=0, payload_m=16)


def qdrant_name(index: VectorIndex) -> str:
    """Return the name of an index on the server, which may hold other programs' collections."""
    return _PREFIX + index.name


def index_name(name: str) -> str:
    """Return the name of an index by its name on the server."""
    return name.removeprefix(_PREFIX)


class ServerIndexes:
    """Finds indexes and creates them on first use."""

    def __init__(self, client: AsyncQdrantClient, call: Caller, *, indexed: bool) -> None:
        self._client = client
        self._call = call
        self._indexed = indexed
        self._ready: set[str] = set()
        self._preparing = asyncio.Lock()

    async def prepare(self, index: VectorIndex) -> str:
        """Create an index unless it exists, and return its name on the server.

        One of unknown dimensions is not created.
        """
        name = qdrant_name(index)
        if not index.dimensions:
            return name
        async with self._preparing:
            if name not in self._ready:
                if not await self._call(self._client.collection_exists, name):
                    await self._create(name, index)
                await self._check(name, index)
                if self._indexed:
                    await self._create_payload_indexes(name)
                self._ready.add(name)
        return name

    def forget(self, index: VectorIndex) -> None:
        """Look for an index again that the server did not have."""
        self._ready.discard(qdrant_name(index))

    async def names(self) -> list[str]:
        """Return the names of all indexes on the server."""
        found = await self._call(self._client.get_collections)
        return sorted(one.name for one in found.collections if one.name.startswith(_PREFIX))

    async def index_of(self, name: str) -> VectorIndex:
        """Return the index that has a name on the server; raise Unavailable if it is none."""
        about = await self._call(self._client.get_collection, name)
        vectors = about.config.params.vectors
        dense = vectors.get(points.DENSE) if isinstance(vectors, dict) else None
        if dense is None:
            raise points.foreign_collection(name)
        return VectorIndex(name.removeprefix(_PREFIX), dense.size)

    async def _create(self, name: str, index: VectorIndex) -> None:
        vectors = models.VectorParams(size=index.dimensions, distance=models.Distance.COSINE)
        sparse = models.SparseVectorParams(modifier=models.Modifier.IDF)
        # Another replica, or an attempt of this one whose answer was lost, may have been first.
        with contextlib.suppress(Conflict):
            await self._call(
                self._client.create_collection,
                name,
                vectors_config={points.DENSE: vectors},
                sparse_vectors_config={points.SPARSE: sparse},
                hnsw_config=_TENANT_GRAPH,
            )

    async def _check(self, name: str, index: VectorIndex) -> None:
        """Raise Unavailable if the collection is not an index of such vectors."""
        try:
            about = await self._call(self._client.get_collection, name)
        except NotFound:
            return  # another replica has dropped it
        vectors = about.config.params.vectors
        dense = vectors.get(points.DENSE) if isinstance(vectors, dict) else None
        if dense is None or dense.size != index.dimensions:
            raise points.foreign_collection(name)

    async def _create_payload_indexes(self, name: str) -> None:
        """Index the fields of the filters; does nothing where they are."""
        for field in points.INDEXED_FIELDS:
            schema = models.KeywordIndexParams(
                type=models.KeywordIndexType.KEYWORD,
                is_tenant=True if field in points.TENANT_FIELDS else None,
            )
            await self._call(self._client.create_payload_index, name, field, schema)
        for field in NUMBER_FIELDS:
            kind = models.PayloadSchemaType.INTEGER
            await self._call(self._client.create_payload_index, name, field, kind)
