"""A parser that reads every file in a process of its own, which may die without harm."""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, cast

from loguru import logger

from deployments.errors import Unprocessable
from deployments.parser.wire import Task, unpack

if TYPE_CHECKING:
    from asyncio import StreamReader, StreamWriter
    from asyncio.subprocess import Process

    from deployments.settings import ParserSettings
    from deployments.types import ParsedDocument

_CHILD = "deployments.parser.child"
_ROOT = Path(__file__).parents[2]
_KEPT_ENVIRONMENT = ("PATH", "LD_LIBRARY_PATH", "PYTHONHOME", "LANG", "LC_ALL")
_MAX_FILENAME_CHARS = 255
_PIECE_BYTES = 256 * 1024
_LAST_WORDS_BYTES = 300
_ALARM_GRACE_S = 5


class SandboxedParser:
    """Implements `Parser` with a killable child process a file.

    A child has limits on memory, processor time and wall clock, no secrets, nothing it may
    write; when it dies, that is its own file's failure.
    """

    def __init__(self, settings: ParserSettings, tokenizer_path: str) -> None:
        """Keep the bounds.

        Args:
            settings: the bounds of a file and of a child.
            tokenizer_path: the embedder's `tokenizer.json`, or the folder it lies in.
        """
        path = Path(tokenizer_path)
        self._tokenizer_file = (path / "tokenizer.json" if path.is_dir() else path).resolve()
        if not self._tokenizer_file.is_file():
            msg = "the parser needs a tokenizer.json beside the embedder's weights"
            raise ValueError(msg)
        self._settings = settings
        self._children = asyncio.Semaphore(settings.processes)

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
        child = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            _CHILD,
            task.to_json(),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_environment(),
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(self._settings.timeout_s), asyncio.TaskGroup() as group:
                group.create_task(_feed(child, data))
                reply = group.create_task(_answer(child, task.max_reply_bytes))
                log = group.create_task(_last_words(child))
                status = group.create_task(child.wait())
        except TimeoutError:
            raise self._too_slow() from None
        finally:
            await _end(child)
        return reply.result(), log.result(), status.result()

    def _cause(self, status: int) -> Unprocessable:
        """Say why a child died, as far as its status tells."""
        if status == -signal.SIGALRM:
            return self._too_slow()
        if status == -signal.SIGXCPU:
            msg = f"The file needs more than {self._settings.cpu_s} s of processor time to read."
            return Unprocessable(msg, code="too_complex")
        if status < 0:
            msg = "The file could not be read: it may need more memory than is allowed."
            return Unprocessable(msg, code="too_complex")
        return Unprocessable("The file could not be read: it may be damaged.", code="unreadable")

    def _too_slow(self) -> Unprocessable:
        msg = f"The file took more than {self._settings.timeout_s:g} s to read."
        return Unprocessable(msg, code="parse_timeout")


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


async def _feed(child: Process, data: bytes) -> None:
    """Hand over the file in pieces; a child may well answer without having read it all."""
    stdin = cast("StreamWriter", child.stdin)
    # uvloop, on which Ray Serve runs, says RuntimeError where asyncio says BrokenPipeError.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError, RuntimeError):
        for start in range(0, len(data), _PIECE_BYTES):
            stdin.write(data[start : start + _PIECE_BYTES])
            await stdin.drain()
    stdin.close()


async def _answer(child: Process, max_bytes: int) -> bytes:
    """Collect the answer, killing a child that says more than it can have to say."""
    stdout = cast("StreamReader", child.stdout)
    answer = bytearray()
    while piece := await stdout.read(_PIECE_BYTES):
        if len(answer) <= max_bytes:
            answer += piece
        else:
            _kill(child)
    return bytes(answer)


async def _last_words(child: Process) -> str:
    """Drain the log, keeping its last line only: earlier ones may quote the document."""
    stderr = cast("StreamReader", child.stderr)
    tail = b""
    while piece := await stderr.read(_PIECE_BYTES):
        tail = (tail + piece)[-_LAST_WORDS_BYTES:]
    lines = tail.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""


def _kill(child: Process) -> None:
    """End the child and all it may have started: it leads its own process group."""
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


async def _end(child: Process) -> None:
    """Leave neither a process nor an open pipe behind, however the parse ended."""
    _kill(child)
    cast("StreamWriter", child.stdin).close()
    await child.communicate()
