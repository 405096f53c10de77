"""A parser that reads every file in a process of its own, which may die without harm."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import sys
import tempfile
from pathlib import Path
from subprocess import PIPE, Popen
from typing import IO, TYPE_CHECKING, cast

from loguru import logger

from deployments.errors import Unprocessable
from deployments.parser.messages import Task, unpack

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from deployments.settings import ParserSettings
    from deployments.types import ParsedDocument

_CHILD = "deployments.parser.child"
_ROOT = Path(__file__).parents[2]
_KEPT_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "LANG", "LC_ALL")
_MAX_FILENAME_CHARS = 255
_PIECE_BYTES = 256 * 1024
_LAST_WORDS_BYTES = 300
_ALARM_GRACE_S = 5
_POLL_S = 0.005


class SandboxedParser:
    """Implements `Parser` with a killable child process a file.

    A child has limits on memory, processor time and wall clock, no secrets, nothing it may
    write; when it dies, that is its own file's failure.
    """

    def __init__(
        self, settings: ParserSettings, tokenizer_path: str, *, processes: int = 1
    ) -> None:
        """Keep the bounds.

        Args:
            settings: the bounds of a file and of a child.
            tokenizer_path: the embedder's `tokenizer.json`, or the folder it lies in.
            processes: how many files are read at the same time.
        """
        path = Path(tokenizer_path)
        self._tokenizer_file = (path / "tokenizer.json" if path.is_dir() else path).resolve()
        if not self._tokenizer_file.is_file():
            msg = "the parser needs a tokenizer.json beside the embedder's weights"
            raise ValueError(msg)
        self._settings = settings
        self._children = asyncio.Semaphore(processes)

    async def parse(self, data: bytes, filename: str) -> ParsedDocument:
        """Read a file of any size the caller has admitted.

        Raises:
            UnsupportedMedia: in no format that is read.
            TooLarge: over one of the bounds.
            Unprocessable: empty, encrypted, damaged, without text, or deadly to its reader.
        """
        task = self._task(filename)
        async with self._children:
            reply, last_words, status = await self._run(task, data)
        if status == 0 and len(reply) <= task.max_reply_bytes:
            return unpack(reply)
        logger.warning("a parser process ended with status {}: {}", status, last_words)
        if len(reply) > task.max_reply_bytes:  # then it was us who stopped it
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

    async def _run(self, task: Task, data: bytes) -> tuple[bytes, str, int]:
        """Start a child and see it through: its answer, the end of its log, its status."""
        child = await _start(task, data)
        try:
            async with (
                asyncio.timeout(self._settings.timeout_s),
                _reading(child.stdout) as answers,
                _reading(child.stderr) as log,
                asyncio.TaskGroup() as group,
            ):
                reply = group.create_task(_answer(child, answers, task.max_reply_bytes))
                words = group.create_task(_last_words(log))
                status = group.create_task(_exit_status(child))
        except TimeoutError:
            raise self._too_slow() from None
        finally:
            _kill(child)
            await _exit_status(child)
        return reply.result(), words.result(), status.result()

    def _cause(self, status: int) -> Unprocessable:
        """Say why a child died, as far as its status tells."""
        if status == -signal.SIGALRM:
            return self._too_slow()
        if status == -signal.SIGXCPU:
            msg = f"The file needs more than {self._settings.cpu_s} s of processor time to read."
            return Unprocessable(msg, code="too_complex")
        if status == -signal.SIGKILL:
            # By the system, for want of memory, or by somebody: it may go well another time.
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
    """Leave out every secret; a parse is one thread's work, whatever the libraries think."""
    environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
    paths = [str(_ROOT), *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return environment | {
        "PYTHONPATH": os.pathsep.join(paths),
        "TOKENIZERS_PARALLELISM": "false",
        "RAYON_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }


async def _start(task: Task, data: bytes) -> Popen[bytes]:
    """Start a child with the file as its standard input.

    Not by asyncio: uvloop forks, and the fork handlers of gRPC, which Ray has brought into
    this process, crash the child now and then. Python's own Popen uses vfork, which runs none.
    """
    with tempfile.TemporaryFile() as file:
        await asyncio.to_thread(file.write, data)
        file.seek(0)
        return Popen(  # noqa: ASYNC220, S603 - our own module; it returns within milliseconds
            [sys.executable, "-m", _CHILD, task.to_json()],
            stdin=file,
            stdout=PIPE,
            stderr=PIPE,
            env=_environment(),
            start_new_session=True,
        )


@contextlib.asynccontextmanager
async def _reading(pipe: IO[bytes] | None) -> AsyncIterator[asyncio.StreamReader]:
    """Read a pipe on the event loop and close it in the end."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), cast("IO[bytes]", pipe)
    )
    try:
        yield reader
    finally:
        transport.close()


async def _answer(child: Popen[bytes], stdout: asyncio.StreamReader, max_bytes: int) -> bytes:
    """Collect the answer, killing a child that says more than it can have to say."""
    answer = bytearray()
    while piece := await stdout.read(_PIECE_BYTES):
        if len(answer) <= max_bytes:
            answer += piece
        else:
            _kill(child)
    return bytes(answer)


async def _last_words(stderr: asyncio.StreamReader) -> str:
    """Drain the log, keeping its last line only: earlier ones may quote the document."""
    tail = b""
    while piece := await stderr.read(_PIECE_BYTES):
        tail = (tail + piece)[-_LAST_WORDS_BYTES:]
    lines = tail.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


async def _exit_status(child: Popen[bytes]) -> int:
    while (status := child.poll()) is None:  # noqa: ASYNC110 - Popen has no event to wait for
        await asyncio.sleep(_POLL_S)
    return status


def _kill(child: Popen[bytes]) -> None:
    """End the child and all it may have started: it leads its own process group."""
    if child.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
