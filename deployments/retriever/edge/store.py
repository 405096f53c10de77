"""The embedded vector store: Qdrant Edge indexes in a folder that one process owns."""

from __future__ import annotations

import asyncio
import shutil
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from filelock import FileLock, Timeout
from loguru import logger

from deployments.errors import ServiceError, Unavailable
from deployments.retriever import points
from deployments.retriever.edge.collections_0_1 import EdgeCollectionsOf01
from deployments.retriever.edge.index import REMOVED_AT_ONCE, Index, IndexBackup
from deployments.retriever.edge.shard import of_collection, of_document, of_versions
from deployments.retriever.vector_store import VectorIndex
from deployments.types import StoredIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import numpy as np
    from filelock import BaseFileLock
    from numpy.typing import NDArray
    from qdrant_edge import Filter, Record

    from deployments.filters import Attributes
    from deployments.retriever.vector_store import (
        Candidate,
        EmbeddedChunk,
        HybridQuery,
        StoredChunk,
    )
    from deployments.types import Document, StoredPoint

P = ParamSpec("P")
T = TypeVar("T")

INDEXES = "indexes"
"""Folder of the indexes, each in a folder of its own."""
BACKUPS = "backups"
"""Folder of a copy of the indexes that was made for a backup, below its name."""

_PAUSE_S = 0.02  # between two slices of a compaction or a removal, as long as one takes


class EdgeStore:
    """Keeps each index in a folder `indexes/NAME` under `root`, opened on first use.

    One thread does all the work, so a search sees a new document whole or not at all. One is
    enough: qdrant-edge holds the interpreter lock while it works. What `add` and `publish` have
    acknowledged survives the death of the process. An index of which most points are deleted is
    compacted in the background.

    Raises Unavailable if another process still owns `root` after `lock_timeout_s` seconds.
    """

    def __init__(self, root: Path, *, chunker_version: int, lock_timeout_s: float = 10.0) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(root / "lock", lock_timeout_s)
        self._root = root / INDEXES
        self._root.mkdir(exist_ok=True)
        self._chunker_version = chunker_version
        self._indexes: dict[str, Index] = {}
        self._damaged: set[str] = set()
        self._closed = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="edge-store")
        self._compacting = asyncio.Lock()
        self._backups = root / BACKUPS
        self._backing_up = asyncio.Lock()
        self._compaction: asyncio.Task[None] | None = None
        self.collections_of_0_1 = EdgeCollectionsOf01(root, self._run, self._open)
        self._open_existing()

    async def add(
        self, index: VectorIndex, document: Document, chunks: Sequence[EmbeddedChunk]
    ) -> None:
        """See VectorStore."""
        await self._run(self._add, index, document, chunks)

    async def publish(self, index: VectorIndex, document: Document) -> None:
        """See VectorStore."""
        edition = points.edition_of(document, self._chunker_version)
        await self._run(lambda: self._open(index).publish(document, edition))

    async def published(
        self, index: VectorIndex, collection: str, document_id: str, version: int
    ) -> StoredChunk | None:
        """See VectorStore."""
        return await self._run(self._published, index, collection, document_id, version)

    async def set_attributes(
        self, collection: str, document_id: str, attributes: Attributes
    ) -> None:
        """See VectorStore."""
        await self._run(self._set_attributes, collection, document_id, attributes)

    async def discard(self, collection: str, document_id: str, versions: Sequence[int]) -> None:
        """See VectorStore."""
        await self._remove(of_versions(collection, document_id, versions))

    async def candidates(
        self, index: VectorIndex, collection: str, query: HybridQuery
    ) -> list[Candidate]:
        """See VectorStore."""
        return await self._run(self._candidates, index, collection, query)

    async def chunks(
        self, index: VectorIndex, collection: str, wanted: Sequence[tuple[StoredChunk, int]]
    ) -> list[StoredChunk]:
        """See VectorStore."""
        return await self._run(self._chunks, index, collection, wanted)

    async def vectors(
        self, index: VectorIndex, collection: str, wanted: Sequence[tuple[StoredChunk, int]]
    ) -> list[tuple[StoredChunk, NDArray[np.float32]]]:
        """See VectorStore."""
        return await self._run(self._vectors, index, collection, wanted)

    async def delete(self, collection: str, document_id: str) -> bool:
        """See VectorStore."""
        # First, as a collection that is being moved goes from there into an index.
        removed = await self.collections_of_0_1.delete(collection, document_id)
        return await self._remove(of_document(collection, document_id)) or removed

    async def drop(self, collection: str) -> bool:
        """See VectorStore."""
        removed = await self.collections_of_0_1.delete(collection)
        return await self._remove(of_collection(collection)) or removed

    async def empty(self, index: VectorIndex, collection: str) -> None:
        """See VectorStore."""
        if (found := await self._run(self._find, index)) is not None:
            await self._remove(of_collection(collection), [found])

    async def collections(self) -> list[str]:
        """See VectorStore."""
        found = await self._run(
            lambda: [name for index in self._all() for name in index.shard.collections()]
        )
        return sorted({*found, *await self.collections_of_0_1.dimensions()})

    async def indexes(self) -> list[StoredIndex]:
        """See VectorStore."""
        return await self._run(
            lambda: [
                StoredIndex(folder.name, readable=folder.name not in self._damaged)
                for folder in self._folders()
            ]
        )

    async def inventory(
        self,
        index: str,
        limit: int,
        after: str | None = None,
        document: tuple[str, str] | None = None,
    ) -> list[StoredPoint]:
        """See VectorStore. A thousand points take some 15 ms."""
        return await self._run(self._inventory, index, limit, after, document)

    async def purge(self, age_s: float) -> bool:
        """See VectorStore."""
        if age_s <= 0 and not self._backing_up.locked():
            async with self._backing_up:  # an erasure, which waits for backups: one was killed
                await asyncio.to_thread(shutil.rmtree, self._backups, ignore_errors=True)
        await self._compact(lambda index: index.has_deleted(age_s))
        return True

    async def backup(self, name: str) -> bool:
        """See VectorStore."""
        async with self._backing_up:
            made = self._backups / name
            if made.is_dir():
                return True
            await asyncio.to_thread(shutil.rmtree, self._backups, ignore_errors=True)
            unfinished = self._backups / f".{name}"
            unfinished.mkdir(parents=True)
            for folder in await self._run(self._folders):
                index = await self._run(self._opened, folder.name)
                copy = await self._run(IndexBackup, index, unfinished / INDEXES / folder.name)
                try:
                    while True:
                        if await self._run(copy.copy):
                            break
                        await asyncio.sleep(_PAUSE_S)
                except BaseException:
                    await asyncio.shield(self._in_thread(copy.abandon))
                    raise
            unfinished.rename(made)
            return True

    async def close(self) -> None:
        """Write everything out and release the folder."""
        if self._closed:
            return
        self._closed = True
        if self._compaction is not None:
            self._compaction.cancel()
            await asyncio.gather(self._compaction, return_exceptions=True)
        try:
            await self._in_thread(self._close_indexes)
        finally:
            self._thread.shutdown()
            self._lock.release()

    async def _remove(self, which: Filter, indexes: Sequence[Index] | None = None) -> bool:
        """Remove points from every index, or from some, and begin a compaction if most are removed.

        Other calls come between the slices, so a search can see a part of a large document that
        is being removed: the catalogue has let go of it before.
        """
        removed = 0
        for index in await self._run(self._all) if indexes is None else indexes:
            while True:
                count = await self._run(index.remove, which)
                removed += count
                if count:
                    await self._run(index.flush)
                if count < REMOVED_AT_ONCE:
                    break
                await asyncio.sleep(_PAUSE_S)
        if removed and (self._compaction is None or self._compaction.done()):
            self._compaction = asyncio.create_task(self._compact_if_worth_it())
        return removed > 0

    async def _compact_if_worth_it(self) -> None:
        try:
            await self._compact(lambda index: index.worth_compacting)
        except Unavailable as error:
            logger.error("an index could not be compacted: {!r}", error.__cause__ or error)

    async def _compact(self, wanted: Callable[[Index], bool]) -> None:
        """Compact indexes, while other calls come between the slices."""
        async with self._compacting:
            for index in await self._run(lambda: list(filter(wanted, self._all()))):
                try:
                    while True:
                        if await self._run(index.compact):
                            break
                        await asyncio.sleep(_PAUSE_S)
                except BaseException:
                    await asyncio.shield(self._in_thread(index.abandon))
                    raise

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._closed:
            message = "The document store is closed."
            raise Unavailable(message)
        return await self._in_thread(partial(work, *args, **kwargs))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self._thread.submit(_guarded, work))

    def _open_existing(self) -> None:
        """Open every index: that holds the interpreter lock, for seconds if the index is large.

        One that cannot be opened keeps its collections from being used, and no others.
        """
        for folder in self._folders():
            try:
                _guarded(lambda: self._opened(folder.name))  # noqa: B023 - called at once
            except Unavailable as error:
                self._damaged.add(folder.name)
                logger.error("the index {} cannot be opened: {!r}", folder.name, error.__cause__)

    # What follows runs in the store's thread.

    def _open(self, index: VectorIndex) -> Index:
        """Open an index, or create it."""
        folder = self._root / index.name
        if not Index.exists(folder):
            Index.create(folder, index)
        return self._opened(index.name)

    def _opened(self, name: str) -> Index:
        if name in self._damaged:
            raise _damaged_index(name)
        if name not in self._indexes:
            self._indexes[name] = Index(self._root / name)
        return self._indexes[name]

    def _all(self) -> list[Index]:
        """Open every index; raise Unavailable if one is damaged: nothing is removed there."""
        return [self._opened(folder.name) for folder in self._folders()]

    def _folders(self) -> list[Path]:
        return sorted(filter(Index.exists, self._root.iterdir()))

    def _find(self, index: VectorIndex) -> Index | None:
        """Open an index if it exists."""
        return self._opened(index.name) if Index.exists(self._root / index.name) else None

    def _add(self, index: VectorIndex, document: Document, chunks: Sequence[EmbeddedChunk]) -> None:
        if chunks:
            edition = points.edition_of(document, self._chunker_version)
            self._open(index).add(document, edition, chunks)

    def _published(
        self, index: VectorIndex, collection: str, document_id: str, version: int
    ) -> StoredChunk | None:
        found = self._find(index)
        payload = found.shard.published(collection, document_id, version) if found else None
        return points.stored_from(payload) if payload else None

    def _set_attributes(self, collection: str, document_id: str, attributes: Attributes) -> None:
        for index in self._all():
            index.set_attributes(collection, document_id, attributes)

    def _candidates(
        self, index: VectorIndex, collection: str, query: HybridQuery
    ) -> list[Candidate]:
        found = self._find(index)
        return found.shard.candidates(collection, query) if found else []

    def _chunks(
        self, index: VectorIndex, collection: str, wanted: Sequence[tuple[StoredChunk, int]]
    ) -> list[StoredChunk]:
        found = self._published_points(index, collection, wanted)
        return points.all_stored_from(point.payload or {} for point in found)

    def _vectors(
        self, index: VectorIndex, collection: str, wanted: Sequence[tuple[StoredChunk, int]]
    ) -> list[tuple[StoredChunk, NDArray[np.float32]]]:
        return [
            (points.stored_from(point.payload or {}), points.dense_of(point.vector))
            for point in self._published_points(index, collection, wanted, with_vector=True)
        ]

    def _inventory(
        self, index: str, limit: int, after: str | None, document: tuple[str, str] | None
    ) -> list[StoredPoint]:
        found = self._find(VectorIndex(index, dimensions=0))
        return [] if found is None else found.shard.inventory(limit, after, document)

    def _published_points(
        self,
        index: VectorIndex,
        collection: str,
        wanted: Sequence[tuple[StoredChunk, int]],
        *,
        with_vector: bool = False,
    ) -> list[Record]:
        found = self._find(index)
        ids = points.chunk_ids(wanted)
        if found is None or not ids:
            return []
        return found.shard.chunks(collection, ids, with_vector=with_vector)

    def _close_indexes(self) -> None:
        while self._indexes:
            _, index = self._indexes.popitem()
            index.close()


def _damaged_index(name: str) -> Unavailable:
    message = (
        f"The index {name} of the document store cannot be opened: restore its folder from a "
        "backup, or move it away, and start the service again."
    )
    return Unavailable(message)


def _guarded(work: Callable[[], T]) -> T:
    """Turn what qdrant-edge raises, plain exceptions and Rust panics, into Unavailable."""
    try:
        return work()
    except ServiceError:
        raise
    except BaseException as error:
        message = "The document store failed."
        raise Unavailable(message) from error


def _locked(path: Path, timeout_s: float) -> BaseFileLock:
    """Acquire the lock file of a folder; the system releases it if this process dies."""
    # A soft lock, the fallback, would outlive a crash. Acquired here, released in another thread.
    lock = FileLock(path, timeout_s, mode=0o600, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        message = (
            "The folder of the document store is in use by another process: "
            "stop that one, or set another `data_dir`."
        )
        raise Unavailable(message) from None
    return lock
