"""One index on local disk: its current shard, and the copy that compaction makes of it."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Self

from deployments.retriever.edge.shard import Shard, of_other_editions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qdrant_edge import Filter

    from deployments.filters import Attributes
    from deployments.retriever.edge.shard import RawPoint
    from deployments.retriever.vector_store import EmbeddedChunk, VectorIndex
    from deployments.types import Document

_MANIFEST = "index.json"
_MIN_DELETED = 20_000  # points: fewer are not worth a compaction
_SLICE_POINTS = 128  # copied at once: some 20 ms
REMOVED_AT_ONCE = 2_000  # points: some 25 ms


@dataclass(frozen=True, slots=True)
class Manifest:
    """What an index is; `generation` names the folder of its current shard.

    `deleted` are the points that still take up space in it, the first since `deleted_ms`.
    """

    dimensions: int
    generation: int = 1
    deleted: int = 0
    deleted_ms: int = 0

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the manifest of an index; what newer releases have added is ignored."""
        known = json.loads((folder / _MANIFEST).read_bytes())
        return cls(**{each.name: int(known[each.name]) for each in fields(cls)})

    def write(self, folder: Path) -> None:
        """Replace the manifest of an index at once."""
        unfinished = folder / f".{_MANIFEST}"
        with unfinished.open("w") as file:
            file.write(json.dumps(asdict(self)))
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(folder / _MANIFEST)
        _sync(folder)

    def with_deleted(self, count: int) -> Self:
        """Return the manifest after so many points more are deleted."""
        began_ms = self.deleted_ms if self.deleted else time.time_ns() // 1_000_000
        return replace(self, deleted=self.deleted + count, deleted_ms=began_ms)


class IndexBackup:
    """A copy of an index in another folder, made slice by slice while the index is used.

    It has all that was in the index when the first slice was copied, unless that is removed before
    its turn. Each call is in the thread of the index.
    """

    def __init__(self, index: Index, folder: Path) -> None:
        self._index = index
        self._folder = folder
        self._manifest = Manifest(index.dimensions)
        self._shard = Shard.create(folder / str(self._manifest.generation), index.dimensions)
        self._copied: str | None = None

    def copy(self) -> bool:
        """Copy the next slice; return whether that was the last one, and the copy is whole."""
        # The shard may be another one than before: a compaction keeps the ids.
        self._copied = _copy_slice(self._index.shard, self._shard, self._copied)
        if self._copied is not None:
            return False
        self._shard.close()
        self._manifest.write(self._folder)
        return True

    def abandon(self) -> None:
        """Close an unfinished copy."""
        self._shard.close()


class Index:
    """An open index; one thread at a time.

    Deleted points take up space until a compaction, which copies the others, a slice at a time,
    into a new shard. Changes go to both until that is whole and takes the place of the old one.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._manifest = Manifest.read(folder)
        self._copy: Shard | None = None
        self._remove_left()
        self.shard = Shard(self._shard_folder(0), self._manifest.dimensions)
        self._copied: str | None = None  # the next point
        self._next = self._manifest  # once the copy is whole

    @staticmethod
    def exists(folder: Path) -> bool:
        """Return whether a folder holds an index."""
        return (folder / _MANIFEST).is_file()

    @staticmethod
    def create(folder: Path, index: VectorIndex) -> None:
        """Create an empty index, which exists once its manifest does."""
        manifest = Manifest(index.dimensions)
        Shard.create(folder / str(manifest.generation), index.dimensions).close()
        manifest.write(folder)

    @property
    def dimensions(self) -> int:
        """The length of its vectors."""
        return self._manifest.dimensions

    def has_deleted(self, age_s: float) -> bool:
        """Return whether points that were deleted so long ago still take up space."""
        manifest = self._manifest
        age_ms = time.time_ns() // 1_000_000 - manifest.deleted_ms
        # Whatever the clock says, 0 is at once.
        counted = manifest.deleted > 0 and (age_s <= 0 or age_ms >= age_s * 1000)
        return counted or bool(self._left())

    @property
    def worth_compacting(self) -> bool:
        """Whether most of its points are deleted."""
        return self._manifest.deleted >= max(_MIN_DELETED, self.shard.count())

    def add(self, document: Document, edition: str, chunks: Sequence[EmbeddedChunk]) -> None:
        """See Shard."""
        for shard in self._shards():
            shard.add(document, edition, chunks)

    def publish(self, document: Document, edition: str) -> None:
        """Show an edition of a version; InvalidRequest if chunks are missing. Durable on return."""
        self.shard.whole(document, edition)
        others = self.shard.find(of_other_editions(document, edition))
        self._count_deleted(len(others))
        for shard in self._shards():
            shard.publish(document, edition, others)

    def set_attributes(self, collection: str, document_id: str, attributes: Attributes) -> None:
        """See Shard."""
        for shard in self._shards():
            shard.set_attributes(collection, document_id, attributes)

    def remove(self, which: Filter) -> int:
        """Remove the next points that a filter matches, at most REMOVED_AT_ONCE; count them.

        Durable after `flush`.
        """
        ids = self.shard.find(which, REMOVED_AT_ONCE)
        if ids:
            self._count_deleted(len(ids))
            for shard in self._shards():
                shard.remove(ids)
        return len(ids)

    def copy(self, raw: Sequence[RawPoint]) -> None:
        """See Shard."""
        for shard in self._shards():
            shard.copy(raw)

    def flush(self) -> None:
        """See Shard."""
        for shard in self._shards():
            shard.flush()

    def compact(self) -> bool:
        """Copy the next slice; return whether that was the last one.

        The first one creates the copy, the last one replaces the shard.
        """
        if self._copy is None:
            self._remove_left()
            self._next = Manifest(self.dimensions, self._manifest.generation + 1)
            self._copy = Shard.create(self._shard_folder(1), self.dimensions)
            self._copied = None
        self._copied = _copy_slice(self.shard, self._copy, self._copied)
        if self._copied is not None:
            return False
        self._next.write(self._folder)  # before anything else: if it fails, the old one stays
        old, self.shard, self._copy = self.shard, self._copy, None
        self._manifest = self._next
        old.close()
        self._remove_left()
        return True

    def abandon(self) -> None:
        """End an unfinished compaction; the next one begins again."""
        if self._copy is not None:
            copy, self._copy = self._copy, None
            try:
                copy.close()
            finally:
                self._remove_left()

    def close(self) -> None:
        """Write everything out and close; an unfinished compaction begins again another time."""
        self.shard.close()
        if self._copy is not None:
            self._copy.close()
            self._copy = None

    def _left(self) -> list[Path]:
        """Return the folders of other shards than the current one, and than its copy."""
        used = {str(self._manifest.generation)}
        if self._copy is not None:
            used.add(str(self._manifest.generation + 1))
        return [each for each in self._folder.iterdir() if each.is_dir() and each.name not in used]

    def _remove_left(self) -> None:
        """Remove what an interrupted compaction has left, or could not remove."""
        for folder in self._left():
            shutil.rmtree(folder)

    def _shards(self) -> list[Shard]:
        return [self.shard] if self._copy is None else [self.shard, self._copy]

    def _count_deleted(self, count: int) -> None:
        """Record it before the points are deleted: a killed process must not forget them."""
        if not count:
            return
        self._manifest = self._manifest.with_deleted(count)
        self._manifest.write(self._folder)
        self._next = self._next.with_deleted(count)

    def _shard_folder(self, further: int) -> Path:
        return self._folder / str(self._manifest.generation + further)


def _copy_slice(source: Shard, target: Shard, after: str | None) -> str | None:
    """Copy points, beginning with the id `after`; return the id that the next slice begins with."""
    records = source.read(_SLICE_POINTS + 1, after)
    target.copy(
        (record.id, record.vector or {}, record.payload or {}) for record in records[:_SLICE_POINTS]
    )
    # Not once at the end: the interpreter lock is held as long as there is to write.
    target.flush()
    return str(records[_SLICE_POINTS].id) if len(records) > _SLICE_POINTS else None


def _sync(folder: Path) -> None:
    """Make a renaming in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
