"""Turns: shares of a resource for which requests wait, served in weighted fair order."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

from serve_app.access.shares import Shares

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping


class Turns:
    """Places as in `Shares`, and a bounded queue of each key for more.

    The next place goes to the waiting key that uses the fewest places for its weight and, among
    equals, has begun the least work for its weight (start-time fair queueing: Goyal, Vin and
    Cheng, 1996). A key that has just come starts where the others are, not at zero.
    """

    def __init__(self, what: str, weights: Mapping[str, float], waiting_per_place: int) -> None:
        """Begin without a place; `resize` sets how many there are."""
        self._weights = weights
        self._places = Shares(what, 0, weights)
        self._waiting = Shares(f"waiting {what}", 0, weights)
        self._waiting_per_place = waiting_per_place
        self._queues: dict[str, deque[asyncio.Future[None]]] = {}
        self._begun = dict.fromkeys(weights, 0.0)  # virtual time of each key
        self._now = 0.0  # virtual time of the latest start

    def resize(self, places: int) -> None:
        """Set the number of places; those taken above it are not taken back."""
        self._places.capacity = places
        self._waiting.capacity = places * self._waiting_per_place
        self._start_waiting()

    def running(self, owner: str) -> int:
        """Return the number of places that an owner holds."""
        return self._places.used(owner)

    @contextlib.asynccontextmanager
    async def take(self, owner: str) -> AsyncIterator[None]:
        """Wait for a place and hold it; raises Overloaded if too many wait already."""
        if not self._queues.get(owner) and self._places.has_place(owner):
            self._start(owner)
        else:
            await self._wait(owner)
        try:
            yield
        finally:
            self._end(owner)

    async def _wait(self, owner: str) -> None:
        with self._waiting.take(owner):
            turn = asyncio.get_running_loop().create_future()
            queue = self._queues.setdefault(owner, deque())
            queue.append(turn)
            try:
                await turn
            except asyncio.CancelledError:
                if turn.cancelled():
                    with contextlib.suppress(ValueError):  # if it has been skipped
                        queue.remove(turn)
                else:
                    self._end(owner)  # the turn came at the same moment
                raise

    def _start(self, owner: str) -> None:
        self._now = max(self._now, self._begun[owner])
        self._begun[owner] = self._now + 1 / self._weights[owner]
        self._places.add(owner)

    def _end(self, owner: str) -> None:
        self._places.remove(owner)
        self._start_waiting()

    def _start_waiting(self) -> None:
        while ready := [
            owner
            for owner, queue in self._queues.items()
            if queue and self._places.has_place(owner)
        ]:
            owner = min(ready, key=self._precedence)
            turn = self._queues[owner].popleft()
            if not turn.cancelled():
                self._start(owner)
                turn.set_result(None)

    def _precedence(self, owner: str) -> tuple[float, float]:
        return self._places.used(owner) / self._weights[owner], self._begun[owner]
