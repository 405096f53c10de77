"""Template process: it imports the readers once and forks a child process for each file.

A fork takes milliseconds, where a new interpreter with the readers takes most of a second. The
template has one thread, no secrets and no event loop, so its children start in a known state.

Requests and replies are JSON messages on a socket of the type SOCK_SEQPACKET:

    {"run": 7, "task": {...}}, with the descriptors of the file, the reply and the log, and of
        the texts that were recognised by OCR, or of a file for pictures
    {"kill": 7}
    {"started": 7, "pid": 123}
    {"ended": 7, "status": -9, "cpu_s": 0.02}

Only the template waits for its children, so the number of a request names a child until its end
was reported, which a process id would not. When the socket is closed, the template kills its
children and ends.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import select
import signal
import socket
import sys
from typing import Any, NoReturn

from deployments.parser.child import parse_file
from deployments.parser.messages import Task

MAX_MESSAGE_BYTES = 64 * 1024
_MAX_TASK_DESCRIPTORS = 4
_MAX_DESCRIPTORS = 256  # of the template itself, which opens a handful
_PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None)


def main() -> int:
    """Serve the socket given as the first argument; the second is the tokenizer to load."""
    channel = socket.socket(fileno=int(sys.argv[1]))
    _import_readers(sys.argv[2])
    # Frozen objects are left alone by the collector, so children share the pages they lie on.
    gc.collect()
    gc.freeze()
    Template(channel).serve()
    return 0


def _import_readers(tokenizer_file: str) -> None:
    """Import what a child would import, and load what it would load."""
    import pypdf  # noqa: F401 - for the children
    import pypdfium2_raw  # noqa: F401 - loads the library; each child initialises it

    import deployments.parser.reading.pdf  # noqa: F401
    from deployments.parser.chunking.chunker import load_tokenizer
    from deployments.parser.chunking.markdown import markdown_blocks
    from deployments.parser.reading.html import read_html
    from deployments.parser.reading.markdown import read_markdown
    from deployments.parser.reading.text import read_text

    load_tokenizer(tokenizer_file)
    markdown_blocks("# A page to warm up with\n")
    read_text(b"A page to warm up with", "warm.txt", max_chars=1000)
    read_markdown(b"A page to warm up with", "warm.md", max_chars=1000)
    read_html(b"<p>A page to warm up with", "warm.html", max_chars=1000)


class Template:
    """Forks children for the requests on a socket and reports how they end."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel
        self._children: dict[int, int] = {}  # number of the request by process id

    def serve(self) -> None:
        """Serve requests until the socket is closed."""
        woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        poll = select.poll()
        poll.register(self._channel, select.POLLIN)
        poll.register(woken, select.POLLIN)
        try:
            while True:
                ready = {descriptor for descriptor, _ in poll.poll()}
                if woken in ready:
                    os.read(woken, 4096)
                    self._reap()
                if self._channel.fileno() in ready and not self._take_request():
                    return
        finally:
            for pid in self._children:
                _kill(pid)

    def _take_request(self) -> bool:
        """Serve one request; return False if the socket was closed."""
        try:
            message, descriptors, _, _ = socket.recv_fds(
                self._channel, MAX_MESSAGE_BYTES, _MAX_TASK_DESCRIPTORS
            )
        except ConnectionError:
            return False
        if not message:
            return False
        request = json.loads(message)
        if "run" in request:
            self._fork(request["run"], request["task"], descriptors)
        else:
            for pid, number in self._children.items():
                if number == request["kill"]:
                    _kill(pid)
        return True

    def _fork(self, number: int, task: dict[str, Any], descriptors: list[int]) -> None:
        template = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            self._report({"ended": number, "status": 1, "cpu_s": 0.0})
            _close(descriptors)
            return
        if pid == 0:
            self._run_child(task, descriptors, template)
        _close(descriptors)
        self._children[pid] = number
        self._report({"started": number, "pid": pid})

    def _run_child(self, task: dict[str, Any], descriptors: list[int], parent: int) -> NoReturn:
        """Parse the file in this process, which was just forked, and end it."""
        status = 1
        try:
            os.setsid()
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for target, descriptor in enumerate(descriptors):
                os.dup2(descriptor, target)
            os.closerange(len(descriptors), _MAX_DESCRIPTORS)
            if os.getppid() == parent:  # else it ended before PR_SET_PDEATHSIG was set
                status = parse_file(Task(**task))
        finally:
            os._exit(status)

    def _reap(self) -> None:
        while self._children:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
            if pid == 0:
                return
            self._report(
                {
                    "ended": self._children.pop(pid),
                    "status": os.waitstatus_to_exitcode(status),
                    "cpu_s": usage.ru_utime + usage.ru_stime,
                }
            )

    def _report(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError):  # the next poll finds the socket closed
            self._channel.send(json.dumps(message).encode())


def _close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


def _kill(pid: int) -> None:
    """Kill a child, which is not waited for yet, and its process group, if it has one already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
