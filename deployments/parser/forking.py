"""Client of the template process: start it, have it fork a child for a file, restart it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import sys
from dataclasses import asdict, dataclass
from subprocess import DEVNULL, Popen, TimeoutExpired
from typing import TYPE_CHECKING, Any, BinaryIO

from loguru import logger

from deployments.child_processes import environment
from deployments.parser.template import MAX_MESSAGE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployments.parser.messages import Task

_MODULE = "deployments.parser.template"
_BLOCK_BYTES = 256 * 1024
_LOG_TAIL_BYTES = 300
_KILLED_WAIT_S = 30.0  # a template may still be starting
_STOP_WAIT_S = 5.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a child ended: its exit status, negative for a signal, and the CPU time that it took."""

    status: int
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Run:
    """A child that has ended: its reply, and the last line of its log."""

    reply: bytes
    last_line: str
    ended: Ended


class Forks:
    """Runs one child process per file, forked from a template that is started when needed.

    Any number of children may run at the same time. Cancelling a run kills its child.
    """

    def __init__(self, tokenizer_file: str) -> None:
        self._tokenizer_file = tokenizer_file
        self._template: _Template | None = None

    def start(self) -> None:
        """Start the template unless it runs; return before it has imported the readers."""
        if self._template is None or not self._template.alive:
            self.close()
            self._template = _Template(self._tokenizer_file)

    def close(self) -> None:
        """Stop the template, and with it all children."""
        if self._template is not None:
            self._template.close()
            self._template = None

    async def run(
        self, task: Task, file: BinaryIO, max_reply_bytes: int, second_file: BinaryIO | None = None
    ) -> Run:
        """Run a child with the file as its standard input; kill it if its reply is too long.

        `second_file` holds recognised texts, or takes the pictures for OCR, as the task says.
        """
        self.start()
        template = self._template
        assert template is not None  # noqa: S101 - `start` has just set it
        with contextlib.ExitStack() as ends:
            output, output_end = _pipe(ends)
            log, log_end = _pipe(ends)
            inputs = [] if second_file is None else [second_file.fileno()]
            child = template.fork(
                task, (file.fileno(), output_end.fileno(), log_end.fileno(), *inputs)
            )
            output_end.close()
            log_end.close()
            reply_reader, log_reader = (
                ends.enter_context(_reading(pipe)) for pipe in (output, log)
            )
            try:
                async with asyncio.TaskGroup() as group:
                    reply = group.create_task(_read_reply(child, reply_reader, max_reply_bytes))
                    last_line = group.create_task(_read_last_line(log_reader))
                    ended = await asyncio.shield(child.ended)
            finally:
                await child.kill()
        return Run(reply.result(), last_line.result(), ended)


class _Child:
    """A child that was requested; `ended` gets its end, also that of the template."""

    def __init__(self, template: _Template, number: int) -> None:
        self._template = template
        self._number = number
        self.pid: int | None = None
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()

    def request_kill(self) -> None:
        if not self.ended.done():
            self._template.send({"kill": self._number})

    async def kill(self) -> None:
        """Kill the child unless it has ended, and wait until it has."""
        self.request_kill()
        try:
            async with asyncio.timeout(_KILLED_WAIT_S):
                await asyncio.shield(self.ended)
        except TimeoutError:
            self._template.abandon()


class _Template:
    """A running template and the children forked from it."""

    def __init__(self, tokenizer_file: str) -> None:
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._numbers = itertools.count()
        self._children: dict[int, _Child] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self.alive = True
        with theirs:
            # `subprocess` rather than asyncio: uvloop forks, and the fork handlers of gRPC, which
            # Ray loads into this process, sometimes crash the child. `Popen` uses vfork.
            self._process = Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", _MODULE, str(theirs.fileno()), tokenizer_file],
                stdin=DEVNULL,
                stdout=DEVNULL,
                env=environment(TOKENIZERS_PARALLELISM="false", RAYON_NUM_THREADS="1"),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        self._channel.settimeout(0)

    def fork(self, task: Task, descriptors: tuple[int, ...]) -> _Child:
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._channel.fileno(), self._receive)
        child = _Child(self, next(self._numbers))
        self._children[child._number] = child  # noqa: SLF001
        self.send({"run": child._number, "task": asdict(task)}, descriptors)  # noqa: SLF001
        return child

    def send(self, message: dict[str, Any], descriptors: tuple[int, ...] = ()) -> None:
        try:
            socket.send_fds(self._channel, [json.dumps(message).encode()], descriptors)
        except OSError:
            self.abandon()

    def _receive(self) -> None:
        while True:
            try:
                message = self._channel.recv(MAX_MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message:
                self.abandon()
                return
            report = json.loads(message)
            if "started" in report:
                self._children[report["started"]].pid = report["pid"]
            else:
                child = self._children.pop(report["ended"])
                child.ended.set_result(Ended(report["status"], report["cpu_s"]))

    def abandon(self) -> None:
        """Kill the template and all children; their files end as if the child had been killed."""
        if not self.alive:
            return
        self.alive = False
        logger.warning("the template of the parser processes has ended; another one is started")
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._channel.fileno())
        self._channel.close()
        self._process.kill()
        self._process.wait()
        for child in self._children.values():
            if child.pid is not None:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.pid, signal.SIGKILL)
        self._end_runs()

    def close(self) -> None:
        """Stop the template, which kills its children."""
        if not self.alive:
            return
        self.alive = False
        if self._loop is not None and not self._loop.is_closed():
            self._loop.remove_reader(self._channel.fileno())
        self._channel.close()
        try:
            self._process.wait(_STOP_WAIT_S)
        except TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._end_runs()

    def _end_runs(self) -> None:
        """End the runs as if their children had been killed, which they were."""
        if self._loop is not None and not self._loop.is_closed():
            for child in self._children.values():
                if not child.ended.done():
                    child.ended.set_result(Ended(-signal.SIGKILL, 0.0))
        self._children.clear()


def _pipe(ends: contextlib.ExitStack) -> tuple[BinaryIO, BinaryIO]:
    """Return the reading and the writing end of a pipe."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    return (
        ends.enter_context(os.fdopen(reading, "rb", buffering=0)),
        ends.enter_context(os.fdopen(writing, "wb", buffering=0)),
    )


@contextlib.contextmanager
def _reading(pipe: BinaryIO) -> Iterator[asyncio.StreamReader]:
    """Read a pipe on the event loop until this context is left, which leaves the pipe open.

    Not by `connect_read_pipe`: a transport of uvloop closes the descriptor in the next turn of the
    loop. The pipe has been closed here by then, and its number may be that of another file.
    """
    reader, loop, descriptor = asyncio.StreamReader(), asyncio.get_running_loop(), pipe.fileno()
    os.set_blocking(descriptor, False)

    def read() -> None:
        try:
            block = os.read(descriptor, _BLOCK_BYTES)
        except BlockingIOError:
            return
        if block:
            reader.feed_data(block)
        else:
            loop.remove_reader(descriptor)
            reader.feed_eof()

    loop.add_reader(descriptor, read)
    try:
        yield reader
    finally:
        loop.remove_reader(descriptor)


async def _read_reply(child: _Child, output: asyncio.StreamReader, max_bytes: int) -> bytes:
    """Read the reply; kill the child if it is longer than a valid reply can be."""
    reply = bytearray()
    while block := await output.read(_BLOCK_BYTES):
        if len(reply) <= max_bytes:
            reply += block
        else:
            child.request_kill()
    return bytes(reply)


async def _read_last_line(log: asyncio.StreamReader) -> str:
    """Read the log to its end; return only the last line, as others may quote the document."""
    tail = b""
    while block := await log.read(_BLOCK_BYTES):
        tail = (tail + block)[-_LOG_TAIL_BYTES:]
    lines = tail.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else ""
