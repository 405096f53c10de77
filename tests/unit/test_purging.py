"""Purge of the embedded store: deleted points are gone from its files."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from deployments.errors import Unavailable
from deployments.retriever.bm25 import LexicalEncoder
from deployments.retriever.edge import purging
from deployments.retriever.edge.store import EdgeStore
from deployments.retriever.vector_store import EmbeddedChunk, HybridQuery
from deployments.types import Chunk, Document
from tests.support.leftovers import files_with

pytestmark = pytest.mark.anyio

DIMENSIONS = 32
ERASED, KEPT = "zebra5f1c", "okapi77ab"
CHUNKS = 30
SHARD = f"default.{DIMENSIONS}"


def opened(root: Path) -> EdgeStore:
    return EdgeStore(root, chunker_version=1, max_collections=10)


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[EdgeStore]:
    store = opened(tmp_path)
    for name in (KEPT, ERASED):
        for version in (1, 2):
            await put(store, name, version)
        await store.discard("default", f"doc_{name}", [1])
    yield store
    await store.close()


def vector(name: str, number: int = 0) -> np.ndarray:
    seed = [*name.encode(), number]
    drawn = np.random.default_rng(seed).normal(size=DIMENSIONS)
    return (drawn / np.linalg.norm(drawn)).astype(np.float32)


def document(name: str, version: int = 1) -> Document:
    return Document(
        f"doc_{name}", "default", f"{name}.txt", f"On {name}", "text/plain", 9, None, CHUNKS, 1.0,
        version=version,
    )  # fmt: skip


async def put(store: EdgeStore, name: str, version: int = 1) -> None:
    words = LexicalEncoder()
    chunks = [
        EmbeddedChunk(
            Chunk(number, f"{name} {number}", 2), vector(name, number), words.passage(name)
        )
        for number in range(CHUNKS)
    ]
    await store.add(document(name, version), chunks)
    await store.publish(document(name, version))


async def found(store: EdgeStore, name: str) -> set[str]:
    query = HybridQuery(vector(name)[np.newaxis], [], 2 * CHUNKS)
    return {one.stored.document.id for one in await store.candidates("default", query)}


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def bytes_of(name: str) -> bytes:
    return vector(name).tobytes()


async def test_purge_removes_text_and_vectors_of_deleted_documents(
    store: EdgeStore, tmp_path: Path
) -> None:
    await store.delete("default", f"doc_{ERASED}")
    left = files_with(tmp_path, ERASED)
    assert any("/segments/" in name for name in left)
    assert any("/wal/" in name for name in left)
    assert files_with(tmp_path, bytes_of(ERASED))

    assert await store.purge(0)
    assert files_with(tmp_path, ERASED, bytes_of(ERASED)) == []
    assert files_with(tmp_path, KEPT)
    assert files_with(tmp_path, bytes_of(KEPT))
    assert await found(store, KEPT) == {f"doc_{KEPT}"}

    # What was purged is a store as any other, now and after the next start.
    await put(store, ERASED)
    assert await found(store, ERASED) == {f"doc_{KEPT}", f"doc_{ERASED}"}
    await store.close()
    again = opened(tmp_path)
    assert len((await again.documents("default", 10, None)).documents) == 2
    await again.close()


async def test_only_what_was_deleted_long_enough_ago_is_purged(
    store: EdgeStore, tmp_path: Path
) -> None:
    segments = names_in(tmp_path / SHARD / "segments")
    await store.delete("default", f"doc_{ERASED}")
    assert await store.purge(60)
    assert names_in(tmp_path / SHARD / "segments") == segments

    await store.close()
    os.utime(tmp_path / f"{SHARD}.deleted", (0, 0))
    again = opened(tmp_path)
    assert await again.purge(60)
    assert files_with(tmp_path, ERASED) == []
    assert names_in(tmp_path) == {SHARD, "lock"}
    await again.close()


async def test_a_search_goes_on_while_changes_wait(
    store: EdgeStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    rewriting, release = asyncio.Event(), asyncio.Event()
    rewrite = purging.rewrite

    async def held(shard: Path) -> None:
        rewriting.set()
        await release.wait()
        await rewrite(shard)

    monkeypatch.setattr(purging, "rewrite", held)
    await store.delete("default", f"doc_{ERASED}")
    purge = asyncio.create_task(store.purge(0))
    await rewriting.wait()
    change = asyncio.create_task(put(store, "new"))
    assert await found(store, KEPT) == {f"doc_{KEPT}"}
    assert not change.done()
    release.set()
    await asyncio.gather(purge, change)
    assert await found(store, "new") == {f"doc_{KEPT}", "doc_new"}


@pytest.mark.parametrize("at", ["rewriting", "before", "between", "after"])
async def test_a_purge_that_was_killed_is_done_again(
    store: EdgeStore, tmp_path: Path, at: str
) -> None:
    await store.delete("default", f"doc_{ERASED}")
    await store.close()
    shard, purged = tmp_path / SHARD, tmp_path / f".purged-{SHARD}"
    doomed = tmp_path / f"{purging.DOOMED}1"
    if at == "rewriting":
        shutil.copytree(shard / "segments", tmp_path / f".purging-{SHARD}")
    else:
        await purging.rewrite(shard)
        assert purged.exists()
    if at in {"between", "after"}:
        shard.rename(doomed)
    if at == "after":
        purged.rename(shard)

    again = opened(tmp_path)
    assert await found(again, KEPT) == {f"doc_{KEPT}"}
    assert await again.purge(0)
    assert files_with(tmp_path, ERASED, bytes_of(ERASED)) == []
    assert await found(again, KEPT) == {f"doc_{KEPT}"}
    assert names_in(tmp_path) == {SHARD, "lock"}
    await again.close()


async def test_a_purge_that_fails_leaves_the_store_as_it_was(
    store: EdgeStore, tmp_path: Path
) -> None:
    await store.delete("default", f"doc_{ERASED}")
    config = tmp_path / SHARD / "edge_config.json"
    whole = config.read_bytes()
    config.write_bytes(b"{}")
    with pytest.raises(Unavailable, match="KeyError: 'optimizers'"):
        await store.purge(0)
    config.write_bytes(whole)
    assert await found(store, KEPT) == {f"doc_{KEPT}"}
    await put(store, "new")
    assert await store.purge(0)
    assert files_with(tmp_path, ERASED) == []
    assert await found(store, KEPT) == {f"doc_{KEPT}", "doc_new"}


async def test_a_dropped_collection_needs_no_purge(store: EdgeStore, tmp_path: Path) -> None:
    await store.delete("default", f"doc_{ERASED}")
    await store.drop("default")
    assert names_in(tmp_path) == {"lock"}
    assert await store.purge(0)
