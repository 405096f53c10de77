"""Timings of one answer by stage: for its caller, for metrics and for spans."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from deployments.observability.metrics import FIRST_TOKEN, STAGES
from deployments.observability.tracing import span

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Mapping


class Stopwatch:
    """Starts when it is created."""

    def __init__(self) -> None:
        self._began = perf_counter()
        self._timings: dict[str, float] = {}

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return perf_counter() - self._began

    def has(self, stage: str) -> bool:
        """Return whether a stage has ended."""
        return stage in self._timings

    def mark(self, stage: str) -> None:
        """Record when a stage ended, in seconds since the start."""
        self._timings[stage] = round(self.elapsed_s, 4)

    async def timed(self, stage: str, work: Awaitable[None]) -> None:
        """Record how long a piece of work took."""
        began = perf_counter()
        with span(stage.removesuffix("_s")):
            await work
        self._timings[stage] = round(perf_counter() - began, 4)

    def finished(self) -> dict[str, float]:
        """Record the total, export the metrics and return all stages."""
        self.mark("total_s")
        for stage, seconds in _durations(self._timings):
            STAGES.observe(seconds, stage=stage)
        if "first_token_s" in self._timings:
            FIRST_TOKEN.observe(self._timings["first_token_s"], model="genserve")
        return self._timings


def _durations(timings: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Yield the duration of each stage, computed from when most of them ended."""
    for stage in ("pages", "search", "total"):
        if f"{stage}_s" in timings:
            yield stage, timings[f"{stage}_s"]
    ready = timings["prompt_s"]
    yield "prompt", ready - timings["context_s"]
    yield "generation", timings["total_s"] - ready
    if "first_token_s" in timings:
        yield "first_token", timings["first_token_s"] - ready
