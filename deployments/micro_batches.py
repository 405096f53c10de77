"""Micro-batches: small calls that come together, or while others are under way, share a call."""

from __future__ import annotations

import asyncio
from collections import deque
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

Item = TypeVar("Item")
Result = TypeVar("Result")


class _Waiting(NamedTuple, Generic[Item, Result]):
    item: Item
    result: asyncio.Future[Result]
    context: Context


class MicroBatches(Generic[Item, Result]):
    """Pass items on while few calls are under way, those of one turn of the event loop together.

    A call to another deployment costs milliseconds of processor time at both ends, as much as a
    small item itself. Nothing waits for a batch to fill up. A call has the context of its first
    item, such as the id of its request.
    """

    def __init__(
        self,
        call: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        calls_at_once: int,
        most: int,
        size: Callable[[Item], int] = lambda _: 1,
    ) -> None:
        """Set what returns a result for each item, for items of at most the size `most` a call.

        An item is 1 large unless `size` says otherwise; a larger one has a call of its own.
        """
        self._call = call
        self._calls_at_once = calls_at_once
        self._most = most
        self._size = size
        self._starting = False
        self._waiting: deque[_Waiting[Item, Result]] = deque()
        self._calls: set[asyncio.Task[None]] = set()

    async def result(self, item: Item) -> Result:
        """Return the result of an item; raise what its call raises.

        A cancelled caller's item is left out, unless its call is under way: that goes on.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Result] = loop.create_future()
        self._waiting.append(_Waiting(item, future, copy_context()))
        if not self._starting:
            self._starting = True
            loop.call_soon(self._start_calls)
        return await future

    def _start_calls(self) -> None:
        self._starting = False
        while self._waiting and len(self._calls) < self._calls_at_once:
            if batch := self._next_batch():
                call = asyncio.create_task(self._run(batch), context=batch[0].context)
                self._calls.add(call)
                call.add_done_callback(self._ended)

    def _next_batch(self) -> list[_Waiting[Item, Result]]:
        batch: list[_Waiting[Item, Result]] = []
        left = self._most
        while self._waiting:
            if not self._waiting[0].result.done():
                left -= self._size(self._waiting[0].item)
                if batch and left < 0:
                    break
                batch.append(self._waiting[0])
            self._waiting.popleft()
        return batch

    def _ended(self, call: asyncio.Task[None]) -> None:
        self._calls.discard(call)
        self._start_calls()

    async def _run(self, batch: list[_Waiting[Item, Result]]) -> None:
        try:
            results = await self._call([one.item for one in batch])
        except BaseException as error:
            for one in batch:
                if not one.result.done():
                    one.result.set_exception(error)
            if not isinstance(error, Exception):
                raise
            return
        for one, result in zip(batch, results, strict=True):
            if not one.result.done():
                one.result.set_result(result)
