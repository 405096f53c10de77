"""Places are given out in turns, whoever asks most."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from deployments.fair_places import FairPlaces

pytestmark = pytest.mark.anyio


async def test_owners_take_turns_and_cancelled_waits_cost_none() -> None:
    places, order = FairPlaces(1), list[str]()

    async def work(owner: str, name: str) -> None:
        async with places.place(owner):
            order.append(name)
            await asyncio.sleep(0)

    async with places.place("first"):
        many = [asyncio.create_task(work("many", f"m{n}")) for n in range(4)]
        few = [asyncio.create_task(work("few", f"f{n}")) for n in range(2)]
        await asyncio.sleep(0)
        many[1].cancel()
        await asyncio.sleep(0)
    await asyncio.gather(*many, *few, return_exceptions=True)
    assert order == ["m0", "f0", "m2", "f1", "m3"]
    # Nothing was lost: a place that came together with a cancellation is passed on.
    async with places.place("first"):
        late = asyncio.create_task(work("late", "late"))
        await asyncio.sleep(0)
    late.cancel()
    await asyncio.gather(late, return_exceptions=True)
    async with asyncio.timeout(1), places.place("last"):
        pass


async def test_turns_follow_the_weights_and_newcomers_do_not_overtake() -> None:
    places, order = FairPlaces(1, shares={"gold": 3.0, "lead": 0.5}), list[str]()

    async def work(owner: str) -> None:
        async with places.place(owner):
            order.append(owner)
            await asyncio.sleep(0)
            if owner == "iron":  # somebody new comes at each of its turns
                newcomers.append(asyncio.create_task(work(f"new {len(newcomers)}")))
                await asyncio.sleep(0)

    newcomers: list[asyncio.Task[None]] = []
    async with places.place("first"):
        tasks = [asyncio.create_task(work(o)) for o in ("iron", "gold", "lead") for _ in range(12)]
        await asyncio.sleep(0)
    await asyncio.gather(*tasks)
    await asyncio.gather(*newcomers)
    known = [owner for owner in order if not owner.startswith("new")]
    assert Counter(known[:18]) == {"gold": 12, "iron": 4, "lead": 2}
    assert order.index("new 0") < order.index("new 1") < len(order) - 12
