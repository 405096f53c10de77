"""Client of the OCR process: start it when needed, end it when idle or stuck."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from dataclasses import dataclass
from subprocess import DEVNULL, Popen
from typing import BinaryIO

from loguru import logger

from deployments.child_processes import environment
from deployments.parser.ocr.worker import MAX_MESSAGE_BYTES

IDLE_S = 120.0
"""The process, and with it the memory of the models, is released after so long without a page."""
PAGE_WAIT_S = 600.0
"""Wall-clock time of a page: the process has the lowest priority. `PAGE_CPU_S` is its work."""
_MODULE = "deployments.parser.ocr.worker"


@dataclass(frozen=True, slots=True)
class Page:
    """What was recognised on a page; `error` is the code of what prevented it.

    `lines` were found, and `confidence` in them is between 0 and 1. `script` is named if it is
    known and is not one of the models'.
    """

    text: str = ""
    confidence: float = 0.0
    lines: int = 0
    script: str = ""
    error: str = ""
    cpu_s: float = 0.0


class OcrKilledError(Exception):
    """The process was killed from outside, or by the kernel for lack of memory."""


class OcrProcess:
    """Reads one page at a time; cancelling a call ends the process."""

    def __init__(self) -> None:
        self._process: Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._end: asyncio.TimerHandle | None = None
        self._reply: asyncio.Future[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process, if it runs."""
        return None if self._process is None else self._process.pid

    async def read(
        self, file: BinaryIO, media_type: str, page: int, start: int, size: int | None = None
    ) -> Page:
        """Read a page, from 1, of a document in a file: from byte `start` on, of `size` bytes.

        Raises:
            OcrKilledError: a retry may succeed.
        """
        if self._end is not None:
            self._end.cancel()
            self._end = None
        request = {"page": page, "media_type": media_type, "start": start, "size": size}
        ended = True
        try:
            channel = self._started()
            async with asyncio.timeout(PAGE_WAIT_S):
                reply = await self._exchange(channel, json.dumps(request).encode(), file.fileno())
            if not reply:
                return self._cause()
            ended = False
            return _page(reply)
        except TimeoutError:
            return Page(error="too_slow")
        finally:
            if ended:
                self.close()
            else:
                self._end = asyncio.get_running_loop().call_later(IDLE_S, self.close)

    def close(self) -> None:
        """End the process; a page under way fails as if it had been killed."""
        self._give_up()
        if self._end is not None:
            self._end.cancel()
            self._end = None
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # with what it has started
            self._process.wait()
            self._process = None

    async def _exchange(self, channel: socket.socket, request: bytes, descriptor: int) -> bytes:
        """Send a request and return the reply, empty if the process has ended."""
        loop, number = asyncio.get_running_loop(), channel.fileno()
        reply: asyncio.Future[bytes] = loop.create_future()

        def receive() -> None:
            try:
                message = channel.recv(MAX_MESSAGE_BYTES)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            loop.remove_reader(number)
            if not reply.done():
                reply.set_result(message)

        try:
            socket.send_fds(channel, [request], [descriptor])
        except OSError:
            return b""
        self._reply = reply
        loop.add_reader(number, receive)
        try:
            return await reply
        finally:
            if self._reply is reply:
                loop.remove_reader(number)
                self._reply = None

    def _give_up(self) -> None:
        """End the wait for a reply before its socket is closed, whose number is used again."""
        reply, self._reply = self._reply, None
        if reply is None or self._channel is None or reply.get_loop().is_closed():
            return
        reply.get_loop().remove_reader(self._channel.fileno())
        if not reply.done():
            reply.set_result(b"")

    def _started(self) -> socket.socket:
        if self._process is not None and self._process.poll() is not None:
            self.close()
        if self._channel is None:
            self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._channel.settimeout(0)
            with theirs:
                self._process = Popen(  # noqa: S603 - our own module
                    [sys.executable, "-m", _MODULE, str(theirs.fileno())],
                    stdin=DEVNULL,
                    stdout=DEVNULL,
                    stderr=DEVNULL,  # what libraries print may quote the document
                    env=environment(
                        *("TESSDATA_PREFIX", "CUDA_VISIBLE_DEVICES"),
                        OMP_THREAD_LIMIT="1",
                        # Tensors of different sizes would fragment the heap.
                        MALLOC_MMAP_THRESHOLD_="32000000",
                    ),
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,
                )
        return self._channel

    def _cause(self) -> Page:
        """Return the error that the exit status of the dead process suggests."""
        if self._process is None:  # it was closed here
            raise OcrKilledError
        status = self._process.wait()
        logger.warning("the OCR process ended with status {}", status)
        if status in {-signal.SIGKILL, -signal.SIGTERM}:
            raise OcrKilledError
        return Page(error="too_slow" if status == -signal.SIGXCPU else "unreadable")


def _page(reply: bytes) -> Page:
    try:
        return Page(**json.loads(reply))
    except ValueError:  # longer than a message may be
        return Page(error="unreadable")
