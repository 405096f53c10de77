"""The manifest of a backup: what it consists of, and whether it is whole.

backup.json         the manifest, written last
parts-TIME/         what the manifest lists: the database, vectors/, files.jsonl (paths, sizes
                    and digests of the files), attribute_changes.json
files/              the files of the file store; the next backup adds to them
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Self

from deployments.records import from_record
from serve_app.launch.progress import StartError

FORMAT = 1
MANIFEST = "backup.json"
FILES = "files"
FILE_LIST = "files.jsonl"
CHANGES = "attribute_changes.json"
VECTORS = "vectors"
PARTS = "parts-"

_BLOCK_BYTES = 1 << 20
_MAX_BYTES = 64 * 1024**2  # of a manifest: some 100,000 parts


@dataclass(frozen=True, slots=True)
class Part:
    """A file of the backup, by its path below the folder of the parts."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True)
class Manifest:
    """A backup; `schema` is the revision of the catalogue's schema."""

    format: int
    created_at: str
    genserve: str
    schema: str
    database: str  # sqlite or postgresql
    vectors: str  # edge or qdrant
    folder: str
    parts: tuple[Part, ...]
    files: int
    files_bytes: int

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the manifest of a backup; raise StartError if it is not whole or not known."""
        path = folder / MANIFEST
        try:
            size = path.stat().st_size
            record: Any = json.loads(path.read_bytes()) if size <= _MAX_BYTES else None
            if record["format"] == FORMAT:
                parts = tuple(Part(**part) for part in record["parts"])
                found = from_record(cls, record | {"parts": parts})
                for each in (found.folder, *(part.path for part in parts)):
                    _check_path(each)
                return found
        except FileNotFoundError:
            msg = f"{folder}: no {MANIFEST}: this is no backup, or one that was not finished"
            raise StartError(msg) from None
        except (OSError, ValueError, TypeError, KeyError) as error:
            msg = f"{path}: not the manifest of a backup: {error}"
            raise StartError(msg) from None
        msg = f"{path}: format {record['format']!r}, which a newer version of GenServe has written"
        raise StartError(msg)

    def write(self, folder: Path) -> None:
        """Write the manifest at once: from now on the backup is whole."""
        unfinished = folder / f".{MANIFEST}"
        with unfinished.open("w", encoding="utf-8") as file:
            json.dump(asdict(self), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(folder / MANIFEST)


def part_of(folder: Path, path: Path) -> Part:
    """Make a file durable, and describe it as a part of a backup."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Part(path.relative_to(folder).as_posix(), path.stat().st_size, digest)


def check_part(folder: Path, part: Part) -> None:
    """Raise StartError if a part is missing or damaged."""
    path = folder / part.path
    try:
        outside = not path.resolve().is_relative_to(folder.resolve())  # by a link
        if outside or part_of(folder, path) != part:
            msg = f"{path}: damaged: it is not what was backed up"
            raise StartError(msg)
    except OSError as error:
        msg = f"{path}: {error.strerror}"
        raise StartError(msg) from None


def _check_path(path: str) -> None:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts:
        msg = f"{path!r} is not a path inside a backup"
        raise ValueError(msg)
