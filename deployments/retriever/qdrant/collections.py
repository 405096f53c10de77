"""Which collections a Qdrant server has, and calls to it with retries and our errors."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import stamina
from qdrant_client import models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from deployments import collection_names
from deployments.errors import NotFound
from deployments.retriever import points
from deployments.retriever.attributes import NUMBER_FIELDS
from deployments.retriever.qdrant.errors import connection_lost, service_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from qdrant_client import AsyncQdrantClient

P = ParamSpec("P")
T = TypeVar("T")

_PREFIX = "genserve_"
_ATTEMPTS = 3
_CONFLICT = 409
# The client hands on what it cannot read of an answer as one kind of ValueError or another.
_FAILURES = (ApiException, QdrantException, ValueError)


def qdrant_name(collection: str) -> str:
    """Give the name of a collection on the server, which may hold other people's too."""
    return _PREFIX + collection


class ServerCollections:
    """Finds collections, remembers their dimensions, and makes them on first use."""

    def __init__(
        self,
        client: AsyncQdrantClient,
        *,
        max_collections: int,
        retry_timeout_s: float,
        indexed: bool,
    ) -> None:
        self._client = client
        self._max_collections = max_collections
        self._indexed = indexed
        self._retrying = stamina.AsyncRetryingCaller(
            attempts=_ATTEMPTS,
            timeout=retry_timeout_s,
            wait_initial=0.05,
            wait_jitter=0.05,
            wait_max=1.0,
        ).on(connection_lost)
        self._dimensions: dict[str, int] = {}
        self._prepared: set[str] = set()
        self._preparing = asyncio.Lock()

    async def call(
        self, collection: str, method: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call the server, again where the connection is lost; raises ServiceErrors."""
        try:
            return await self._retrying(method, *args, **kwargs)
        except _FAILURES as error:
            ours = service_error(error, collection)
            if isinstance(ours, NotFound):  # somebody removed it behind our back
                self._dimensions.pop(collection, None)
                self._prepared.discard(collection)
            raise ours from error

    async def read(
        self, collection: str, method: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T | None:
        """Ask the server about a collection; None for the default one while it is not there."""
        known = collection in self._dimensions
        if await self.find(collection) is None:
            return None
        try:
            return await self.call(collection, method, *args, **kwargs)
        except NotFound:
            if not known:
                raise
        # Another replica dropped it since this one learnt of it, which `call` has now forgotten.
        return await self.read(collection, method, *args, **kwargs)

    async def find(self, collection: str, expected: int | None = None) -> int | None:
        """Learn a collection's dimensions; None for the default one while it is not there.

        If those remembered are not as `expected`, another replica may have recreated it.
        """
        collection_names.check_collection_name(collection)
        if expected is not None and self._dimensions.get(collection) != expected:
            self._dimensions.pop(collection, None)
        if collection not in self._dimensions:
            name = qdrant_name(collection)
            if not await self.call(collection, self._client.collection_exists, name):
                if collection_names.is_default(collection):
                    return None
                raise collection_names.unknown_collection(collection)
            about = await self.call(collection, self._client.get_collection, name)
            vectors = about.config.params.vectors
            if not isinstance(vectors, dict) or points.DENSE not in vectors:
                raise points.foreign_collection(collection)
            self._dimensions[collection] = vectors[points.DENSE].size
        return self._dimensions[collection]

    async def prepare(self, collection: str, dimensions: int) -> int:
        """Create the collection unless it exists, and return its dimensions."""
        async with self._preparing:
            if collection not in self._prepared:
                name = qdrant_name(collection)
                if not await self.call(collection, self._client.collection_exists, name):
                    await self._create(collection, dimensions)
                if self._indexed:
                    await self._index(collection)
                self._prepared.add(collection)
            return await self.find(collection, dimensions) or dimensions

    async def names(self) -> list[str]:
        """Name all collections of this service."""
        there = await self.call("", self._client.get_collections)
        names = (each.name for each in there.collections)
        return sorted(name.removeprefix(_PREFIX) for name in names if name.startswith(_PREFIX))

    async def drop(self, collection: str) -> bool:
        """Remove a collection; whether it was there."""
        name = qdrant_name(collection)
        there = await self.call(collection, self._client.collection_exists, name)
        if there:
            await self.call(collection, self._client.delete_collection, name)
        self._dimensions.pop(collection, None)
        self._prepared.discard(collection)
        return there

    async def _create(self, collection: str, dimensions: int) -> None:
        owner = collection_names.owner_of(collection)
        owned = [name for name in await self.names() if collection_names.owner_of(name) == owner]
        if len(owned) >= self._max_collections:
            raise points.too_many_collections(self._max_collections)
        vectors = models.VectorParams(size=dimensions, distance=models.Distance.COSINE)
        sparse = models.SparseVectorParams(modifier=models.Modifier.IDF)
        try:
            await self._retrying(
                self._client.create_collection,
                qdrant_name(collection),
                vectors_config={points.DENSE: vectors},
                sparse_vectors_config={points.SPARSE: sparse},
            )
        except _FAILURES as error:
            # Another replica, or an attempt of ours whose answer was lost, may have been first.
            if not (isinstance(error, UnexpectedResponse) and error.status_code == _CONFLICT):
                raise service_error(error, collection) from error

    async def _index(self, collection: str) -> None:
        """Index the fields of the filters; does nothing where they are."""
        kinds = dict.fromkeys(points.INDEXED_FIELDS, models.PayloadSchemaType.KEYWORD)
        kinds |= dict.fromkeys(NUMBER_FIELDS, models.PayloadSchemaType.INTEGER)
        for field, kind in kinds.items():
            await self.call(
                collection,
                self._client.create_payload_index,
                qdrant_name(collection),
                field,
                kind,
            )
