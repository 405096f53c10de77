"""Stop the service: the signals that ask for it, and the end of its processes."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess

_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_STOP_TIMEOUT_S = 60.0


def interrupt_on_signals() -> None:
    """Raise KeyboardInterrupt on SIGINT, SIGTERM and SIGHUP.

    An ignored SIGHUP stays ignored: only `nohup` and its like set that, so that the service
    outlives its terminal. SIGINT and SIGTERM are taken back: they are the documented ways to
    stop the service, and a shell without job control ignores SIGINT for each `command &`
    without being asked to.
    """
    for number in _STOPPING:
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)


def stop(service: subprocess.Popen[bytes]) -> None:
    """End `serve run` as Ctrl-C does, then kill what is left of its session."""
    # A second Ctrl-C must not leave processes behind.
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)
    if service.poll() is None:
        service.send_signal(signal.SIGINT)
    with contextlib.suppress(subprocess.TimeoutExpired):
        service.wait(_STOP_TIMEOUT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(service.pid, signal.SIGKILL)
    service.wait()
