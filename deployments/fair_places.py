"""A bounded number of places, given out in weighted turns: the fair form of a semaphore."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque
from typing import TYPE_CHECKING, Any

from deployments.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable, Mapping


class FairPlaces:
    """Give places to those who wait, in turns of their owners, oldest first within an owner.

    With a semaphore, an owner who asks for a hundred places at once holds up all others. The
    turns follow the weights of the owners (self-clocked fair queueing: Golestani, 1994).
    """

    def __init__(
        self,
        places: int,
        *,
        shares: Mapping[str, float] | None = None,
        max_waiting: int = sys.maxsize,
        max_waiting_of_one: int = sys.maxsize,
        what: str = "requests",
    ) -> None:
        """Set how many hold a place at once, and how many may wait, in all and of one owner.

        `shares` are the weights of owners, 1 for those that are not named. `what` says in a
        message what is waiting.
        """
        self._shares: Mapping[Any, float] = shares or {}  # an owner may be of any type
        self._what = what
        self._free = places
        self._max_waiting = max_waiting
        self._max_waiting_of_one = max_waiting_of_one
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}
        self._turns: dict[Hashable, float] = {}  # virtual time of the next turn of those waiting
        self._now = 0.0  # virtual time of the last turn

    @contextlib.asynccontextmanager
    async def place(self, owner: Hashable) -> AsyncIterator[None]:
        """Hold a place; wait for the turn of the owner if none is free.

        Raises Overloaded if too many wait already.
        """
        if self._free:
            self._free -= 1
        else:
            await self._wait(owner)
        try:
            yield
        finally:
            self._release()

    async def _wait(self, owner: Hashable) -> None:
        waiting_of_one = len(self._waiting.get(owner, ()))
        waiting = sum(map(len, self._waiting.values()))
        if waiting >= self._max_waiting or waiting_of_one >= self._max_waiting_of_one:
            msg = f"too many {self._what} are waiting; try again shortly"
            raise Overloaded(msg)
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if owner not in self._waiting:
            self._queue(owner, deque())
        own = self._waiting[owner]
        own.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._release()  # the place came in the same moment
            elif turn in own:
                own.remove(turn)
                if not own:
                    del self._waiting[owner], self._turns[owner]
            raise

    def _queue(self, owner: Hashable, own: deque[asyncio.Future[None]]) -> None:
        self._waiting[owner] = own
        self._turns[owner] = self._now + 1 / self._shares.get(owner, 1.0)

    def _release(self) -> None:
        """Give the place to the owner with the earliest turn."""
        while self._waiting:
            owner = min(self._waiting, key=self._turns.__getitem__)
            own = self._waiting.pop(owner)
            turn, at = own.popleft(), self._turns.pop(owner)
            if turn.done():  # cancelled a moment ago: its owner keeps the turn
                if own:
                    self._waiting[owner], self._turns[owner] = own, at
                continue
            self._now = at
            if own:
                self._queue(owner, own)
            turn.set_result(None)
            return
        self._free += 1
