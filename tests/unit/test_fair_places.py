"""Places are given out in turns, whoever asks most."""

from __future__ import annotations

import asyncio

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
