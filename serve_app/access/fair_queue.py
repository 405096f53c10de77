"""Fair queue: shares of a resource for which requests wait, served in weighted fair order."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from serve_app.access.shares import Shares

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping


class _Turn(NamedTuple):
    places: int
    come: asyncio.Future[None]


class FairQueue:
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
        self._queues: dict[str, deque[_Turn]] = {}
        self._begun = dict.fromkeys(weights, 0.0)  # virtual time of each key
        self._now = 0.0  # virtual time of the latest start

    def resize(self, places: int) -> None:
        """Set the number of places; those taken above it are not taken back."""
        self._places.capacity = places
        self._waiting.capacity = places * self._waiting_per_place
        self._start_waiting()

    @contextlib.asynccontextmanager
    async def take(self, owner: str, places: int = 1) -> AsyncIterator[None]:
        """Wait for places and hold them; raises Overloaded if too much waits already."""
        if not self._queues.get(owner) and self._places.has_room(owner, places):
            self._start(owner, places)
        else:
            await self._wait(owner, places)
        try:
            yield
        finally:
            self._end(owner, places)

    async def _wait(self, owner: str, places: int) -> None:
        with self._waiting.take(owner, places):
            turn = _Turn(places, asyncio.get_running_loop().create_future())
            queue = self._queues.setdefault(owner, deque())
            queue.append(turn)
            try:
                await turn.come
            except asyncio.CancelledError:
                if turn.come.cancelled():
                    with contextlib.suppress(ValueError):  # if it has been skipped
                        queue.remove(turn)
                    self._start_waiting()  # behind a large one, small ones may have room
                else:
                    self._end(owner, places)  # the turn came at the same moment
                raise

    def _start(self, owner: str, places: int) -> None:
        self._now = max(self._now, self._begun[owner])
        self._begun[owner] = self._now + places / self._weights[owner]
        self._places.add(owner, places)

    def _end(self, owner: str, places: int) -> None:
        self._places.remove(owner, places)
        self._start_waiting()

    def _start_waiting(self) -> None:
        while ready := [
            owner
            for owner, queue in self._queues.items()
            if queue and self._places.has_room(owner, queue[0].places)
        ]:
            owner = min(ready, key=self._precedence)
            turn = self._queues[owner].popleft()
            if not turn.come.cancelled():
                self._start(owner, turn.places)
                turn.come.set_result(None)

    def _precedence(self, owner: str) -> tuple[float, float]:
        return self._places.used(owner) / self._weights[owner], self._begun[owner]
