"""Scheduling priority of background work that shares cores with requests."""

from __future__ import annotations

import contextlib
import os
import threading

_LOWEST_PRIORITY = 19  # the highest nice value


def lower_priority() -> None:
    """Give the calling thread, and all threads and processes it starts, the lowest priority.

    On Linux the nice value belongs to a thread: the rest of the process is not affected. It
    cannot be raised again.
    """
    with contextlib.suppress(OSError):  # an optimisation that no work should fail for
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LOWEST_PRIORITY)
