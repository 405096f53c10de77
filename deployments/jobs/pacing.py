"""Throttle background work that shares the embedder with searches."""

from __future__ import annotations

import asyncio

_ASKED_S = 10.0  # after a search, background work is throttled for this time
_PAUSES_IF_ASKED = 3.0  # times the duration of a slice: work takes a quarter of the time
_PAUSES_IF_IDLE = 0.2
_KEPT_SHARE = 0.95  # the weight of the old mean at each update


class Rate:
    """The moving average of chunks per second; 0 while nothing is known."""

    def __init__(self) -> None:
        self.per_s = 0.0

    def add(self, chunks: int, took_s: float) -> None:
        """Add some work."""
        rate = chunks / max(took_s, 1e-6)
        if self.per_s:
            rate = _KEPT_SHARE * self.per_s + (1 - _KEPT_SHARE) * rate
        self.per_s = rate


async def yield_to_searches(took_s: float, idle_s: float) -> None:
    """Sleep after a slice of background work.

    For 3 times `took_s` if the last search was less than 10 s ago (`idle_s`), else 0.2 times.
    """
    await asyncio.sleep(took_s * (_PAUSES_IF_ASKED if idle_s < _ASKED_S else _PAUSES_IF_IDLE))
