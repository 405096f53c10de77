"""Return freed memory to the system."""

from __future__ import annotations

import ctypes
import sys


def trim() -> None:
    """Have glibc return the pages of freed blocks, which it keeps otherwise; takes milliseconds.

    Buffers of gRPC and of request bodies are freed in between others, so that the heap of a
    replica stayed at its largest size. Elsewhere than on Linux with glibc, do nothing.
    """
    if sys.platform == "linux" and (trimmed := getattr(ctypes.CDLL(None), "malloc_trim", None)):
        trimmed(0)
