"""Files of a backup: copied from the file store into its folder, and back."""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from deployments.contents import CONTENTS
from deployments.errors import NotFound
from deployments.file_store import ARCHIVES, CHUNKS, IMAGES, KEPT, NOTES_OF_0_1, UPLOADS
from deployments.records import from_record
from serve_app.launch.progress import StartError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deployments.file_store import FileStore, StoredFile

BACKED_UP = (CONTENTS, KEPT, IMAGES, UPLOADS, CHUNKS, ARCHIVES, NOTES_OF_0_1)
"""Folders of the file store; pages of the web are not worth a copy."""

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class SavedFile:
    """A file of a backup; `changed` is what the file store said of it."""

    path: str
    size_bytes: int
    changed: str
    sha256: str


class _Hashing:
    """Reads a file and computes the digest of what was read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.digest = hashlib.sha256()
        self.size_bytes = 0

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(size)
        self.digest.update(block)
        self.size_bytes += len(block)
        return block


async def save_files(
    source: FileStore, target: FileStore, previous: Path | None, listing: Path
) -> tuple[int, int]:
    """Copy files that the backup does not have yet, and list all; return their number and bytes.

    `previous` is the list of the backup before in the same folder. A file whose size and time are
    the same is not copied again.
    """
    known = {} if previous is None else {file.path: file for file in read_list(previous)}
    count = size_bytes = 0
    with listing.open("w", encoding="utf-8") as lines:
        for folder in BACKED_UP:
            for found in await source.stored(folder):
                saved = known.get(found.path)
                if saved is None or not await _is_saved(saved, found, target):
                    saved = await _save(source, target, found)
                if saved is not None:
                    lines.write(json.dumps(asdict(saved)) + "\n")
                    count += 1
                    size_bytes += saved.size_bytes
    return count, size_bytes


async def remove_unlisted(target: FileStore, listing: Path) -> None:
    """Remove files that only the backup before had."""
    listed = {file.path for file in read_list(listing)}
    for folder in BACKED_UP:
        for found in await target.stored(folder):
            if found.path not in listed:
                await target.delete(found.path)


async def check_files(saved: FileStore, listing: Path) -> None:
    """Raise StartError if a file of the backup is missing or damaged."""
    for file in read_list(listing):
        try:
            async with saved.opened(file.path, sys.maxsize) as content:
                digest = await asyncio.to_thread(_digest_of, content)
        except NotFound:
            msg = f"{file.path}: missing in the backup"
            raise StartError(msg) from None
        if digest != file.sha256:
            msg = f"{file.path}: damaged: it is not what was backed up"
            raise StartError(msg)


async def restore_files(saved: FileStore, target: FileStore, listing: Path) -> None:
    """Copy all files of a backup into an empty file store."""
    for file in read_list(listing):
        async with saved.opened(file.path, sys.maxsize) as content:
            await target.put(file.path, content)


def read_list(listing: Path) -> Iterator[SavedFile]:
    """Yield the files that a backup lists; raise StartError if the list cannot be read."""
    with listing.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                record: dict[str, Any] = json.loads(line)
                yield from_record(SavedFile, record)
            except (ValueError, TypeError):
                msg = f"{listing}: damaged"
                raise StartError(msg) from None


def _digest_of(content: BinaryIO) -> str:
    reader = _Hashing(content)
    while reader.read(_BLOCK_BYTES):
        pass
    return reader.digest.hexdigest()


async def _is_saved(saved: SavedFile, found: StoredFile, target: FileStore) -> bool:
    same = saved.size_bytes == found.size_bytes and saved.changed == found.changed
    return same and await target.exists(found.path, found.size_bytes)


async def _save(source: FileStore, target: FileStore, found: StoredFile) -> SavedFile | None:
    """Copy a file; None if it was removed meanwhile: then the database does not need it."""
    try:
        async with source.opened(found.path, sys.maxsize) as content:
            reader = _Hashing(content)
            await target.put(found.path, cast("BinaryIO", reader))
    except NotFound:
        return None
    return SavedFile(found.path, reader.size_bytes, found.changed, reader.digest.hexdigest())
