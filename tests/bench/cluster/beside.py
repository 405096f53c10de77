"""Asynchronous work in a thread of its own, beside whatever a proof does meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    Work = Callable[[threading.Event], Coroutine[None, None, None]]


@contextlib.contextmanager
def beside(work: Work) -> Iterator[None]:
    """Run `work` until the block ends, which its event tells it, and wait until it has ended."""
    stop = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(work(stop)), name="beside")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
