"""Collections that version 0.1 stored, each as a Qdrant Edge shard in a folder of its own."""

from __future__ import annotations

import shutil
import uuid
from typing import TYPE_CHECKING, Protocol, TypeVar

from loguru import logger
from qdrant_edge import (
    CountRequest,
    EdgeShard,
    FieldCondition,
    Filter,
    MatchValue,
    ScrollRequest,
    UpdateOperation,
)

from deployments.collection_names import unknown_collection
from deployments.retriever import points, points_0_1

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from deployments.retriever.edge.index import Index
    from deployments.retriever.vector_store import StoredChunk, VectorIndex
    from deployments.types import DocumentList

T = TypeVar("T")

_SLICE_POINTS = 128
_REMOVED = ".dropped-"  # as version 0.1 called the folders of collections that it was removing
_UNFINISHED = ".unfinished"


class _Run(Protocol):
    async def __call__(self, work: Callable[[], T], /) -> T: ...


_IS_LISTED, _IS_FOUND = (
    Filter(must=[FieldCondition(field, MatchValue(value)) for field, value in values.items()])
    for values in (points_0_1.IS_LISTED, points_0_1.IS_FOUND)
)


class EdgeCollectionsOf01:
    """Folders `NAME.DIMENSIONS` under `root`; `run` runs blocking work in the store's thread."""

    def __init__(self, root: Path, run: _Run, open_index: Callable[[VectorIndex], Index]) -> None:
        self._root = root
        self._run = run
        self._open_index = open_index
        self._shards: dict[str, EdgeShard] = {}
        for left in (*root.glob(f"{_REMOVED}*"), *root.glob(_UNFINISHED)):  # by a killed process
            shutil.rmtree(left)

    async def dimensions(self) -> dict[str, int]:
        """See CollectionsOf01."""
        return await self._run(self._readable)

    async def documents(self, collection: str, limit: int, after: str | None) -> DocumentList:
        """See CollectionsOf01."""

        def page() -> DocumentList:
            start = None if after is None else points_0_1.record_id(after)
            request = ScrollRequest(
                offset=start, limit=limit + 2, filter=_IS_LISTED, with_payload=True
            )
            records, _ = self._shard(collection).scroll(request)
            return points_0_1.page_of([one.payload or {} for one in records], limit, after)

        return await self._run(page)

    async def delete(self, collection: str, document_id: str | None = None) -> bool:
        """See CollectionsOf01."""

        def delete() -> bool:
            if collection not in self._folders():
                return False
            if document_id is None:
                self._delete_folder(collection)
                return True
            shard = self._shard(collection)
            which = Filter(must=[FieldCondition(points.DOCUMENT_ID, MatchValue(document_id))])
            found = shard.count(CountRequest(filter=which)) > 0
            if found:
                shard.update(UpdateOperation.delete_points_by_filter(which))
                shard.flush()
            return found

        return await self._run(delete)

    async def sample(self, collection: str) -> tuple[StoredChunk, NDArray[np.float32]] | None:
        """See CollectionsOf01."""

        def sample() -> tuple[StoredChunk, NDArray[np.float32]] | None:
            request = ScrollRequest(
                limit=1, filter=_IS_FOUND, with_payload=True, with_vector=[points.DENSE]
            )
            for record in self._shard(collection).scroll(request)[0]:
                stored = points.stored_from(record.payload or {})
                return stored, points.dense_of(record.vector)
            return None

        return await self._run(sample)

    async def copy(self, collection: str, index: VectorIndex) -> int:
        """See CollectionsOf01."""
        copied, after = 0, None
        while True:
            some, after = await self._run(lambda: self._copy(collection, index, after))  # noqa: B023
            copied += some
            if after is None:
                break
        await self._run(lambda: self._open_index(index).flush())
        return copied

    # What follows runs in the store's thread.

    def _copy(
        self, collection: str, index: VectorIndex, after: str | None
    ) -> tuple[int, str | None]:
        """Copy a slice; return its size, and the id that the next one begins with."""
        request = ScrollRequest(
            offset=after, limit=_SLICE_POINTS + 1, with_payload=True, with_vector=True
        )
        records, _ = self._shard(collection).scroll(request)
        new = [
            (moved[0], record.vector or {}, moved[1])
            for record in records[:_SLICE_POINTS]
            if (moved := points_0_1.moved(collection, record.payload or {}))
        ]
        if new:
            self._open_index(index).copy(new)
        follows = str(records[_SLICE_POINTS].id) if len(records) > _SLICE_POINTS else None
        return len(new), follows

    def _delete_folder(self, collection: str) -> None:
        if shard := self._shards.pop(collection, None):
            shard.close()
        # Renamed first, so that a killed process leaves no half of a collection.
        removed = self._root / f"{_REMOVED}{uuid.uuid4().hex}"
        self._folders()[collection][0].rename(removed)
        shutil.rmtree(removed)

    def _readable(self) -> dict[str, int]:
        """Return the dimensions of the collections that can be opened."""
        readable = {}
        for name, (folder, dimensions) in self._folders().items():
            try:
                self._shard(name)
            except BaseException as error:  # noqa: BLE001 - plain exceptions, and panics of Rust
                logger.error("the collection {} of version 0.1 is left out: {!r}", folder, error)
                continue
            readable[name] = dimensions
        return readable

    def _shard(self, collection: str) -> EdgeShard:
        if collection not in self._shards:
            folders = self._folders()
            if collection not in folders:
                raise unknown_collection(collection)
            self._shards[collection] = EdgeShard.load(str(folders[collection][0]))
        return self._shards[collection]

    def _folders(self) -> dict[str, tuple[Path, int]]:
        """Return folder and dimensions of each collection, from the names of the folders."""
        parts = [
            (folder, *folder.name.rpartition(".")[::2])
            for folder in sorted(self._root.iterdir())
            if folder.is_dir()
        ]
        return {
            name: (folder, int(size))
            for folder, name, size in parts
            if name and not name.startswith(".") and size.isdecimal()
        }
