"""A bounded number of places, given out in turns: the fair form of a semaphore."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import deque
from typing import TYPE_CHECKING

from deployments.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable


class FairPlaces:
    """Give places to those who wait, one turn for each owner, oldest first within an owner.

    With a semaphore, an owner who asks for a hundred places at once holds up all others.
    """

    def __init__(
        self,
        places: int,
        *,
        max_waiting: int = sys.maxsize,
        max_waiting_of_one: int = sys.maxsize,
        what: str = "requests",
    ) -> None:
        """Set how many hold a place at once, and how many may wait, in all and of one owner.

        `what` says in a message what is waiting.
        """
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
        own = self._waiting.setdefault(owner, deque())
        own.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._release()  # the place came in the same moment
            elif turn in own:
                own.remove(turn)
                if not own:
                    self._waiting.pop(owner, None)
            raise

    def _release(self) -> None:
        """Give the place to the owner whose turn was longest ago."""
        while self._waiting:
            owner, own = next(iter(self._waiting.items()))
            del self._waiting[owner]
            turn = own.popleft()
            if own:
                self._waiting[owner] = own  # behind all others
            if not turn.done():
                turn.set_result(None)
                return
        self._free += 1
