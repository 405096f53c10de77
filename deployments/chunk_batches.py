"""Batches of a document's chunks in the file store, on their way from parser to retriever."""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING

from deployments.records import from_record
from deployments.types import Chunk

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from deployments.file_store import FileStore


async def write_batches(files: FileStore, folder: str, chunks: Iterable[Chunk], size: int) -> int:
    """Write chunks as numbered files below a folder, `size` in each; return how many files."""
    count = 0
    for batch in _batches(chunks, size):
        content = json.dumps([asdict(chunk) for chunk in batch]).encode()
        await files.put(_path(folder, count), content)
        count += 1
    return count


async def read_batch(files: FileStore, folder: str, number: int) -> list[Chunk]:
    """Read one batch, counted from 0; raise NotFound if it does not exist.

    Fields that a newer version wrote are ignored: its parser may run beside this version.
    """
    rows = json.loads(await files.get(_path(folder, number)))
    return [from_record(Chunk, row) for row in rows]


def _path(folder: str, number: int) -> str:
    return f"{folder}/{number}.json"


def _batches(chunks: Iterable[Chunk], size: int) -> Iterator[list[Chunk]]:
    remaining = iter(chunks)
    while batch := list(islice(remaining, size)):
        yield batch
