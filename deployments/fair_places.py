"""A bounded number of places, given out in turns: the fair form of a semaphore."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Hashable


class FairPlaces:
    """Give places to those who wait, one turn for each owner, oldest first within an owner.

    With a semaphore, an owner who asks for a hundred places at once holds up all others.
    """

    def __init__(self, places: int) -> None:
        self._free = places
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}

    @contextlib.asynccontextmanager
    async def place(self, owner: Hashable) -> AsyncIterator[None]:
        """Hold a place; wait for the turn of the owner if none is free."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(owner)
        try:
            yield
        finally:
            self._release()

    async def _wait(self, owner: Hashable) -> None:
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
