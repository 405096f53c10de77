"""Small calls that share a call while others are under way."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import ContextVar

import pytest

from deployments.errors import Unavailable
from deployments.micro_batches import MicroBatches

pytestmark = pytest.mark.anyio
caller = ContextVar("caller", default="")


class Doubling:
    """Doubles numbers, once it is released; notes with what it was called."""

    def __init__(self) -> None:
        self.calls: list[list[int]] = []
        self.callers: list[str] = []
        self.released = asyncio.Event()

    async def __call__(self, numbers: Sequence[int]) -> list[int]:
        self.calls.append(list(numbers))
        self.callers.append(caller.get())
        await self.released.wait()
        if 13 in numbers:
            message = "it is away"
            raise Unavailable(message)
        return [2 * number for number in numbers]


async def started(batches: MicroBatches[int, int], *numbers: int) -> list[asyncio.Task[int]]:
    tasks = [asyncio.create_task(batches.result(number)) for number in numbers]
    for _ in range(5):
        await asyncio.sleep(0)
    return tasks


async def test_the_first_calls_go_at_once_and_those_behind_them_together() -> None:
    call = Doubling()
    batches = MicroBatches(call, calls_at_once=2, most=3)
    tasks = await started(batches, 1) + await started(batches, 2)
    assert call.calls == [[1], [2]]
    tasks += await started(batches, 3, 4) + await started(batches, 5, 6)
    call.released.set()
    assert await asyncio.gather(*tasks) == [2, 4, 6, 8, 10, 12]
    assert call.calls == [[1], [2], [3, 4, 5], [6]]


async def test_items_of_one_moment_share_a_call_as_far_as_they_fit() -> None:
    call = Doubling()
    batches = MicroBatches(call, calls_at_once=2, most=10, size=lambda number: number)
    tasks = await started(batches, 4, 6, 25, 3, 8)
    assert call.calls == [[4, 6], [25]]
    call.released.set()
    assert await asyncio.gather(*tasks) == [8, 12, 50, 6, 16]
    assert call.calls == [[4, 6], [25], [3], [8]]


async def test_what_a_call_raises_is_raised_to_its_callers_alone() -> None:
    call = Doubling()
    batches = MicroBatches(call, calls_at_once=1, most=2)
    tasks = await started(batches, 1) + await started(batches, 13, 3, 4)
    call.released.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result) for result in results] == [int, Unavailable, Unavailable, int]


async def test_a_cancelled_caller_is_left_out_and_takes_nobody_with_it() -> None:
    call = Doubling()
    batches = MicroBatches(call, calls_at_once=1, most=2)
    sent, left, stays = await started(batches, 1) + await started(batches, 2, 3)
    sent.cancel()
    left.cancel()
    call.released.set()
    assert await stays == 6
    assert call.calls == [[1], [3]]


async def test_a_call_has_the_context_of_its_first_item() -> None:
    call = Doubling()
    batches = MicroBatches(call, calls_at_once=1, most=9)

    async def of(name: str) -> int:
        caller.set(name)
        return await batches.result(1)

    tasks = [asyncio.create_task(of("a"))]
    await asyncio.sleep(0.01)
    tasks += [asyncio.create_task(of(name)) for name in "bc"]
    call.released.set()
    await asyncio.gather(*tasks)
    assert call.callers == ["a", "b"]
