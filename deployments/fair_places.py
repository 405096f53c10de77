"""A bounded number of places, given out in weighted turns: the fair form of a semaphore."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque
from collections.abc import Hashable
from typing import TYPE_CHECKING

from deployments.errors import Overloaded
from deployments.fair_turns import FairTurns

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping


class FairPlaces:
    """Give places to those who wait, in turns of their owners, oldest first within an owner.

    With a semaphore, an owner who asks for a hundred places at once holds up all others.
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
        self._turns = FairTurns[Hashable](shares)
        self._what = what
        self._free = places
        self._max_waiting = max_waiting
        self._max_waiting_of_one = max_waiting_of_one
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}

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
        self._turns.enter(owner)
        own = self._waiting.setdefault(owner, deque())
        own.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._release()  # the place came in the same moment
            elif turn in own:
                own.remove(turn)
                self._drop_if_empty(owner)
            raise

    def _release(self) -> None:
        """Give the place to the owner whose turn it is."""
        while self._waiting:
            owner = self._turns.next(dict.fromkeys(self._waiting, 1.0))
            turn = self._waiting[owner].popleft()
            if not turn.done():  # else it was cancelled a moment ago, and its owner is next
                self._turns.begin(owner, 1.0)
                self._turns.charge(owner, 1.0)
            self._drop_if_empty(owner)
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1

    def _drop_if_empty(self, owner: Hashable) -> None:
        if not self._waiting[owner]:
            del self._waiting[owner]
            self._turns.forget_idle(self._waiting)
