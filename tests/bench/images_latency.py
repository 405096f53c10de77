"""`python -m tests.bench.images_latency`: what others feel while pictures are made.

First the time to submit an image job while another one runs; then the time to the first token
of a streamed chat with and without image jobs, in alternating blocks.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.bench import machine
from tests.bench.figures import Spread, percentile
from tests.bench.report import HEADING, with_section
from tests.bench.systems import Configuration, ours
from tests.support.load import OUTPUT_TOKENS, Target, closed_loop, questions
from tests.support.processes import ROOT, StartError, started

HERE = Path(__file__).parent
_SUBMITS, _PAIRS, _CHATS = 100, 6, 16
_WARM_UP = 4
_BETWEEN_SUBMITS_S = 0.1
_JOBS_AT_WORK = 2  # as many as run at once
_PICTURES, _STEPS = 100, 50  # longer than any block
_STATE_TIMEOUT_S = 120.0
_POLL_S = 0.2
_SUBMIT_MS, _FIRST_RATIO = 50.0, 1.25


@dataclass
class Found:
    """What one run gives, in milliseconds; one list of first tokens a block."""

    submits_ms: list[float] = field(default_factory=list)
    alone_ms: list[list[float]] = field(default_factory=list)
    beside_ms: list[list[float]] = field(default_factory=list)
    pictures: int = 0
    beside_s: float = 0.0
    errors: list[str] = field(default_factory=list)


def main() -> int:
    """Measure, write the section; 0 if everything is as it has to be."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.images_latency", description=__doc__
    )
    parser.add_argument("--pairs", type=int, default=_PAIRS, help="of blocks; fewer: a smoke run")
    pairs = parser.parse_args().pairs
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        configuration = Configuration.read(ROOT / "configs" / "cpu.yaml")
        with tempfile.TemporaryDirectory(prefix="genserve-images-") as folder:
            system = ours(configuration, Path(folder))
            url = system.command.ready_url.removesuffix("/readyz")
            with started(system.command, Path(folder) / "log"):
                found = asyncio.run(measured(url, system.target, pairs))
    except KeyboardInterrupt:
        return 130
    except (StartError, TimeoutError, aiohttp.ClientError, subprocess.CalledProcessError) as error:
        sys.stdout.write(f"error: {error}\n")
        return 1
    rows = _rows(found)
    text = _section(found, rows)
    if pairs >= _PAIRS:
        results = HERE / "RESULTS.md"
        before = results.read_text(encoding="utf-8") if results.exists() else HEADING
        results.write_text(with_section(before, "images", text), encoding="utf-8")
    sys.stdout.write(text + "\n")
    return 0 if all(held for *_, held in rows) else 1


async def measured(url: str, target: Target, pairs: int) -> Found:
    """Submit, then chat. Raises TimeoutError if image jobs neither begin nor end in time."""
    found = Found()
    prompts = questions()
    timeout = aiohttp.ClientTimeout(total=_STATE_TIMEOUT_S)
    async with aiohttp.ClientSession(url, timeout=timeout) as http:
        await _submits(http, found)
        await _chats(http, target, prompts, _WARM_UP, found)
        for number in range(pairs):
            # Who goes first alternates, against a drift of the machine.
            for beside in (True, False) if number % 2 else (False, True):
                if not beside:
                    found.alone_ms.append(await _chats(http, target, prompts, _CHATS, found))
                    continue
                jobs = [(await _submit(http))[0] for _ in range(_JOBS_AT_WORK)]
                await _until(http, jobs, {"running"})
                began, made = time.monotonic(), await _made(http, jobs)
                found.beside_ms.append(await _chats(http, target, prompts, _CHATS, found))
                found.pictures += await _made(http, jobs) - made
                found.beside_s += time.monotonic() - began
                await _cancel(http, jobs, found)
    return found


async def _submits(http: aiohttp.ClientSession, found: Found) -> None:
    """Time submissions while the first job of all is at work on its pictures."""
    running, _ = await _submit(http)
    await _until(http, [running], {"running"})
    jobs = [(await _submit(http))[0] for _ in range(_WARM_UP)]
    for _ in range(_SUBMITS):
        job, took_s = await _submit(http)
        jobs.append(job)
        found.submits_ms.append(took_s * 1000)
        await asyncio.sleep(_BETWEEN_SUBMITS_S)
    await _cancel(http, [running], found)
    await _cancel(http, jobs, found, still_running=False)


async def _chats(
    http: aiohttp.ClientSession, target: Target, prompts: Iterator[str], count: int, found: Found
) -> list[float]:
    """Milliseconds to the first token of each of `count` streamed chats, one after another."""
    run = await closed_loop(http, target, itertools.islice(prompts, count), clients=1)
    found.errors += run.errors
    return [answer.first_s * 1000 for answer in run.answers if answer.error is None]


async def _submit(http: aiohttp.ClientSession) -> tuple[str, float]:
    """Ask for more pictures than anybody waits for; the job, and the seconds to the answer."""
    body = {
        "prompt": "a large red circle on a blue background",
        "count": _PICTURES,
        "steps": _STEPS,
        "seed": time.monotonic_ns() % (1 << 30),
    }
    began = time.perf_counter()
    async with http.post("/generate/image/background", json=body) as answer:
        told: dict[str, Any] = await answer.json()
        took_s = time.perf_counter() - began
        answer.raise_for_status()
    return told["job_id"], took_s


async def _job(http: aiohttp.ClientSession, job: str) -> dict[str, Any]:
    async with http.get(f"/v1/jobs/{job}") as answer:
        told: dict[str, Any] = await answer.json()
        answer.raise_for_status()
    return told


async def _until(http: aiohttp.ClientSession, jobs: Sequence[str], statuses: set[str]) -> None:
    async with asyncio.timeout(_STATE_TIMEOUT_S):
        for job in jobs:
            while (await _job(http, job))["status"] not in statuses:
                await asyncio.sleep(_POLL_S)


async def _made(http: aiohttp.ClientSession, jobs: Sequence[str]) -> int:
    return sum([(await _job(http, job))["progress"]["done"] for job in jobs])


async def _cancel(
    http: aiohttp.ClientSession, jobs: Sequence[str], found: Found, *, still_running: bool = True
) -> None:
    """Stop the jobs, which ought to have been at work until now, and wait until they have."""
    for job in jobs:
        if still_running and (status := (await _job(http, job))["status"]) != "running":
            found.errors.append(f"an image job that was to be at work was {status}")
        async with http.post(f"/v1/jobs/{job}/cancel") as answer:
            await answer.read()
    await _until(http, jobs, {"succeeded", "failed", "cancelled"})


def _rows(found: Found) -> Sequence[tuple[str, str, str, bool]]:
    """What was wanted and found, and whether it holds."""
    submit = percentile(found.submits_ms, 99)
    ratio = _median(found.beside_ms) / _median(found.alone_ms)
    return (
        (
            f"submitting while another job runs, p99 of {len(found.submits_ms)}",
            f"{submit:.1f} ms",
            f"under {_SUBMIT_MS:.0f} ms",
            submit < _SUBMIT_MS,
        ),
        (
            "first token at the median, with image jobs / without",
            f"{ratio:.2f}",
            f"at most {_FIRST_RATIO}",
            ratio <= _FIRST_RATIO,
        ),
        ("errors", str(len(found.errors)), "0", not found.errors),
    )


def _section(found: Found, rows: Sequence[tuple[str, str, str, bool]]) -> str:
    about = ", ".join(f"{name} {value}" for name, value in machine.description().items())
    table = "\n".join(
        f"| {what} | {value} | {wanted} | {'yes' if held else 'NO'} |"
        for what, value, wanted, held in rows
    )
    ratios = Spread.of(
        [
            percentile(beside, 50) / percentile(alone, 50)
            for beside, alone in zip(found.beside_ms, found.alone_ms, strict=True)
        ]
    )
    errors = "".join(f"\n- {error}" for error in sorted(set(found.errors)))
    return f"""\
## Beside image jobs

`make bench-images`: `configs/cpu.yaml`, one client at a time. {_SUBMITS} image jobs are submitted
while another one is at work. Then {len(found.alone_ms)} blocks of {_CHATS} streamed chats of
{OUTPUT_TOKENS} tokens with the bare model alternate with as many blocks while {_JOBS_AT_WORK} image
jobs are at work.

| | measured | wanted | holds |
|---|---|---|---|
{table}

Submitting, p50 / p99 / longest: {percentile(found.submits_ms, 50):.1f} /
{percentile(found.submits_ms, 99):.1f} / {max(found.submits_ms):.1f} ms. First token at the median:
{_median(found.alone_ms):.0f} ms without image jobs, {_median(found.beside_ms):.0f} ms with them;
the ratio by pairs of blocks: {ratios}. Meanwhile {found.pictures} pictures of {_STEPS} steps were
made in {found.beside_s:.0f} s.{errors}

Machine: {about}."""


def _median(blocks: Sequence[Sequence[float]]) -> float:
    return percentile(list(itertools.chain(*blocks)), 50)


if __name__ == "__main__":
    sys.exit(main())
