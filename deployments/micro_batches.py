"""Micro-batches: small calls that come while others are under way share a call of their own."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")


class MicroBatches(Generic[Item, Result]):
    """Pass items on at once while few calls are under way, else several in one call.

    A call to another deployment costs milliseconds of processor time at both ends, as much as a
    small item itself. Nothing waits for a batch to fill up.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        calls_at_once: int,
        most: int,
    ) -> None:
        """Set what returns a result for each item, for at most `most` items a call."""
        self._call = call
        self._calls_at_once = calls_at_once
        self._most = most
        self._waiting: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._calls: set[asyncio.Task[None]] = set()

    async def result(self, item: Item) -> Result:
        """Return the result of an item; raise what its call raises.

        A cancelled caller's item is left out, unless its call is under way: that goes on.
        """
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._start_calls()
        result: Result = await future
        return result

    def _start_calls(self) -> None:
        while self._waiting and len(self._calls) < self._calls_at_once:
            batch: list[tuple[Item, asyncio.Future[Result]]] = []
            while self._waiting and len(batch) < self._most:
                one = self._waiting.popleft()
                if not one[1].done():
                    batch.append(one)
            if batch:
                call = asyncio.create_task(self._run(batch))
                self._calls.add(call)
                call.add_done_callback(self._ended)

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._start_calls()

    async def _run(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        try:
            results = await self._call([item for item, _ in batch])
        except BaseException as error:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
