"""Seconds by stage of one answer."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable


class Watch:
    """Begins when it is made."""

    def __init__(self) -> None:
        self._began = perf_counter()
        self._timings: dict[str, float] = {}

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return perf_counter() - self._began

    def mark(self, stage: str, *, once: bool = False) -> None:
        """Note when, from the beginning, a stage was over."""
        if not (once and stage in self._timings):
            self._timings[stage] = round(self.elapsed_s, 4)

    async def timed(self, stage: str, work: Awaitable[None]) -> None:
        """Note how long a piece of work took by itself."""
        began = perf_counter()
        await work
        self._timings[stage] = round(perf_counter() - began, 4)

    def finished(self) -> dict[str, float]:
        """Note the whole and return all stages."""
        self.mark("total_s")
        return self._timings
