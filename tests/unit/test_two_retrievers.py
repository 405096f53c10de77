"""Two retriever replicas on one Qdrant: each finds what the other has stored."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient
from qdrant_client.http.exceptions import UnexpectedResponse

from deployments.errors import InvalidRequest
from deployments.retriever import points
from deployments.retriever.bm25 import LexicalEncoder
from deployments.retriever.qdrant.indexes import qdrant_name
from deployments.retriever.qdrant.store import ServerStore
from deployments.retriever.vector_store import EmbeddedChunk, HybridQuery, VectorIndex
from deployments.types import Chunk, Document

pytestmark = pytest.mark.anyio
DIMENSIONS = 4


class Server:
    """Qdrant's imitation in memory, which says 404 as a server does."""

    def __init__(self) -> None:
        self._client = AsyncQdrantClient(":memory:")

    def __getattr__(self, name: str) -> Any:
        method: Callable[..., Awaitable[Any]] = getattr(self._client, name)

        @functools.wraps(method)
        async def answered(*args: Any, **kwargs: Any) -> Any:
            try:
                return await method(*args, **kwargs)
            except ValueError as error:
                if "not found" not in str(error):
                    raise
                raise UnexpectedResponse(404, "Not Found", b"", httpx.Headers()) from None

        return answered


@pytest.fixture
async def replicas() -> AsyncIterator[tuple[ServerStore, ServerStore]]:
    server: Any = Server()
    stores = []
    for _ in range(2):
        store = ServerStore(":memory:", chunker_version=1, timeout_s=10)
        await store.close()
        for part in (store, store._indexes, store.collections_of_0_1):
            part._client = server
        stores.append(store)
    yield stores[0], stores[1]
    await server.close()


INDEX = VectorIndex("test", DIMENSIONS)


def document(collection: str) -> Document:
    return Document("doc_a", collection, "a.txt", "A", "text/plain", 1, None, 1, 1.0)


async def upload(store: ServerStore, collection: str) -> None:
    dense = np.ones(DIMENSIONS, np.float32) / np.sqrt(np.float32(DIMENSIONS))
    chunk = EmbeddedChunk(Chunk(0, "snow", 1), dense, LexicalEncoder().passage("snow"))
    await store.add(INDEX, document(collection), [chunk])
    await store.publish(INDEX, document(collection))


async def found(store: ServerStore, collection: str) -> int:
    query = HybridQuery(np.ones((1, DIMENSIONS), np.float32), [LexicalEncoder().query("snow")], 3)
    return len(await store.candidates(INDEX, collection, query))


async def test_what_one_stores_and_drops_the_other_knows(
    replicas: tuple[ServerStore, ServerStore],
) -> None:
    one, other = replicas
    await upload(one, "default")
    assert await found(other, "default") == 1
    await one.drop("default")
    assert await found(other, "default") == 0
    assert not await other.delete("default", "doc_a")


async def test_both_create_the_index_at_once(replicas: tuple[ServerStore, ServerStore]) -> None:
    one, other = replicas
    await asyncio.gather(upload(one, "reports"), upload(other, "papers"))
    assert (await found(other, "reports"), await found(one, "papers")) == (1, 1)


async def test_an_index_that_was_deleted_on_the_server_is_created_again(
    replicas: tuple[ServerStore, ServerStore],
) -> None:
    one, other = replicas
    await upload(one, "reports")
    assert await found(other, "reports") == 1
    await one._client.delete_collection(qdrant_name(INDEX))
    assert await found(other, "reports") == 0
    with pytest.raises(InvalidRequest, match="0 of its 1 chunks"):
        await one.publish(INDEX, document("reports"))
    await upload(one, "reports")
    await upload(other, "reports")
    assert await found(other, "reports") == 1


async def test_a_document_deleted_by_one_while_the_other_publishes_it_is_not_found(
    replicas: tuple[ServerStore, ServerStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = replicas
    check_whole = points.check_whole
    await upload(one, "reports")
    deleted: list[asyncio.Task[bool]] = []

    def then_deleted(*args: Any) -> None:
        check_whole(*args)
        deleted.append(asyncio.ensure_future(other.delete("default", "doc_a")))

    call = one._call

    async def after_the_deletion(*args: Any, **kwargs: Any) -> Any:
        await asyncio.gather(*deleted)
        return await call(*args, **kwargs)

    monkeypatch.setattr(points, "check_whole", then_deleted)
    monkeypatch.setattr(one, "_call", after_the_deletion)
    await upload(one, "default")
    assert [await each for each in deleted] == [True]
    assert await found(one, "default") == 0
    assert await other.published(INDEX, "default", "doc_a", 1) is None
