"""The queue of pictures, over an easel that takes a step when the test says so."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from deployments.errors import InvalidRequest, Overloaded, ServiceError, Unavailable
from deployments.images.queue import ImageQueue, OnStep
from deployments.types import ImageProgress, ImageRequest

pytestmark = pytest.mark.anyio

STEPS = 5
PATIENCE_S = 10.0


class Easel:
    """Pictures are their prompts; a pass whose first prompt is a key of `fails` fails so."""

    def __init__(self) -> None:
        self.passes: list[list[str]] = []
        self.steps_of_passes: list[int] = []
        self.threads: set[int] = set()
        self.fails: dict[str, Exception] = {}
        self._steps = threading.Semaphore(0)

    def draw(self, requests: Sequence[ImageRequest], on_step: OnStep) -> list[bytes | None]:
        self.threads.add(threading.get_ident())
        self.passes.append([request.prompt for request in requests])
        self.steps_of_passes.append(0)
        wanted: Any = ()
        for done in range(1, requests[0].steps + 1):
            assert self._steps.acquire(timeout=PATIENCE_S)
            self.steps_of_passes[-1] = done
            wanted = on_step(done)
            if not wanted:
                return [None] * len(requests)
        if error := self.fails.get(requests[0].prompt):
            raise error
        return [
            request.prompt.encode() if place in wanted else None
            for place, request in enumerate(requests)
        ]

    def allow(self, steps: int) -> None:
        self._steps.release(steps)

    async def begun(self, passes: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(self.passes) < passes:
                await asyncio.sleep(0.001)


def asked(prompt: str, size: int = 64, steps: int = STEPS, owner: str = "") -> ImageRequest:
    return ImageRequest(prompt, size, size, steps, 1, owner)


async def all_of(queue: ImageQueue, request: ImageRequest) -> list[ImageProgress]:
    async with asyncio.timeout(PATIENCE_S):
        return [progress async for progress in queue.generate(request)]


async def ask(queue: ImageQueue, *requests: ImageRequest) -> list[asyncio.Task[Any]]:
    """Ask for each in order, and return once all are in the queue."""
    tasks = [asyncio.create_task(all_of(queue, request)) for request in requests]
    await asyncio.sleep(0)
    return tasks


@asynccontextmanager
async def queued(easel: Easel, **bounds: Any) -> AsyncGenerator[ImageQueue]:
    queue = ImageQueue(easel.draw, **{"max_batch": 4, "batch_wait_s": 0, **bounds})
    try:
        yield queue
    finally:
        easel.allow(1000)
        await queue.close()


@asynccontextmanager
async def busy(easel: Easel, **bounds: Any) -> AsyncGenerator[ImageQueue]:
    """A queue whose first pass, of one picture, waits for its first step."""
    async with queued(easel, **bounds) as queue:
        first = asyncio.create_task(all_of(queue, asked("first", steps=1)))
        await easel.begun(1)
        yield queue
        await first


async def test_tells_of_every_step_and_the_last_carries_the_picture() -> None:
    easel = Easel()
    async with queued(easel) as queue:
        easel.allow(STEPS)
        progress = await all_of(queue, asked("a cat"))
    assert [(step.done_steps, step.total_steps) for step in progress] == [
        (done, STEPS) for done in range(1, STEPS + 1)
    ]
    assert [step.png for step in progress] == [None] * (STEPS - 1) + [b"a cat"]


async def test_tells_of_a_step_before_the_next_is_taken() -> None:
    easel = Easel()
    async with queued(easel) as queue:
        progress = queue.generate(asked("a cat"))
        easel.allow(1)
        async with asyncio.timeout(PATIENCE_S):
            assert await anext(progress) == ImageProgress(1, STEPS)
        await progress.aclose()


async def test_equal_shapes_share_a_pass_oldest_first_and_up_to_the_bound() -> None:
    easel = Easel()
    async with busy(easel, max_batch=2) as queue:
        tasks = await ask(
            queue,
            asked("a"),
            asked("wide", size=128),
            asked("b"),
            asked("c"),
            asked("long", steps=9),
        )
        easel.allow(1000)
        results = await asyncio.gather(*tasks)
    assert easel.passes == [["first"], ["a", "b"], ["wide"], ["c"], ["long"]]
    assert [progress[-1].png for progress in results] == [b"a", b"wide", b"b", b"c", b"long"]
    assert len(results[-1]) == 9
    assert len(easel.threads) == 1, "a model is used by one thread"


async def test_an_idle_queue_waits_a_moment_for_pictures_asked_for_together() -> None:
    easel = Easel()
    async with queued(easel, batch_wait_s=0.2) as queue:
        easel.allow(1000)
        first = asyncio.create_task(all_of(queue, asked("a")))
        await asyncio.sleep(0.01)
        await asyncio.gather(first, all_of(queue, asked("b")))
    assert easel.passes == [["a", "b"]]


async def test_a_full_queue_refuses_and_takes_again_when_there_is_room() -> None:
    easel = Easel()
    async with busy(easel, max_waiting=2) as queue:
        tasks = await ask(queue, asked("a"), asked("b"))
        with pytest.raises(Overloaded):
            await all_of(queue, asked("c"))
        easel.allow(1000)
        await asyncio.gather(*tasks)
        assert (await all_of(queue, asked("c")))[-1].png == b"c"


async def test_who_leaves_while_waiting_makes_room_and_is_never_drawn() -> None:
    easel = Easel()
    async with busy(easel, max_waiting=1) as queue:
        (leaver,) = await ask(queue, asked("leaver"))
        leaver.cancel()
        await asyncio.wait([leaver])
        tasks = await ask(queue, asked("b"))
        easel.allow(1000)
        await asyncio.gather(*tasks)
    assert easel.passes == [["first"], ["b"]]


async def test_a_pass_that_all_have_left_stops_at_the_next_step() -> None:
    easel = Easel()
    async with busy(easel) as queue:
        leavers = await ask(queue, asked("a"), asked("b"))
        (last,) = await ask(queue, asked("c", size=128))
        easel.allow(3)  # the first pass, and two steps of the second
        async with asyncio.timeout(PATIENCE_S):
            while len(easel.passes) < 2 or easel.steps_of_passes[1] < 2:
                await asyncio.sleep(0.001)
        for leaver in leavers:
            leaver.cancel()
        await asyncio.wait(leavers)
        easel.allow(1000)
        assert (await last)[-1].png == b"c"
    assert easel.passes == [["first"], ["a", "b"], ["c"]]
    assert easel.steps_of_passes == [1, 3, STEPS]


async def test_a_pass_that_one_has_left_goes_on_for_the_other() -> None:
    easel = Easel()
    async with busy(easel) as queue:
        leaver, stayer = await ask(queue, asked("leaver"), asked("stayer"))
        easel.allow(2)
        await easel.begun(2)
        leaver.cancel()
        await asyncio.wait([leaver])
        easel.allow(1000)
        assert (await stayer)[-1].png == b"stayer"
    assert easel.steps_of_passes == [1, STEPS]


async def test_an_error_reaches_all_of_its_pass_and_no_other() -> None:
    easel = Easel()
    easel.fails["a"] = RuntimeError("secret tensor")
    easel.fails["odd"] = InvalidRequest("not so", param="prompt")
    async with busy(easel) as queue:
        tasks = await ask(
            queue, asked("a"), asked("b"), asked("odd", size=128), asked("c", size=96)
        )
        easel.allow(1000)
        broken, too, odd, well = await asyncio.gather(*tasks, return_exceptions=True)
        await queue.check_health()
    for error in (broken, too):
        assert type(error) is ServiceError
        assert "secret" not in error.message
    assert isinstance(odd, InvalidRequest)
    assert odd.param == "prompt"
    assert not isinstance(well, BaseException)
    assert well[-1].png == b"c"


async def test_is_ill_while_every_pass_fails_but_not_for_what_callers_ask() -> None:
    easel = Easel()
    easel.fails = {"broken": RuntimeError("out of memory"), "odd": InvalidRequest("not so")}
    async with queued(easel) as queue:
        easel.allow(1000)
        for _ in range(5):
            with pytest.raises(InvalidRequest):
                await all_of(queue, asked("odd"))
        await queue.check_health()
        for _ in range(3):
            with pytest.raises(ServiceError):
                await all_of(queue, asked("broken"))
        with pytest.raises(Unavailable):
            await queue.check_health()
        await all_of(queue, asked("a cat"))
        await queue.check_health()


async def test_closing_sends_everybody_away_and_stops_within_a_step() -> None:
    easel = Easel()
    async with queued(easel, max_batch=1) as queue:
        tasks = await ask(queue, asked("drawn"), asked("waiting"))
        await easel.begun(1)
        closing = asyncio.create_task(queue.close())
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [Unavailable, Unavailable]
        easel.allow(1)
        async with asyncio.timeout(PATIENCE_S):
            await closing
        assert easel.passes == [["drawn"]]
        with pytest.raises(Unavailable):
            await all_of(queue, asked("late"))


async def test_owners_take_turns_and_the_largest_gives_way_in_a_full_queue() -> None:
    easel = Easel()
    async with busy(easel, max_batch=2, max_waiting=4) as queue:
        many = await ask(queue, *(asked(f"m{n}", steps=1, owner="many") for n in range(4)))
        with pytest.raises(Overloaded):
            await all_of(queue, asked("m4", steps=1, owner="many"))
        (few,) = await ask(queue, asked("f0", steps=1, owner="few"))
        with pytest.raises(Overloaded):  # its job asks again
            await many[3]
        easel.allow(100)
        await asyncio.gather(*many[:3], few)
    assert easel.passes == [["first"], ["m0", "f0"], ["m1", "m2"]]


async def test_a_turn_is_worth_pixels_and_steps_for_the_weight_of_its_owner() -> None:
    easel = Easel()
    async with busy(easel, max_batch=1, shares={"gold": 4.0}) as queue:
        large = [asked(f"l{n}", size=512, steps=50, owner="large") for n in range(2)]
        small = [asked(f"s{n}", size=256, steps=50, owner="small") for n in range(6)]
        gold = [asked(f"g{n}", size=512, steps=50, owner="gold") for n in range(2)]
        tasks = await ask(queue, *large, *small, *gold)
        easel.allow(1000)
        await asyncio.gather(*tasks)
    order = [prompt for (prompt,) in easel.passes[1:]]
    assert order.index("s2") < order.index("l0") < order.index("s5")  # four pixels to one
    assert order.index("g1") < order.index("l0")


async def test_idleness_earns_no_turns() -> None:
    easel = Easel()
    async with queued(easel, max_batch=1) as queue:
        easel.allow(4)
        for number in range(4):
            await all_of(queue, asked(f"b{number}", steps=1, owner="busy"))
        first = asyncio.create_task(all_of(queue, asked("first", steps=1)))
        await easel.begun(5)
        late = [asked(f"l{n}", steps=1, owner="late") for n in range(4)]
        tasks = await ask(queue, *late, *(asked(f"b{n}", steps=1, owner="busy") for n in (4, 5)))
        easel.allow(1000)
        await asyncio.gather(first, *tasks)
    assert [prompt[0] for (prompt,) in easel.passes[5:]] in (list("lblbll"), list("blblll"))
