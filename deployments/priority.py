"""Scheduling priority of background work that shares cores with requests."""

from __future__ import annotations

import contextlib
import os
import threading

LOWEST_PRIORITY = 19
"""The highest nice value."""


def lower_priority(nice: int = LOWEST_PRIORITY) -> None:
    """Give the calling thread, and all threads and processes it starts, a low priority.

    On Linux the nice value belongs to a thread: the rest of the process is not affected. It
    cannot be raised again.
    """
    with contextlib.suppress(OSError):  # an optimisation that no work should fail for
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), nice)
