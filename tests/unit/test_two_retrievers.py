"""Two retriever replicas on one Qdrant: what one does to a collection, the other comes to know."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient
from qdrant_client.http.exceptions import UnexpectedResponse

from deployments.errors import InvalidRequest, NotFound, Unavailable
from deployments.retriever.bm25 import LexicalEncoder
from deployments.retriever.qdrant.store import ServerStore
from deployments.retriever.vector_store import EmbeddedChunk, HybridQuery
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
        store = ServerStore(":memory:", chunker_version=1, max_collections=9, timeout_s=10)
        await store.close()
        store._client = store._collections._client = server
        stores.append(store)
    yield stores[0], stores[1]
    await server.close()


def document(collection: str) -> Document:
    return Document("doc_a", collection, "a.txt", "A", "text/plain", 1, None, 1, 1.0)


async def upload(store: ServerStore, collection: str, dimensions: int = DIMENSIONS) -> None:
    dense = np.ones(dimensions, np.float32) / np.sqrt(np.float32(dimensions))
    chunk = EmbeddedChunk(Chunk(0, "snow", 1), dense, LexicalEncoder().passage("snow"))
    await store.add(document(collection), [chunk])
    await store.publish(document(collection))


async def found(store: ServerStore, collection: str, dimensions: int = DIMENSIONS) -> int:
    dense = np.ones((1, dimensions), np.float32)
    query = HybridQuery(dense, [LexicalEncoder().query("snow")], 3)
    return len(await store.candidates(collection, query))


READS: list[tuple[Callable[[ServerStore, str], Awaitable[Any]], Any]] = [
    (found, 0),
    (lambda store, name: store.delete(name, "doc_a"), False),
]


@pytest.mark.parametrize(("read", "empty"), READS)
async def test_the_default_collection_is_empty_at_once_for_both(
    replicas: tuple[ServerStore, ServerStore],
    read: Callable[[ServerStore, str], Awaitable[Any]],
    empty: Any,
) -> None:
    one, other = replicas
    await upload(one, "default")
    assert await found(other, "default") == 1
    await one.drop("default")
    assert await read(other, "default") == empty
    assert (await other.documents("default", 9, None)).documents == ()


@pytest.mark.parametrize("read", [read for read, _ in READS])
async def test_a_dropped_collection_is_not_there_for_either(
    replicas: tuple[ServerStore, ServerStore], read: Callable[[ServerStore, str], Awaitable[Any]]
) -> None:
    one, other = replicas
    await upload(one, "reports")
    assert await found(other, "reports") == 1
    await one.drop("reports")
    with pytest.raises(NotFound, match="reports"):
        await read(other, "reports")


async def test_a_collection_made_anew_for_another_embedder_is_known_to_both(
    replicas: tuple[ServerStore, ServerStore],
) -> None:
    one, other = replicas
    await upload(one, "reports")
    assert await found(other, "reports") == 1
    await one.drop("reports")
    await upload(one, "reports", dimensions=6)
    assert await found(other, "reports", dimensions=6) == 1
    with pytest.raises(Unavailable, match="6 dimensions"):
        await found(other, "reports")


async def test_a_document_deleted_by_one_while_the_other_publishes_it_is_not_listed(
    replicas: tuple[ServerStore, ServerStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = replicas
    count, counts = one._count, []

    async def then_deleted(*args: Any) -> int:
        counts.append(await count(*args))
        if len(counts) == 1:
            await other.delete("default", "doc_a")
        return counts[-1]

    monkeypatch.setattr(one, "_count", then_deleted)
    with pytest.raises(InvalidRequest, match="0 of its 1 chunks"):
        await upload(one, "default")
    assert not (await other.documents("default", 9, None)).documents
