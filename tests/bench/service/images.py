"""Submit image jobs, and stream chats with and without image jobs, in alternating blocks."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.bench.report import Check, Section, Spread, checks_table, percentile, percentiles
from tests.bench.systems import Service
from tests.support.job_clients import ENDED
from tests.support.jobs import job_in
from tests.support.load import OUTPUT_TOKENS, closed_loop, questions

_WARM_UP = 4
_SUBMIT_PERIOD_S = 0.1
_JOBS = 2  # as many as run at once
_PICTURES, _STEPS = 100, 50  # longer than any block
_STATE_TIMEOUT_S = 120.0
_MAX_SUBMIT_MS, _MAX_FIRST_RATIO = 50.0, 1.25


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    submits: int = 100
    pairs: int = 6  # of blocks with and without image jobs
    chats: int = 16  # in a block


_QUICK = Size(submits=10, pairs=1, chats=4)


@dataclass
class Images:
    """What the images scenario found, in milliseconds; one list of first tokens per block."""

    submits_ms: list[float] = field(default_factory=list)
    alone_ms: list[list[float]] = field(default_factory=list)
    beside_ms: list[list[float]] = field(default_factory=list)
    pictures: int = 0
    beside_s: float = 0.0
    errors: list[str] = field(default_factory=list)


async def measure(service: Service, *, quick: bool) -> Section:
    """Submit, then chat. Raises TimeoutError if image jobs neither start nor end in time."""
    size = _QUICK if quick else Size()
    found = Images()
    prompts = questions()
    async with service.session() as http:

        async def chats(count: int) -> list[float]:
            """Take the milliseconds to the first token of chats, one after another."""
            some = itertools.islice(prompts, count)
            run = await closed_loop(http, service.system.target, some, clients=1)
            found.errors += run.errors
            return [answer.first_s * 1000 for answer in run.answers if answer.error is None]

        await _submits(http, found, size.submits)
        await chats(_WARM_UP)
        for number in range(size.pairs):
            # The order alternates, against a drift of the machine.
            for beside in (True, False) if number % 2 else (False, True):
                if not beside:
                    found.alone_ms.append(await chats(size.chats))
                    continue
                jobs = [(await _submit(http))[0] for _ in range(_JOBS)]
                await _until(http, jobs, {"running"})
                began, drawn = time.monotonic(), await _drawn(http, jobs)
                found.beside_ms.append(await chats(size.chats))
                found.pictures += await _drawn(http, jobs) - drawn
                found.beside_s += time.monotonic() - began
                await _cancel(http, jobs, found)
    return _section(found, size)


async def _submits(http: aiohttp.ClientSession, found: Images, count: int) -> None:
    """Time submissions while the first job of all draws its pictures."""
    running, _ = await _submit(http)
    await _until(http, [running], {"running"})
    jobs = [(await _submit(http))[0] for _ in range(_WARM_UP)]
    for _ in range(count):
        job, took_s = await _submit(http)
        jobs.append(job)
        found.submits_ms.append(took_s * 1000)
        await asyncio.sleep(_SUBMIT_PERIOD_S)
    await _cancel(http, [running], found)
    await _cancel(http, jobs, found, still_running=False)


async def _submit(http: aiohttp.ClientSession) -> tuple[str, float]:
    """Submit a job that outlasts the block; return its id and the seconds to the answer."""
    body = {
        "prompt": "a large red circle on a blue background",
        "count": _PICTURES,
        "steps": _STEPS,
        "seed": time.monotonic_ns() % (1 << 30),
    }
    began = time.perf_counter()
    async with http.post("/generate/image/background", json=body) as answer:
        job: dict[str, Any] = await answer.json()
        took_s = time.perf_counter() - began
        answer.raise_for_status()
    return job["job_id"], took_s


async def _until(
    http: aiohttp.ClientSession, jobs: Sequence[str], statuses: Container[str]
) -> None:
    async with asyncio.timeout(_STATE_TIMEOUT_S):
        for job in jobs:
            await job_in(http, job, statuses)


async def _drawn(http: aiohttp.ClientSession, jobs: Sequence[str]) -> int:
    return sum([(await job_in(http, job))["progress"]["done"] for job in jobs])


async def _cancel(
    http: aiohttp.ClientSession, jobs: Sequence[str], found: Images, *, still_running: bool = True
) -> None:
    """Cancel jobs, which ought to have run until now, and wait until they have ended."""
    for job in jobs:
        if still_running and (status := (await job_in(http, job))["status"]) != "running":
            found.errors.append(f"an image job that should still have run was {status}")
        async with http.post(f"/v1/jobs/{job}/cancel") as answer:
            await answer.read()
    await _until(http, jobs, ENDED)


def _section(found: Images, size: Size) -> Section:
    alone_ms, beside_ms = (
        percentile(list(itertools.chain(*blocks)), 50)
        for blocks in (found.alone_ms, found.beside_ms)
    )
    pairs = zip(found.beside_ms, found.alone_ms, strict=True)
    ratios = Spread.of([percentile(beside, 50) / percentile(alone, 50) for beside, alone in pairs])
    submit = f"submitting while another job runs, p99 of {size.submits}"
    first = "first token at the median, with image jobs / without"
    checks = [
        Check.at_most(submit, percentile(found.submits_ms, 99), _MAX_SUBMIT_MS, "{:.1f} ms"),
        Check.at_most(first, beside_ms / alone_ms, _MAX_FIRST_RATIO, "{:.2f}"),
        Check.equal("errors", len(found.errors)),
    ]
    errors = "".join(f"\n- {error}" for error in sorted(set(found.errors)))
    body = f"""\
## Beside image jobs

`make bench-images`: `configs/cpu.yaml`, one client at a time. {size.submits} image jobs are
submitted while another one is at work. Then {size.pairs} blocks of {size.chats} streamed chats of
{OUTPUT_TOKENS} tokens with the bare model alternate with as many blocks while {_JOBS} image jobs
are at work.

{checks_table(checks)}

Submitting, p50 / p99 / longest: {percentiles(found.submits_ms)} ms. First token at the median:
{alone_ms:.0f} ms without image jobs, {beside_ms:.0f} ms with them;
the ratio by pairs of blocks: {ratios}. Meanwhile {found.pictures} pictures of {_STEPS} steps were
made in {found.beside_s:.0f} s.{errors}"""
    return Section("images", body, checks)
