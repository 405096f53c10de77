"""The time limit of one answer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Self, TypeVar

from deployments.errors import DeadlineExceeded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from types import TracebackType

T = TypeVar("T")


class Deadline:
    """A context with one timer, which ends the wait for the next item of a stream.

    `asyncio.timeout` belongs to one task, but the tasks that read a stream change; and one for each
    event would cost more than the event.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._passed = False
        self._waiting: asyncio.Task[Any] | None = None
        self._cancelled: asyncio.Task[Any] | None = None

    def __enter__(self) -> Self:
        self._timer = asyncio.get_running_loop().call_later(self._seconds, self._pass)
        return self

    def __exit__(
        self, _kind: object, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._timer.cancel()

    async def next(self, stream: AsyncGenerator[T, None]) -> T | None:
        """Return the next item, None at the end; raises DeadlineExceeded once the time is over."""
        if self._passed:
            raise late()
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - this is a coroutine
        others = task.cancelling()
        self._waiting = task
        try:
            return await anext(stream, None)
        except asyncio.CancelledError:
            if self._cancelled is task and task.cancelling() == others + 1:
                raise late() from None
            raise
        finally:
            if self._cancelled is task:
                task.uncancel()
            self._waiting = self._cancelled = None

    def _pass(self) -> None:
        self._passed = True
        if self._waiting is not None:
            self._cancelled = self._waiting
            self._waiting.cancel()


def late() -> DeadlineExceeded:
    """Return the error for an answer whose time is over."""
    msg = "the answer took longer than the time allowed for it"
    return DeadlineExceeded(msg)
