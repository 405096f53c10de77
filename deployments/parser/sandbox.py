"""Parse files in child processes, each with limits and one file only."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import signal
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Self, TypeVar

from loguru import logger

from deployments.errors import InvalidRequest, Unprocessable
from deployments.fair_places import FairPlaces
from deployments.parser.forking import Forks
from deployments.parser.messages import Task, unpack, unpack_unpacked
from deployments.types import SHORT_PARSE_CPU_S, SHORT_PARSE_EXCEEDED, Chunking

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from deployments.parser.forking import Run
    from deployments.parser.messages import ChunkedDocument
    from deployments.parser.reading.unpacking import Unpacking
    from deployments.settings import ParserSettings
    from deployments.types import UnpackPosition

T = TypeVar("T")

_SHORT_PLACES = 2
_CALLS = 128  # of a replica at once, in the shipped configurations
_SHORT_PRIORITY = 10  # a nice value: before long files, after whoever waits for an answer
_MAX_FILENAME_CHARS = 255
_ALARM_GRACE_S = 5
_LARGE_REPLY_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Parsed:
    """A document, and the CPU seconds that it took."""

    document: ChunkedDocument
    cpu_s: float


class Sandbox:
    """Parse each file in a child process of its own.

    A child has limits on memory, processor time and wall-clock time, no secrets in its
    environment, and may write no file. Its death fails only the file that it was parsing.

    Short files have places of their own, and little processor time, so that they never wait for
    long ones; in both kinds of places owners take turns. Either kind may have half of the calls
    that the replica gets, running and waiting, and one owner half of those that wait.
    """

    def __init__(
        self,
        settings: ParserSettings,
        tokenizer_path: str,
        *,
        processes: int = 1,
        calls: int = _CALLS,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        """Check that the tokenizer exists.

        Args:
            settings: the limits of a file and of a child process.
            tokenizer_path: the embedder's `tokenizer.json`, or the folder that contains it.
            processes: how many files are parsed at the same time, short ones not counted.
            calls: how many calls the replica gets at once.
            shares: weights of owners, 1 for those that are not named.

        Raises:
            ValueError: there is no `tokenizer.json`.
        """
        path = Path(tokenizer_path)
        self._tokenizer_file = (path / "tokenizer.json" if path.is_dir() else path).resolve()
        if not self._tokenizer_file.is_file():
            msg = "the parser needs a tokenizer.json beside the embedder's weights"
            raise ValueError(msg)
        self._settings = settings
        self._long = _places("long files", processes, calls, shares)
        self._short = _places("short files", _SHORT_PLACES, calls, shares)
        self._forks = Forks(str(self._tokenizer_file))

    def start(self) -> None:
        """Start the process that children are forked from, which the first file does otherwise."""
        self._forks.start()

    def close(self) -> None:
        """Stop all processes."""
        self._forks.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    async def parse(  # noqa: PLR0913 - what a call of the parser says
        self,
        source: AbstractAsyncContextManager[BinaryIO],
        filename: str,
        *,
        short: bool = False,
        owner: str = "",
        chunking: Chunking | None = None,
        recognised: Mapping[str, str] | None = None,
        pictures: BinaryIO | None = None,
    ) -> Parsed:
        """Parse a file.

        Args:
            source: opens the file, which must have a descriptor; entered only once a child
                process may start, so that waiting calls hold nothing.
            filename: the name of the file, for its format and title.
            short: parse it in a place for short files, with `SHORT_PARSE_CPU_S` at most.
            owner: who takes turns with others.
            chunking: the length of chunks, if not that of the settings.
            recognised: what was read by OCR, by page number or by the keys of pictures.
            pictures: a file of the full size, into which the pictures in the file are put.

        Returns a document without chunks if only OCR can find a text.

        Raises:
            Overloaded: too many files wait, in all or of this owner.
            UnsupportedMedia: the format is not supported.
            TooLarge: a limit is exceeded.
            Unprocessable: the file is empty, encrypted, damaged or without text, or killed
                the process that read it; with the code `SHORT_PARSE_EXCEEDED` it is not short.
        """
        task = self._task(filename, chunking)
        if short:
            cpu_s = min(SHORT_PARSE_CPU_S, task.cpu_s)
            task = replace(task, cpu_s=cpu_s, nice=_SHORT_PRIORITY)
        places = self._short if short else self._long
        with _file_of(recognised) as texts:
            task = replace(
                task, recognised=texts is not None, pictures=texts is None and pictures is not None
            )
            async with places.place(owner), self._in_time(), source as file:
                run = await self._forks.run(task, file, task.max_reply_bytes, texts or pictures)
        return Parsed(await self._read(run, task, unpack), run.ended.cpu_s)

    async def unpack(
        self,
        source: AbstractAsyncContextManager[BinaryIO],
        position: UnpackPosition,
        max_file_bytes: int,
        owner: str = "",
    ) -> tuple[Unpacking, float]:
        """Unpack the next files of a ZIP file; return them with the CPU seconds that took.

        It takes a place for long files. Raises what `parse` raises, and see `unpack_some`.
        """
        task = replace(self._task("", None), unpack=asdict(position), max_file_bytes=max_file_bytes)
        async with self._long.place(owner), self._in_time(), source as file:
            run = await self._forks.run(task, file, task.max_reply_bytes)
        return await self._read(run, task, unpack_unpacked), run.ended.cpu_s

    async def _read(self, run: Run, task: Task, read: Callable[[bytes], T]) -> T:
        """Read the reply of a child; raise the error in it, or that of its death."""
        try:
            if run.ended.status != 0 or len(run.reply) > task.max_reply_bytes:
                raise self._cause(run, task)
            # A large reply takes long to read.
            large = len(run.reply) > _LARGE_REPLY_BYTES
            return await asyncio.to_thread(read, run.reply) if large else read(run.reply)
        except InvalidRequest as error:
            error.cpu_s = run.ended.cpu_s
            raise

    def _task(self, filename: str, chunking: Chunking | None) -> Task:
        settings = self._settings
        chunking = chunking or Chunking(settings.chunk_tokens, 0)
        return Task(
            filename=filename[-_MAX_FILENAME_CHARS:],
            tokenizer_file=str(self._tokenizer_file),
            chunk_tokens=chunking.max_tokens,
            overlap_tokens=chunking.overlap_tokens,
            max_pages=settings.max_pages,
            max_chars=settings.max_chars,
            max_chunks=settings.max_chunks,
            cpu_s=settings.cpu_s,
            wall_s=math.ceil(settings.timeout_s) + _ALARM_GRACE_S,
            memory_bytes=settings.memory_bytes,
        )

    @contextlib.asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                yield
        except TimeoutError:
            raise self._too_slow() from None

    def _cause(self, run: Run, task: Task) -> Unprocessable:
        """Return the error that the exit status of a dead child suggests."""
        status = run.ended.status
        exceeded = f"The file needs more than {task.cpu_s} s of processor time to read."
        if status == -signal.SIGXCPU and task.cpu_s < self._settings.cpu_s:
            return Unprocessable(exceeded, code=SHORT_PARSE_EXCEEDED)
        logger.warning("a parser process ended with status {}: {}", status, run.last_line)
        if status == -signal.SIGALRM:
            return self._too_slow()
        if status >= 0 or len(run.reply) > task.max_reply_bytes:  # which this process killed
            return Unprocessable(_DAMAGED, code="unreadable")
        if status == -signal.SIGKILL:
            # By the kernel for lack of memory, or from outside: a retry may succeed.
            msg = "The file could not be read: the process that read it was killed."
            return Unprocessable(msg, code="reader_killed")
        memory = "The file could not be read: it may need more memory than is allowed."
        return Unprocessable(exceeded if status == -signal.SIGXCPU else memory, code="too_complex")

    def _too_slow(self) -> Unprocessable:
        msg = f"The file took more than {self._settings.timeout_s:g} s to read."
        error = Unprocessable(msg, code="parse_timeout")
        error.cpu_s = self._settings.cpu_s  # at most: the process was killed before it was measured
        return error


@contextlib.contextmanager
def _file_of(recognised: Mapping[str, str] | None) -> Iterator[BinaryIO | None]:
    """Write texts into a file in memory, for a child: they may be too long for a message."""
    if recognised is None:
        yield None
        return
    with os.fdopen(os.memfd_create("recognised", os.MFD_CLOEXEC), "w+b") as file:
        file.write(json.dumps(recognised).encode())
        file.flush()
        file.seek(0)
        yield file


def _places(what: str, places: int, calls: int, shares: Mapping[str, float] | None) -> FairPlaces:
    waiting = max(calls // 2 - places, 0)
    return FairPlaces(
        places,
        shares=shares,
        max_waiting=waiting,
        max_waiting_of_one=(waiting + 1) // 2,
        what=what,
    )


_DAMAGED = "The file could not be read: it may be damaged."
