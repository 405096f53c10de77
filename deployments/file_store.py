"""Files that several replicas need: uploads on their way in, pictures on their way out."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import time
import uuid
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO, ParamSpec, TypeVar

import fsspec
from fsspec.implementations.local import LocalFileSystem
from fsspec.spec import AbstractBufferedFile
from loguru import logger

from deployments.errors import InvalidRequest, NotFound, Refused, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Collection
    from datetime import datetime

P = ParamSpec("P")
T = TypeVar("T")

_BLOCK_BYTES = 1 << 20
_NO_FILE = (FileNotFoundError, IsADirectoryError, NotADirectoryError)


class FileStore:
    """Whole files by relative path, in a folder or at an fsspec URL such as `s3://bucket/there`.

    Whoever sees a file sees it whole. Every method may be repeated after a failure, works off
    the event loop, and raises ValueError for a path that leads out of the store, Refused for
    what the service may not do there, Unavailable when a store elsewhere does not answer.
    """

    def __init__(self, root: str) -> None:
        """Open a store; raises InvalidRequest if nothing is installed for the kind of URL."""
        try:
            # Others write into it too: a listing is true only in the moment it is made.
            self._files, self._root = fsspec.core.url_to_fs(root, use_listings_cache=False)
        except ImportError as error:
            msg = f"`files: {root}` needs a Python package that is not installed: {error}"
            raise InvalidRequest(msg) from error
        self._local = isinstance(self._files, LocalFileSystem)

    async def check_health(self) -> None:
        """Return if the store answers, be it that there is nothing yet or that this is not told."""
        if not self._local:
            with contextlib.suppress(FileNotFoundError, Refused):
                # `exists` would be False of a store that is away.
                await self._off_loop(self._files.info, self._root)

    async def put(self, path: str, data: bytes | BinaryIO, head: bytes = b"") -> None:
        """Write a file, in place of one that may be there; `head` comes before the data."""
        source = BytesIO(data) if isinstance(data, bytes) else data
        await self._off_loop(self._put, self._at(path), source, head)

    async def get(self, path: str, end: int | None = None) -> bytes:
        """Read a file, or what it begins with up to a byte; raises NotFound."""
        try:
            return await self._off_loop(self._get, self._at(path), end)
        except _NO_FILE:
            msg = "there is no such file"
            raise NotFound(msg) from None

    async def blocks(self, path: str, start: int = 0) -> AsyncGenerator[bytes, None]:
        """Read a file from a byte on, a piece at a time; raises NotFound."""
        try:
            file = await self._off_loop(self._files.open, self._at(path), "rb")
        except _NO_FILE:
            msg = "there is no such file"
            raise NotFound(msg) from None
        try:
            await self._off_loop(file.seek, start)
            while block := await self._off_loop(file.read, _BLOCK_BYTES):
                yield block
        finally:
            file.close()

    async def names(self, path: str) -> list[str]:
        """List the names of the files directly below a path; none if there is no such path."""
        return await self._off_loop(self._names, self._at(path))

    async def delete(self, path: str) -> None:
        """Remove a file, or all files below a path; fine if there is nothing."""
        await self._off_loop(self._delete, self._at(path))

    async def delete_older(self, path: str, age_s: float, but: Collection[str] = ()) -> int:
        """Remove the files below a path that were written longer ago, `but` some.

        Returns how many they were.
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
        if not parts or path.startswith("/") or ".." in parts:
            msg = "not a path inside the file store"
            raise ValueError(msg)
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
                # Closed as usual, even by the collector, it would appear with what it has.
                file.closed = True
                try:
                    file.discard()
                except Exception as error:  # noqa: BLE001 - what broke the writing is raised
                    logger.warning("parts of an upload stay in the file store: {}", error)
            raise
        file.close()  # an object appears when it is whole

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

    def _delete(self, target: str) -> None:
        with contextlib.suppress(FileNotFoundError):
            self._files.rm(target, recursive=True)
            # Of many at once s3fs does not say which S3 refused to remove; of one it does.
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
