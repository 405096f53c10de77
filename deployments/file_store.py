"""Whole files that several replicas share, in a local folder or an object store."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
import time
import uuid
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, BinaryIO, ParamSpec, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractBufferedFile
from loguru import logger

from deployments.errors import InvalidRequest, NotFound, Refused, TooLarge, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection, Sequence
    from datetime import datetime

P = ParamSpec("P")
T = TypeVar("T")

UPLOADS, CHUNKS, IMAGES, PAGES = "uploads", "chunks", "images", "pages"
"""Folders: files to ingest, batches of chunks, images of jobs, PDFs of web pages. All but the
images are temporary; Jobs sweeps what a crash leaves there."""

RECHUNKED = "rechunk-"
"""Beginning of the names of folders in `CHUNKS` that are of no job, but of a change of the
chunker."""

ARCHIVES = "archives"
"""Folder with a folder for each owner: archives to import, in parts. Temporary, too."""

KEPT, NOTES_OF_0_1 = "kept", "vector_stores"
"""Folders with a folder for each owner: files that are kept until they are deleted, and what
version 0.1 noted of vector stores. Uploads lie in such folders, too."""

NO_OWNER = "_"
"""Stands in a path for an owner who has no name; no owner is called so."""

_BLOCK_BYTES = 1 << 20
_NO_FILE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)
_PATTERN_CHARACTERS = frozenset("*?[\0")  # fsspec expands them when it deletes


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of a store; `changed_at` is in seconds since the epoch.

    `changed` is another text once it has another content.
    """

    path: str
    size_bytes: int
    changed_at: float
    changed: str


class FileStore:
    """Keep files by relative path, in a folder or at an fsspec URL such as `s3://bucket/folder`.

    Writes are atomic: a reader sees a file whole or not at all. Every method may be repeated
    after a failure and does its input and output in a thread. Each raises InvalidRequest for a
    path outside the store, Refused if the service lacks a permission, and Unavailable if an
    object store does not answer.
    """

    def __init__(self, root: str) -> None:
        """Open a store; raise InvalidRequest if no package is installed for the kind of URL."""
        try:
            # Other processes write into it too, so no listing may be cached.
            self._files, self._root = fsspec.core.url_to_fs(root, use_listings_cache=False)
        except ImportError as error:
            msg = f"`files: {root}` needs a Python package that is not installed: {error}"
            raise InvalidRequest(msg) from error
        self._local = isinstance(self._files, LocalFileSystem)

    async def check_health(self) -> None:
        """Return if the store answers, even if it is empty or its listing is not permitted."""
        if not self._local:
            with contextlib.suppress(FileNotFoundError, Refused):
                # `exists` returns False for a store that does not answer.
                await self._off_loop(self._files.info, self._root)

    async def put(self, path: str, data: bytes | BinaryIO, head: bytes = b"") -> None:
        """Write `head` and then `data` as one file, replacing an existing one."""
        source = BytesIO(data) if isinstance(data, bytes) else data
        await self._off_loop(self._put, self._at(path), source, head)

    async def get(self, path: str, end: int | None = None) -> bytes:
        """Read a file, or only its first `end` bytes; raise NotFound if it does not exist."""
        try:
            return await self._off_loop(self._get, self._at(path), end)
        except _NO_FILE:
            raise _no_such_file() from None

    async def blocks(self, path: str, start: int = 0) -> AsyncGenerator[bytes, None]:
        """Yield a file in blocks, from byte `start` on; raise NotFound if it does not exist."""
        try:
            file = await self._off_loop(self._files.open, self._at(path), "rb")
        except _NO_FILE:
            raise _no_such_file() from None
        try:
            await self._off_loop(file.seek, start)
            while block := await self._off_loop(file.read, _BLOCK_BYTES):
                yield block
        finally:
            file.close()

    @contextlib.asynccontextmanager
    async def opened(
        self, path: str, max_bytes: int, start: int = 0
    ) -> AsyncGenerator[BinaryIO, None]:
        """Open a file that has a descriptor, as a child process needs for its standard input.

        Its position is byte `start`. A local file is opened in place. An object is first streamed
        into a temporary file without a name, which the system removes even after a crash.

        Raises:
            NotFound: it does not exist.
            TooLarge: it has more than `max_bytes` bytes from `start` on.
        """
        with contextlib.ExitStack() as resources:
            if self._local:
                try:
                    file: BinaryIO = await self._off_loop(Path(self._at(path)).open, "rb")
                except _NO_FILE:
                    raise _no_such_file() from None
                resources.enter_context(file)
                _check_size(os.fstat(file.fileno()).st_size - start, max_bytes)
                file.seek(start)
            else:
                file = resources.enter_context(tempfile.TemporaryFile())
                size = 0
                async with contextlib.aclosing(self.blocks(path, start)) as blocks:
                    async for block in blocks:
                        size += len(block)
                        _check_size(size, max_bytes)
                        await asyncio.to_thread(file.write, block)
                file.seek(0)
            yield file

    async def free_bytes(self) -> int | None:
        """Return how much room is left on the disk; None for an object store."""
        if not self._local:
            return None
        return await self._off_loop(_free_bytes, Path(self._root))

    async def move(self, path: str, target: str) -> None:
        """Move a file, replacing an existing one; raise NotFound if it does not exist."""
        try:
            await self._off_loop(self._move, self._at(path), self._at(target))
        except _NO_FILE:
            raise _no_such_file() from None

    async def copy(self, path: str, target: str) -> None:
        """Copy a file, replacing an existing one; raise NotFound if it does not exist."""
        try:
            await self._off_loop(self._copy, self._at(path), self._at(target))
        except _NO_FILE:
            raise _no_such_file() from None

    async def names(self, path: str) -> list[str]:
        """List the names of the files directly below a path; empty if it does not exist."""
        return await self._off_loop(self._names, self._at(path))

    async def stats(self, folders: Sequence[str]) -> list[StoredFile]:
        """List the files directly below several folders; those that do not exist have none."""
        return await self._off_loop(self._stats, folders)

    async def infos(self, paths: Sequence[str]) -> list[StoredFile]:
        """Look at several files; those that do not exist are left out."""
        return await self._off_loop(self._infos, paths)

    async def stored(self, path: str) -> list[StoredFile]:
        """List all files below a path; empty if it does not exist."""
        return await self._off_loop(self._all, self._at(path))

    async def exists(self, path: str, size_bytes: int) -> bool:
        """Return whether there is a file of this size."""
        try:
            found: int = await self._off_loop(self._files.size, self._at(path))
        except _NO_FILE:
            return False
        return found == size_bytes

    async def delete(self, path: str) -> None:
        """Remove a file, or all files below a path; do nothing if neither exists."""
        await self._off_loop(self._delete, self._at(path))

    async def delete_older(self, path: str, age_s: float, but: Collection[str] = ()) -> int:
        """Remove the files below a path that are older than `age_s`, except the paths in `but`.

        Return how many were removed.
        """
        kept = {self._at(file) for file in but}
        return await self._off_loop(self._delete_older, self._at(path), age_s, kept)

    async def _off_loop(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await asyncio.to_thread(work, *args, **kwargs)
        except _NO_FILE:
            raise
        except PermissionError as error:
            logger.warning("the file store refused: {}", error)
            msg = "the file store does not allow this to the service"
            raise Refused(msg) from error
        except Exception as error:
            if self._local:
                raise
            logger.warning("the file store failed: {}: {}", type(error).__name__, error)
            msg = "the file store does not answer"
            raise Unavailable(msg) from error

    def _at(self, path: str) -> str:
        parts = PurePosixPath(path).parts
        outside = not parts or path.startswith("/") or ".." in parts
        if outside or not _PATTERN_CHARACTERS.isdisjoint(path):
            msg = "not a path inside the file store"
            raise InvalidRequest(msg)
        return "/".join((self._root.rstrip("/"), *parts))

    def _put(self, target: str, source: BinaryIO, head: bytes) -> None:
        if not self._local:
            self._put_object(target, source, head)
            return
        # fsspec's own transactions write into the system's folder for temporary files,
        # from where a move is not atomic.
        unfinished = Path(f"{target}.{uuid.uuid4().hex}.part")
        unfinished.parent.mkdir(parents=True, exist_ok=True)
        try:
            with unfinished.open("wb") as file:
                file.write(head)
                shutil.copyfileobj(source, file, _BLOCK_BYTES)
                file.flush()
                os.fsync(file.fileno())
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)

    def _put_object(self, target: str, source: BinaryIO, head: bytes) -> None:
        file = self._files.open(target, "wb")
        try:
            file.write(head)
            shutil.copyfileobj(source, file, _BLOCK_BYTES)
        except BaseException:
            if isinstance(file, AbstractBufferedFile):
                # An ordinary close, even by the garbage collector, would upload what it holds.
                file.closed = True
                try:
                    file.discard()
                except Exception as error:  # noqa: BLE001 - the first error is raised
                    logger.warning("parts of an upload stay in the file store: {}", error)
            raise
        file.close()  # only now does the object appear

    def _move(self, source: str, target: str) -> None:
        if self._local:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            Path(source).replace(target)
        else:
            self._files.cp_file(source, target)
            self._files.rm_file(source)

    def _copy(self, source: str, target: str) -> None:
        if self._local:
            with Path(source).open("rb") as file:
                self._put(target, file, b"")
        else:
            self._files.cp_file(source, target)

    def _get(self, target: str, end: int | None) -> bytes:
        content: bytes = self._files.cat_file(target, end=end)
        return content

    def _names(self, target: str) -> list[str]:
        try:
            found: list[str] = self._files.ls(target, detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        names = (PurePosixPath(name).name for name in found)
        return sorted(name for name in names if not name.endswith(".part"))

    def _stats(self, folders: Sequence[str]) -> list[StoredFile]:
        found = []
        for folder in folders:
            try:
                listed = self._files.ls(self._at(folder), detail=True)
            except (FileNotFoundError, NotADirectoryError):
                continue
            for about in listed:
                if about["type"] == "file":
                    name = PurePosixPath(about["name"]).name
                    found.append(self._seen(f"{folder}/{name}", about))
        return found

    def _infos(self, paths: Sequence[str]) -> list[StoredFile]:
        found = []
        for path in paths:
            with contextlib.suppress(*_NO_FILE):
                about = self._files.info(self._at(path))
                if about["type"] == "file":
                    found.append(self._seen(path, about))
        return found

    def _all(self, target: str) -> list[StoredFile]:
        below = self._root.rstrip("/") + "/"
        return [
            self._seen(name.removeprefix(below), about)
            for name, about in sorted(self._files.find(target, detail=True).items())
            if not name.endswith(".part")
        ]

    def _seen(self, path: str, about: dict[str, Any]) -> StoredFile:
        written = about.get("mtime") or about.get("LastModified")  # of folders, of s3fs
        written = written or self._files.modified(about["name"])
        seconds = written if isinstance(written, float) else written.timestamp()
        return StoredFile(path, int(about["size"] or 0), seconds, _changed(about))

    def _delete(self, target: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._files.rm(target, recursive=True)
            # s3fs hides refusals in a bulk deletion, but not when it deletes one file.
            for left in self._files.find(target):
                self._files.rm_file(left)

    def _delete_older(self, target: str, age_s: float, kept: set[str]) -> int:
        oldest = time.time() - age_s
        removed = 0
        for file in self._files.find(target):
            with contextlib.suppress(FileNotFoundError):
                written: datetime = self._files.modified(file)
                if written.timestamp() < oldest and file not in kept:
                    self._files.rm_file(file)
                    removed += 1
        return removed


def _free_bytes(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def folder_of(folder: str, owner: str) -> str:
    """Return the folder of an owner below another one."""
    return f"{folder}/{owner or NO_OWNER}"


def image_path(job_id: str, number: int) -> str:
    """Return the path of an image of a job, a PNG file."""
    return f"{IMAGES}/{job_id}/{number}.png"


def _changed(about: dict[str, Any]) -> str:
    """Return when a file was written, or what else an object store says of its content."""
    known = (about.get(name) for name in ("ETag", "mtime", "LastModified", "created"))
    return str(next((value for value in known if value is not None), ""))


def _no_such_file() -> NotFound:
    return NotFound("there is no such file")


def _check_size(size_bytes: int, max_bytes: int) -> None:
    if size_bytes > max_bytes:
        msg = f"the file has more than {max_bytes:,} bytes, the most that are read"
        raise TooLarge(msg)
