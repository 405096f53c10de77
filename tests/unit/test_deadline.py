"""The time limit of a stream whose reader may be another task each time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from deployments.errors import DeadlineExceeded
from serve_app.answering.deadline import Deadline

pytestmark = pytest.mark.anyio


async def numbers() -> AsyncGenerator[int, None]:
    yield 1
    yield 2
    await asyncio.Event().wait()


async def test_it_ends_the_wait_of_whichever_task_waits() -> None:
    stream = numbers()
    with Deadline(0.05) as deadline:
        assert await deadline.next(stream) == 1
        assert await asyncio.create_task(deadline.next(stream)) == 2
        task = asyncio.create_task(deadline.next(stream))
        with pytest.raises(DeadlineExceeded):
            await task
        with pytest.raises(DeadlineExceeded):
            await deadline.next(stream)
    await asyncio.sleep(0)  # nothing is left of the cancellation


async def test_a_cancellation_by_others_stays_one() -> None:
    with Deadline(60) as deadline:
        task = asyncio.create_task(deadline.next(numbers()))
        await asyncio.sleep(0)
        stuck = numbers()
        assert [await deadline.next(stuck), await deadline.next(stuck)] == [1, 2]
        task = asyncio.create_task(deadline.next(stuck))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_the_end_of_a_stream_is_none() -> None:
    async def nothing() -> AsyncGenerator[int, None]:
        return
        yield 0

    with Deadline(60) as deadline:
        assert await deadline.next(nothing()) is None


async def test_another_error_meanwhile_leaves_no_cancellation_behind() -> None:
    async def failing() -> AsyncGenerator[int, None]:
        try:
            yield 0
            await asyncio.Event().wait()
        finally:
            msg = "while it is closed"
            raise ValueError(msg)

    stream = failing()
    with Deadline(0.02) as deadline:
        assert await deadline.next(stream) == 0
        with pytest.raises(ValueError, match="closed"):
            await deadline.next(stream)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cancellation_at_the_same_moment_is_not_lost() -> None:
    async def wait(deadline: Deadline, stream: AsyncGenerator[int, None]) -> None:
        await deadline.next(stream)

    stream = numbers()
    with Deadline(0.01) as deadline:
        assert [await deadline.next(stream), await deadline.next(stream)] == [1, 2]
        task = asyncio.create_task(wait(deadline, stream))
        await asyncio.sleep(0)
        asyncio.get_running_loop().call_later(0.01, task.cancel)
        await asyncio.wait({task})
    assert task.cancelled() or isinstance(task.exception(), DeadlineExceeded)
    assert task.cancelling() in {0, 1}
