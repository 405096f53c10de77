"""Passes through a model, filled from the calls that wait: queries first, the others in turn."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Generic, NamedTuple

from deployments.embedder.batching import Item, Piece, pieces, run_together, total_tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

_WAIT_S = 0.005  # for calls that come together


class _Waiting(NamedTuple, Generic[Item]):
    piece: Piece[Item]
    rows: asyncio.Future[NDArray[np.float32]]


class Passes(Generic[Item]):
    """Run the pieces of many calls in passes of at most `max_tokens`, one pass after another.

    Urgent calls and the others take turns, urgent ones first. A pass takes a piece of each call of
    its kind in turn, so that a short call does not wait for all of a long one. What is left of a
    cancelled call is not run.
    """

    def __init__(
        self, run: Callable[[list[Item], list[int]], NDArray[np.float32]], max_tokens: int
    ) -> None:
        self._run = run
        self._max_tokens = max_tokens
        self._urgent: deque[deque[_Waiting[Item]]] = deque()
        self._others: deque[deque[_Waiting[Item]]] = deque()
        self._others_first = False
        self._working: asyncio.Task[None] | None = None

    async def rows(
        self, items: list[Item], tokens: list[int], *, urgent: bool = False
    ) -> list[NDArray[np.float32]]:
        """Return the rows of all items, in order, in as many parts as it took pieces."""
        loop = asyncio.get_running_loop()
        waiting = [
            _Waiting(piece, loop.create_future())
            for piece in pieces(items, tokens, self._max_tokens)
        ]
        call = deque(waiting)
        (self._urgent if urgent else self._others).append(call)
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(self._work())
        try:
            return await asyncio.gather(*(one.rows for one in waiting))
        finally:
            call.clear()  # of a failed or cancelled call

    async def _work(self) -> None:
        await asyncio.sleep(_WAIT_S)
        while taken := self._next_pass():
            together = [one.piece for one in taken]
            try:
                parts = await asyncio.to_thread(run_together, self._run, together)
            except Exception as error:  # noqa: BLE001 - raised to the callers
                for one in taken:
                    if not one.rows.done():
                        one.rows.set_exception(error)
                continue
            for one, rows in zip(taken, parts, strict=True):
                if not one.rows.done():
                    one.rows.set_result(rows)

    def _next_pass(self) -> list[_Waiting[Item]]:
        """Take what one kind of calls has; a pass of queries alone is short."""
        order = [self._urgent, self._others]
        if self._others_first:
            order.reverse()
        for calls in order:
            if taken := self._filled_from(calls):
                self._others_first = calls is self._urgent
                return taken
        return []

    def _filled_from(self, calls: deque[deque[_Waiting[Item]]]) -> list[_Waiting[Item]]:
        taken: list[_Waiting[Item]] = []
        total = 0
        while calls:
            call = calls[0]
            if call:
                total += total_tokens([call[0].piece])
                if taken and total > self._max_tokens:
                    break
                taken.append(call.popleft())
            calls.popleft()
            if call:
                calls.append(call)
        return taken
