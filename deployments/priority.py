"""Which work goes first when all of it wants the same cores."""

from __future__ import annotations

import contextlib
import os
import threading

_LEAST_URGENT = 19  # nice value


def yield_to_all_else() -> None:
    """Give the calling thread, and what it starts from now on, the lowest priority.

    Priority is a thread's own on Linux: the rest of the process stays as prompt as it was. There
    is no way back.
    """
    with contextlib.suppress(OSError):  # a courtesy, not worth failing for
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LEAST_URGENT)
