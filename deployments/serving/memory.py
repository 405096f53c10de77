"""The memory of a replica: what is loaded for good, and what is freed."""

from __future__ import annotations

import ctypes
import gc
import sys
import threading
import time

_TRIM_S = 30.0


def trim() -> None:
    """Have glibc return the pages of freed blocks, which it keeps otherwise; takes milliseconds.

    Buffers of gRPC and of request bodies are freed in between others, so that the heap of a
    replica stayed at its largest size. Elsewhere than on Linux with glibc, do nothing.
    """
    if sys.platform == "linux" and (trimmed := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trimmed(0)


def trim_regularly() -> None:
    """Call `trim` every 30 s, in a thread, until this process ends."""

    def trim_for_ever() -> None:
        while True:
            time.sleep(_TRIM_S)
            trim()

    threading.Thread(target=trim_for_ever, name="trim", daemon=True).start()


def keep_loaded() -> None:
    """Leave what is in memory now out of later garbage collections; for the end of a start.

    A full collection over the libraries and the model of a replica holds its event loop, for two
    seconds where vLLM is loaded.
    """
    gc.collect()
    gc.freeze()
