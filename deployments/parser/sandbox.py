"""Parse files in child processes, each with limits and one file only."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import sys
from pathlib import Path
from subprocess import PIPE, Popen
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from loguru import logger

from deployments.errors import Unprocessable
from deployments.parser.messages import Task, unpack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from contextlib import AbstractAsyncContextManager

    from deployments.parser.messages import ChunkedDocument
    from deployments.settings import ParserSettings

_CHILD = "deployments.parser.child"
_ROOT = Path(__file__).parents[2]
_KEPT_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "LANG", "LC_ALL")
_MAX_FILENAME_CHARS = 255
_BLOCK_BYTES = 256 * 1024
_LOG_TAIL_BYTES = 300
_ALARM_GRACE_S = 5
_POLL_S = 0.005


class Sandbox:
    """Parse each file in a child process of its own.

    A child has limits on memory, processor time and wall-clock time, no secrets in its
    environment, and may write no file. Its death fails only the file that it was parsing.
    """

    def __init__(
        self, settings: ParserSettings, tokenizer_path: str, *, processes: int = 1
    ) -> None:
        """Check that the tokenizer exists.

        Args:
            settings: the limits of a file and of a child process.
            tokenizer_path: the embedder's `tokenizer.json`, or the folder that contains it.
            processes: how many files are parsed at the same time.

        Raises:
            ValueError: there is no `tokenizer.json`.
        """
        path = Path(tokenizer_path)
        self._tokenizer_file = (path / "tokenizer.json" if path.is_dir() else path).resolve()
        if not self._tokenizer_file.is_file():
            msg = "the parser needs a tokenizer.json beside the embedder's weights"
            raise ValueError(msg)
        self._settings = settings
        self._children = asyncio.Semaphore(processes)

    async def parse(
        self, source: AbstractAsyncContextManager[BinaryIO], filename: str
    ) -> ChunkedDocument:
        """Parse a file.

        Args:
            source: opens the file, which must have a descriptor; entered only once a child
                process may start, so that waiting calls hold nothing.
            filename: the name of the file, for its format and title.

        Raises:
            UnsupportedMedia: the format is not supported.
            TooLarge: a limit is exceeded.
            Unprocessable: the file is empty, encrypted, damaged or without text, or killed
                the process that read it.
        """
        task = self._task(filename)
        async with self._children, self._in_time(), source as file:
            reply, last_line, status = await self._run(task, file)
        if status == 0 and len(reply) <= task.max_reply_bytes:
            return await asyncio.to_thread(unpack, reply)
        logger.warning("a parser process ended with status {}: {}", status, last_line)
        if len(reply) > task.max_reply_bytes:  # this process killed it
            raise Unprocessable(_DAMAGED, code="unreadable")
        raise self._cause(status)

    def _task(self, filename: str) -> Task:
        settings = self._settings
        return Task(
            filename=filename[-_MAX_FILENAME_CHARS:],
            tokenizer_file=str(self._tokenizer_file),
            chunk_tokens=settings.chunk_tokens,
            max_pages=settings.max_pages,
            max_chars=settings.max_chars,
            max_chunks=settings.max_chunks,
            cpu_s=settings.cpu_s,
            wall_s=math.ceil(settings.timeout_s) + _ALARM_GRACE_S,
            memory_bytes=settings.memory_bytes,
        )

    async def _run(self, task: Task, file: BinaryIO) -> tuple[bytes, str, int]:
        """Run a child to its end; return its reply, the last line of its log and its status."""
        child = _start(task, file)
        try:
            async with (
                _reading(child.stdout) as output,
                _reading(child.stderr) as log,
                asyncio.TaskGroup() as group,
            ):
                reply = group.create_task(_read_reply(child, output, task.max_reply_bytes))
                last_line = group.create_task(_read_last_line(log))
                status = group.create_task(_exit_status(child))
        finally:
            _kill(child)
            await _exit_status(child)
        return reply.result(), last_line.result(), status.result()

    @contextlib.asynccontextmanager
    async def _in_time(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._settings.timeout_s):
                yield
        except TimeoutError:
            raise self._too_slow() from None

    def _cause(self, status: int) -> Unprocessable:
        """Return the error that the exit status of a dead child suggests."""
        if status == -signal.SIGALRM:
            return self._too_slow()
        if status == -signal.SIGXCPU:
            msg = f"The file needs more than {self._settings.cpu_s} s of processor time to read."
            return Unprocessable(msg, code="too_complex")
        if status == -signal.SIGKILL:
            # By the kernel for lack of memory, or from outside: a retry may succeed.
            msg = "The file could not be read: the process that read it was killed."
            return Unprocessable(msg, code="reader_killed")
        if status < 0:
            msg = "The file could not be read: it may need more memory than is allowed."
            return Unprocessable(msg, code="too_complex")
        return Unprocessable(_DAMAGED, code="unreadable")

    def _too_slow(self) -> Unprocessable:
        msg = f"The file took more than {self._settings.timeout_s:g} s to read."
        return Unprocessable(msg, code="parse_timeout")


_DAMAGED = "The file could not be read: it may be damaged."


def _environment() -> dict[str, str]:
    """Return an environment without secrets that limits libraries to one thread."""
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    paths = [str(_ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return environment | {
        "PYTHONPATH": os.pathsep.join(paths),
        "TOKENIZERS_PARALLELISM": "false",
        "RAYON_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


def _start(task: Task, file: BinaryIO) -> Popen[bytes]:
    """Start a child with the file as its standard input; take milliseconds.

    `subprocess` rather than asyncio: uvloop forks, and the fork handlers of gRPC, which Ray
    loads into this process, sometimes crash the child. `Popen` uses vfork, which runs none.
    """
    return Popen(  # noqa: S603 - our own module
        [sys.executable, "-m", _CHILD, task.to_json()],
        stdin=file,
        stdout=PIPE,
        stderr=PIPE,
        env=_environment(),
        start_new_session=True,
    )


@contextlib.asynccontextmanager
async def _reading(pipe: IO[bytes] | None) -> AsyncIterator[asyncio.StreamReader]:
    """Attach a pipe to the event loop, and close it at the end."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), cast("IO[bytes]", pipe)
    )
    try:
        yield reader
    finally:
        transport.close()


async def _read_reply(child: Popen[bytes], stdout: asyncio.StreamReader, max_bytes: int) -> bytes:
    """Read the reply; kill the child if it is longer than a valid reply can be."""
    reply = bytearray()
    while block := await stdout.read(_BLOCK_BYTES):
        if len(reply) <= max_bytes:
            reply += block
        else:
            _kill(child)
    return bytes(reply)


async def _read_last_line(stderr: asyncio.StreamReader) -> str:
    """Read the log to its end; return only the last line, as others may quote the document."""
    tail = b""
    while block := await stderr.read(_BLOCK_BYTES):
        tail = (tail + block)[-_LOG_TAIL_BYTES:]
    lines = tail.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


async def _exit_status(child: Popen[bytes]) -> int:
    while (status := child.poll()) is None:  # noqa: ASYNC110 - Popen has no event to wait for
        await asyncio.sleep(_POLL_S)
    return status


def _kill(child: Popen[bytes]) -> None:
    """Kill the child and its process group."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
