"""The embedded vector store: Qdrant Edge shards in a folder that one process owns."""

from __future__ import annotations

import asyncio
import shutil
import uuid
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from filelock import FileLock, Timeout

from deployments import collection_names
from deployments.errors import ServiceError, Unavailable
from deployments.retriever import points
from deployments.retriever.edge import purging
from deployments.retriever.edge.shard import Shard

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from filelock import BaseFileLock

    from deployments.retriever.vector_store import (
        Candidate,
        EmbeddedChunk,
        HybridQuery,
        StoredChunk,
    )
    from deployments.types import Document, DocumentList

P = ParamSpec("P")
T = TypeVar("T")


class EdgeStore:
    """Keeps each collection in a folder `NAME.DIMENSIONS` under `root`, opened on first use.

    One thread does all the work, so a search sees a document whole or not at all. One thread
    for all collections is enough: qdrant-edge holds the interpreter lock while it works.
    What `add` and `publish` have acknowledged survives the death of the process.

    Raises Unavailable if another process still owns `root` after `lock_timeout_s` seconds.
    """

    def __init__(
        self,
        root: Path,
        *,
        chunker_version: int,
        max_collections: int,
        lock_timeout_s: float = 10.0,
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._lock = _locked(root / "lock", lock_timeout_s)
        self._root = root
        self._chunker_version = chunker_version
        self._max_collections = max_collections
        purging.recover(root)
        self._dimensions = dict(_collections(root))
        self._shards: dict[str, Shard] = {}
        self._closed = False
        self._changing = asyncio.Lock()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="edge-store")

    async def add(self, document: Document, chunks: Sequence[EmbeddedChunk]) -> None:
        """See VectorStore."""
        await self._change(self._add, document, chunks)

    async def publish(self, document: Document) -> None:
        """See VectorStore."""
        await self._change(self._publish, document)

    async def discard(self, collection: str, document_id: str, versions: Sequence[int]) -> None:
        """See VectorStore."""
        await self._change(self._discard, collection, document_id, versions)

    async def candidates(self, collection: str, query: HybridQuery) -> list[Candidate]:
        """See VectorStore."""
        return await self._run(self._candidates, collection, query)

    async def chunks(
        self, collection: str, wanted: Sequence[tuple[StoredChunk, int]]
    ) -> list[StoredChunk]:
        """See VectorStore."""
        return await self._run(self._chunks, collection, wanted)

    async def documents(self, collection: str, limit: int, after: str | None) -> DocumentList:
        """See VectorStore."""
        return await self._run(self._documents, collection, limit, after)

    async def document(self, collection: str, document_id: str) -> Document:
        """See VectorStore."""
        return await self._run(self._document, collection, document_id)

    async def delete(self, collection: str, document_id: str) -> bool:
        """See VectorStore."""
        return await self._change(self._delete, collection, document_id)

    async def collections(self) -> list[str]:
        """See VectorStore."""
        return await self._run(lambda: sorted(self._dimensions))

    async def create(self, collection: str, dimensions: int) -> None:
        """See VectorStore."""
        await self._change(self._create, collection, dimensions)

    async def drop(self, collection: str) -> bool:
        """See VectorStore."""
        return await self._change(self._drop, collection)

    async def purge(self, age_s: float) -> bool:
        """See VectorStore. Meanwhile one collection at a time can be searched and not changed."""
        for folder in purging.marked(self._root, age_s):
            async with self._changing:
                await self._run(self._flush, folder)
                if folder.exists():
                    await purging.rewrite(folder)
                    await self._run(self._replace, folder)
                purging.unmark(folder)
        return True

    async def close(self) -> None:
        """Write everything out and give the folder free."""
        if not self._closed:
            self._closed = True
            try:
                await self._in_thread(self._close_shards)
            finally:
                self._thread.shutdown()
                self._lock.release()

    async def _change(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        async with self._changing:
            return await self._run(work, *args, **kwargs)

    async def _run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._closed:
            message = "The document store is closed."
            raise Unavailable(message)
        return await self._in_thread(partial(work, *args, **kwargs))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.wrap_future(self._thread.submit(_guarded, work))

    # What follows runs in the store's thread.

    def _find(self, collection: str) -> Shard | None:
        """Open a collection; None for the default one while it is empty."""
        collection_names.check_collection_name(collection)
        if collection not in self._dimensions:
            if collection_names.is_default(collection):
                return None
            raise collection_names.unknown_collection(collection)
        return self._open(collection)

    def _open(self, collection: str) -> Shard:
        if collection not in self._shards:
            dimensions = self._dimensions[collection]
            folder = _folder(self._root, collection, dimensions)
            self._shards[collection] = Shard(folder, dimensions)
        return self._shards[collection]

    def _add(self, document: Document, chunks: Sequence[EmbeddedChunk]) -> None:
        collection = document.collection
        collection_names.check_collection_name(collection)
        if not chunks:
            return
        given = len(chunks[0].dense)
        if collection not in self._dimensions and collection_names.is_vector_store(collection):
            raise collection_names.unknown_collection(collection)
        self._create(collection, given)
        points.check_dimensions(collection, stored=self._dimensions[collection], given=given)
        edition = points.edition_of(document, self._chunker_version)
        self._open(collection).add(document, edition, chunks)

    def _create(self, collection: str, dimensions: int) -> None:
        collection_names.check_collection_name(collection)
        if collection in self._dimensions:
            return
        owner = collection_names.owner_of(collection)
        owned = sum(collection_names.owner_of(name) == owner for name in self._dimensions)
        if owned >= self._max_collections:
            raise points.too_many_collections(self._max_collections)
        Shard.create(_folder(self._root, collection, dimensions), dimensions)
        self._dimensions[collection] = dimensions

    def _drop(self, collection: str) -> bool:
        collection_names.check_collection_name(collection)
        if collection not in self._dimensions:
            return False
        if shard := self._shards.pop(collection, None):
            shard.close()
        folder = _folder(self._root, collection, self._dimensions.pop(collection))
        # Gone in one step, so that a crash leaves no half of it behind.
        doomed = self._root / f"{purging.DOOMED}{uuid.uuid4().hex}"
        folder.rename(doomed)
        shutil.rmtree(doomed)
        purging.unmark(folder)
        return True

    def _flush(self, folder: Path) -> None:
        if shard := self._shards.get(_collection_of(folder)):
            shard.flush()

    def _replace(self, folder: Path) -> None:
        """Close a shard, which is opened on its next use, and replace it by its purged copy."""
        if shard := self._shards.pop(_collection_of(folder), None):
            shard.close()
        purging.replace(folder)

    def _publish(self, document: Document) -> None:
        shard = self._find(document.collection)
        if shard is None:
            points.check_whole(document, stored_chunks=0)
        else:
            shard.publish(document, points.edition_of(document, self._chunker_version))

    def _discard(self, collection: str, document_id: str, versions: Sequence[int]) -> None:
        if shard := self._find(collection):
            purging.mark(_folder(self._root, collection, shard.dimensions))
            shard.discard(document_id, versions)

    def _candidates(self, collection: str, query: HybridQuery) -> list[Candidate]:
        shard = self._find(collection)
        if shard is None:
            return []
        points.check_dimensions(collection, stored=shard.dimensions, given=query.dense.shape[1])
        return [
            points.candidate_from(point.payload or {}, point.vector, point.score)
            for point in shard.candidates(query)
        ]

    def _chunks(
        self, collection: str, wanted: Sequence[tuple[StoredChunk, int]]
    ) -> list[StoredChunk]:
        shard = self._find(collection)
        found = [] if shard is None else shard.chunks(points.chunk_ids(wanted))
        return [points.stored_from(payload) for payload in found]

    def _documents(self, collection: str, limit: int, after: str | None) -> DocumentList:
        shard = self._find(collection)
        records = [] if shard is None else shard.records(limit + 2, after)
        return points.page_of(records, limit, after)

    def _document(self, collection: str, document_id: str) -> Document:
        shard = self._find(collection)
        record = None if shard is None else shard.record(document_id)
        if record is None:
            raise points.unknown_document(document_id)
        return points.document_from(record)

    def _delete(self, collection: str, document_id: str) -> bool:
        shard = self._find(collection)
        if shard is None:
            return False
        purging.mark(_folder(self._root, collection, shard.dimensions))
        return shard.delete(document_id)

    def _close_shards(self) -> None:
        while self._shards:
            _, shard = self._shards.popitem()
            shard.close()


def _guarded(work: Callable[[], T]) -> T:
    """Turn what qdrant-edge raises, plain exceptions and Rust panics, into Unavailable."""
    try:
        return work()
    except ServiceError:
        raise
    except BaseException as error:
        message = "The document store failed."
        raise Unavailable(message) from error


def _folder(root: Path, collection: str, dimensions: int) -> Path:
    return root / f"{collection}.{dimensions}"


def _collection_of(folder: Path) -> str:
    return folder.name.rpartition(".")[0]


def _collections(root: Path) -> list[tuple[str, int]]:
    """Read names and dimensions of the collections from their folders' names."""
    parts = [folder.name.rpartition(".") for folder in root.iterdir() if folder.is_dir()]
    return [(name, int(size)) for name, _, size in parts if name and size.isdecimal()]


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
