"""Whether a job is to stop: asked at every step, and while a picture is drawn."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_ASK_AGAIN_S = 1.0


class JobCancelled(Exception):
    """Raised by a step in place of its work; it ends the job."""


class Cancellations:
    """Knows at once of requests made here, and within a second of those made elsewhere."""

    def __init__(self, requested: Callable[[str], Awaitable[bool]]) -> None:
        """Keep how to look a request up where all replicas see it."""
        self._requested = requested
        self._known: set[str] = set()
        self._asked: dict[str, float] = {}

    def request(self, job_id: str) -> None:
        """Have the job stop; the request must have been kept already."""
        self._known.add(job_id)

    async def check(self, job_id: str) -> None:
        """Raise JobCancelled if the job is to stop; before each step."""
        self._asked[job_id] = time.monotonic()
        if job_id in self._known or await self._requested(job_id):
            self._known.add(job_id)
            raise JobCancelled

    async def glance(self, job_id: str) -> None:
        """Do the same, cheap enough for every denoising step of a picture."""
        if job_id in self._known or time.monotonic() - self._asked.get(job_id, 0) > _ASK_AGAIN_S:
            await self.check(job_id)

    def forget(self, job_id: str) -> None:
        """Let go of a job that has ended."""
        self._known.discard(job_id)
        self._asked.pop(job_id, None)
