"""Shares of a bounded resource: who is under its share is served, who is over it waits."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.errors import Overloaded
from serve_app.access.fair_queue import FairQueue
from serve_app.access.shares import Shares

pytestmark = pytest.mark.anyio
OWNERS = ("alice", "bob", "carol", "dave")


def taken(shares: Shares, owner: str) -> int:
    """Take places until the owner is refused; return how many it got."""
    count = 0
    while shares.has_room(owner):
        shares.add(owner)
        count += 1
    return count


def test_a_single_key_may_take_every_place() -> None:
    assert taken(Shares("requests", 8, {"": 1.0}), "") == 8


def test_a_busy_key_leaves_one_share_for_the_next() -> None:
    shares = Shares("requests", 12, dict.fromkeys(OWNERS, 1.0))
    assert [taken(shares, owner) for owner in OWNERS] == [6, 4, 1, 1]


def test_shares_follow_the_weights() -> None:
    weights = {"alice": 3.0, "bob": 1.0}
    assert taken(Shares("requests", 40, weights), "alice") == 30
    assert taken(Shares("requests", 40, weights), "bob") == 20  # half is the most that is reserved
    shares = Shares("requests", 40, weights)
    shares.add("bob")
    assert [taken(shares, owner) for owner in weights] == [30, 9]


@settings(max_examples=100)
@given(
    weights=st.lists(st.floats(0.01, 100), min_size=1, max_size=6),
    busy=st.lists(st.booleans(), min_size=6, max_size=6),
)
def test_idle_keys_use_up_no_more_than_the_reserve(weights: list[float], busy: list[bool]) -> None:
    names = {str(number): weight for number, weight in enumerate(weights)}
    active = [name for name, is_busy in zip(names, busy, strict=False) if is_busy] or ["0"]
    shares = Shares("requests", capacity := 200, names)
    for name in active:
        shares.add(name)
    while able := [name for name in active if shares.has_room(name)]:
        for name in able:
            if shares.has_room(name):
                shares.add(name)
    together = sum(names[name] for name in active)
    idle = [weight for name, weight in names.items() if name not in active]
    reserve = min(max(idle, default=0.0), together)
    left = capacity - sum(map(shares.used, active))
    assert left <= capacity * reserve / (together + reserve) + len(names)
    for name in active:  # at least its part of the half that is never reserved
        assert shares.used(name) >= capacity / 2 * names[name] / together - 1
    for name in set(names) - set(active):
        assert shares.has_room(name)


def test_the_refusal_names_the_use_and_the_places() -> None:
    shares = Shares("uploads", 4, {"alice": 1.0, "bob": 1.0})
    assert taken(shares, "alice") == 2
    with pytest.raises(Overloaded, match="uses 2 of 4 places for uploads") as refused:
        shares.take("alice").__enter__()
    assert refused.value.where == "Ingress"
    with shares.take("bob"):
        pass


def test_a_place_is_free_again_after_an_error() -> None:
    shares = Shares("requests", 1, {"": 1.0})
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), shares.take(""):
            _ = 1 / 0


@settings(max_examples=40)
@given(
    weights=st.lists(st.floats(0.1, 10), min_size=1, max_size=8),
    factor=st.integers(2, 6),
    steps=st.lists(st.tuples(st.integers(0, 7), st.booleans()), max_size=200),
)
def test_no_sequence_passes_the_bound_or_shuts_an_idle_key_out(
    weights: list[float], factor: int, steps: list[tuple[int, bool]]
) -> None:
    names = {str(number): weight for number, weight in enumerate(weights)}
    capacity = factor * len(names)
    shares, used = Shares("requests", capacity, names), Counter[str]()
    held: dict[str, list[contextlib.ExitStack]] = {name: [] for name in names}
    for number, takes in steps:
        name = str(number % len(names))
        if not takes:
            if held[name]:
                held[name].pop().close()
                used[name] -= 1
            continue
        stack = contextlib.ExitStack()
        try:
            stack.enter_context(shares.take(name))
        except Overloaded:
            assert used[name], "a key without any place is always served"
            continue
        held[name].append(stack)
        used[name] += 1
        assert used.total() <= capacity
        if len(names) > 1:
            assert used[name] < capacity


async def test_turns_alternate_by_weight_however_long_one_key_has_waited() -> None:
    queue = FairQueue("answers", {"alice": 1.0, "bob": 1.0, "carol": 2.0}, waiting_per_place=40)
    queue.resize(1)
    begun: list[str] = []

    async def work(owner: str) -> None:
        async with queue.take(owner):
            begun.append(owner)
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        for owner, count in (("alice", 12), ("bob", 4), ("carol", 4)):
            for _ in range(count):
                group.create_task(work(owner))
    assert begun[0] == "alice"
    assert Counter(begun[1:7]) == Counter(alice=1, bob=2, carol=3)
    assert set(begun[12:]) == {"alice"}


async def test_waiting_is_bounded_by_share_and_the_excess_is_refused_at_once() -> None:
    queue = FairQueue("answers", {"alice": 1.0, "bob": 1.0}, waiting_per_place=4)
    queue.resize(2)
    done = asyncio.Event()

    async def work(owner: str) -> str:
        try:
            async with queue.take(owner):
                await done.wait()
        except Overloaded:
            return "refused"
        return "served"

    greedy = [asyncio.create_task(work("alice")) for _ in range(20)]
    await asyncio.sleep(0)
    other = asyncio.create_task(work("bob"))
    await asyncio.sleep(0)
    assert queue._places.used("alice") == 1
    assert queue._places.used("bob") == 1
    done.set()
    assert Counter(await asyncio.gather(*greedy)) == Counter(served=5, refused=15)
    assert await other == "served"


async def test_who_stops_waiting_takes_no_turn() -> None:
    queue = FairQueue("answers", {"": 1.0}, waiting_per_place=4)
    queue.resize(1)
    async with queue.take(""):
        leaving = asyncio.create_task(queue.take("").__aenter__())
        await asyncio.sleep(0)
        leaving.cancel()
        staying = asyncio.create_task(queue.take("").__aenter__())
        await asyncio.sleep(0)
    await staying
    assert queue._places.used("") == 1
    assert leaving.cancelled()


async def test_a_turn_that_is_given_to_who_leaves_at_that_moment_goes_on_to_the_next() -> None:
    queue = FairQueue("answers", {"": 1.0}, waiting_per_place=4)
    queue.resize(1)
    first = queue.take("")
    await first.__aenter__()
    leaving = asyncio.create_task(queue.take("").__aenter__())
    staying = asyncio.create_task(queue.take("").__aenter__())
    await asyncio.sleep(0)
    await first.__aexit__(None, None, None)  # its turn has come, and it has not run yet
    leaving.cancel()
    async with asyncio.timeout(1):
        await staying
    assert queue._places.used("") == 1


async def test_a_turn_skips_who_is_leaving_at_that_moment() -> None:
    queue = FairQueue("answers", {"": 1.0}, waiting_per_place=4)
    queue.resize(1)
    first = queue.take("")
    await first.__aenter__()
    leaving = asyncio.create_task(queue.take("").__aenter__())
    staying = asyncio.create_task(queue.take("").__aenter__())
    await asyncio.sleep(0)
    leaving.cancel()
    await first.__aexit__(None, None, None)
    async with asyncio.timeout(1):
        await staying
    assert queue._places.used("") == 1


async def test_more_places_start_who_waits() -> None:
    queue = FairQueue("answers", {"": 1.0}, waiting_per_place=4)
    queue.resize(1)
    await queue.take("").__aenter__()
    waiting = asyncio.create_task(queue.take("").__aenter__())
    await asyncio.sleep(0)
    assert not waiting.done()
    queue.resize(2)
    await waiting


async def test_large_requests_are_counted_by_their_size_and_served_one_at_a_time() -> None:
    queue = FairQueue("characters", {"alice": 1.0, "bob": 1.0}, waiting_per_place=2)
    queue.resize(100)
    async with queue.take("alice", 500):
        waiting = asyncio.create_task(queue.take("bob", 10).__aenter__())
        await asyncio.sleep(0)
        assert not waiting.done(), "the one that is too large takes all of it"
    await waiting
    assert queue._places.used("bob") == 10
