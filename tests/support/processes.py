"""Starts a system in a session of its own, counts its CPU time, and stops all of it."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_START_TIMEOUT_S = 900.0
_STOP_TIMEOUT_S = 90.0  # the service lets its streams end
_KILL_TIMEOUT_S = 10.0
_POLL_S = 0.25
_POLL_TIMEOUT_S = 5.0
_LOG_TAIL_LINES = 30
_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
_STOPPING = (signal.SIGINT, signal.SIGTERM)


class StartError(Exception):
    """A system did not start; the message holds the end of its log."""


@dataclass(frozen=True)
class Command:
    """How a system is started, and the address that answers 200 once it is ready."""

    args: tuple[str, ...]
    ready_url: str
    env: Mapping[str, str] = field(default_factory=dict)
    folder: Path = ROOT


@dataclass(frozen=True)
class CpuTimes:
    """CPU seconds so far of each process of a tree, by its number and start; and its name."""

    of: Mapping[tuple[int, float], tuple[str, float]]

    def since(self, earlier: CpuTimes) -> dict[str, float]:
        """What was spent in between, by process name, by those that are still there."""
        spent: dict[str, float] = {}
        for key, (name, total_s) in self.of.items():
            _, before_s = earlier.of.get(key, (name, 0.0))
            spent[name] = spent.get(name, 0.0) + total_s - before_s
        return spent


def free_port() -> int:
    """Find a port of this machine that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@contextlib.contextmanager
def started(command: Command, log: Path) -> Iterator[psutil.Process]:
    """Run a system until the block ends; its output goes to `log`.

    Raises StartError if it ends or is not ready in time.
    """
    with log.open("wb") as output:
        process = psutil.Popen(
            command.args,
            cwd=command.folder,
            env=os.environ | dict(command.env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is ours to pass on
        )
    try:
        _wait_until_ready(process, command.ready_url, log)
        yield process
    finally:
        _stop(process)


def cpu_times(process: psutil.Process) -> CpuTimes:
    """Read user and system time of a process and all its descendants."""
    found: dict[tuple[int, float], tuple[str, float]] = {}
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess), one.oneshot():
            times = one.cpu_times()
            # What follows the first dot is what an actor is doing now.
            name = one.name().partition(".")[0]
            found[one.pid, one.create_time()] = (name, times.user + times.system)
    return CpuTimes(found)


def _wait_until_ready(process: psutil.Popen, url: str, log: Path) -> None:
    began = time.monotonic()
    while time.monotonic() - began < _START_TIMEOUT_S:
        if process.poll() is not None:
            msg = f"it ended while starting:\n{tail(log)}"
            raise StartError(msg)
        # Refused, and a status such as 503 while models load, are both OSErrors of urllib.
        with (
            contextlib.suppress(OSError, http.client.HTTPException),
            _DIRECT.open(url, timeout=_POLL_TIMEOUT_S),
        ):
            return
        time.sleep(_POLL_S)
    msg = f"not ready after {_START_TIMEOUT_S:.0f} s:\n{tail(log)}"
    raise StartError(msg)


def tail(log: Path) -> str:
    """Read the end of a log."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-_LOG_TAIL_LINES:])


def _stop(process: psutil.Popen) -> None:
    """End it as Ctrl-C would, then kill what is left of its tree."""
    # A second Ctrl-C must not leave processes behind.
    before = {number: signal.signal(number, signal.SIG_IGN) for number in _STOPPING}
    try:
        tree: list[psutil.Process] = [process]
        with contextlib.suppress(psutil.NoSuchProcess):
            tree += process.children(recursive=True)
            process.send_signal(signal.SIGINT)
        with contextlib.suppress(psutil.TimeoutExpired):
            process.wait(_STOP_TIMEOUT_S)
        _, left = psutil.wait_procs(tree, _KILL_TIMEOUT_S)
        for one in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        # Born after the tree was read, or orphaned before.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        psutil.wait_procs(tree, _KILL_TIMEOUT_S)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
