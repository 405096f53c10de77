"""Throttle background work that shares the embedder with searches."""

from __future__ import annotations

import asyncio

_ASKED_S = 10.0  # after a search, the work yields for so long
_PAUSES_IF_ASKED = 3.0  # times what a slice took: a quarter of the time is used
_PAUSES_IF_IDLE = 0.2


async def yield_to_searches(took_s: float, idle_s: float) -> None:
    """Sleep after a slice of background work.

    For 3 times `took_s` if the last search was less than 10 s ago (`idle_s`), else 0.2 times.
    """
    await asyncio.sleep(took_s * (_PAUSES_IF_ASKED if idle_s < _ASKED_S else _PAUSES_IF_IDLE))
