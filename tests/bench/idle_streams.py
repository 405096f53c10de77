"""`python -m tests.bench.idle_streams`: the memory of 1,000 streams that wait for their next token.

The engine of the fast bench begins all answers and is suspended; then the memory of all processes
is compared with that before.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import aiohttp
import psutil

from tests.bench import command
from tests.bench.fast_engine import configuration, make_model
from tests.bench.report import Check, Section, checks_table, say, table
from tests.support.load import Target, closed_loop, connections, questions
from tests.support.processes import started
from tests.support.systems import CPU, Configuration, edited_args, ours

_STREAMS, _QUICK_STREAMS = 1000, 50
_WARM_UP, _WARM_UP_CLIENTS = 128, 64
_TOKENS = 2000  # none ends meanwhile
_BEGUN_WITHIN_S, _ENDED_S = 300.0, 900.0
_SETTLE_S = 5.0
_SAID_EVERY = 100
_AT_WORK_S, _AT_REST_S = 0.3, 0.7
_MAX_KB = 100.0
_KB, _MIB = 1000, 1024**2


def main() -> int:
    """Run the bench; return its exit status."""
    return command.run(command.parser("tests.bench.idle_streams", __doc__), measure)


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Open the streams, suspend the engine, and compare."""
    streams = _QUICK_STREAMS if options.quick else _STREAMS
    default = Configuration.read(CPU)
    with tempfile.TemporaryDirectory(prefix="genserve-bench-") as text:
        folder = Path(text)
        make_model(folder / "model", default.model)
        system = ours(configuration(default, folder / "model", streams), folder / "ours")
        with edited_args(system) as args:
            args["answer"] |= {
                "first_token_timeout_s": _BEGUN_WITHIN_S,
                "total_timeout_s": _ENDED_S,
            }
        say("==> starting the service")
        with started(system.command, folder / "log") as process:
            before, after = asyncio.run(_opened(process, system.target, streams))
    yield _section(before, after, streams)


async def _opened(
    process: psutil.Process, target: Target, streams: int
) -> tuple[Mapping[str, int], Mapping[str, int]]:
    """Return the memory of each process before and with the streams."""
    async with connections(_WARM_UP_CLIENTS) as session:
        asked = [prompt for prompt, _ in zip(questions(), range(_WARM_UP), strict=False)]
        await closed_loop(session, target, asked, _WARM_UP_CLIENTS)
    await asyncio.sleep(_SETTLE_S)
    before = _memory(process)
    (engine,) = [one for one in process.children(recursive=True) if "EngineCor" in one.name()]
    body = Target(target.url, target.model, tokens=_TOKENS).body("Tell a long story.")
    begun = asyncio.Semaphore(0)

    async def read(session: aiohttp.ClientSession) -> None:
        async with session.post(target.url, json=body) as response:
            response.raise_for_status()
            await response.content.readany()
            begun.release()
            async for _ in response.content.iter_any():
                pass

    patient = aiohttp.ClientTimeout(total=None)
    connector = aiohttp.TCPConnector(limit=streams)
    async with aiohttp.ClientSession(connector=connector, timeout=patient) as session:
        reading = [asyncio.create_task(read(session)) for _ in range(streams)]
        slowing = asyncio.create_task(_slow_down(engine))
        try:
            await _wait_for(begun, reading)
            slowing.cancel()
            engine.suspend()
            await asyncio.sleep(_SETTLE_S)
            return before, _memory(process)
        finally:
            for one in (slowing, *reading):
                one.cancel()
            await asyncio.gather(slowing, *reading, return_exceptions=True)
            engine.resume()


async def _wait_for(begun: asyncio.Semaphore, reading: Sequence[asyncio.Task[None]]) -> None:
    """Return once all streams have begun; raise what ends one, or TimeoutError."""

    async def count() -> None:
        for number in range(1, len(reading) + 1):
            await begun.acquire()
            if number % _SAID_EVERY == 0:
                say(f"    {number} streams have begun")

    counting = asyncio.create_task(count())
    await asyncio.wait(
        [counting, *reading], timeout=_BEGUN_WITHIN_S, return_when=asyncio.FIRST_COMPLETED
    )
    for one in reading:
        if one.done():
            one.result()
    if not counting.done():
        counting.cancel()
        msg = f"not all streams have begun after {_BEGUN_WITHIN_S:.0f} s"
        raise TimeoutError(msg)


async def _slow_down(engine: psutil.Process) -> None:
    """Leave the cores to the streams that are yet to begin."""
    while True:
        engine.resume()
        await asyncio.sleep(_AT_WORK_S)
        engine.suspend()
        await asyncio.sleep(_AT_REST_S)


def _memory(process: psutil.Process) -> Mapping[str, int]:
    """Return the bytes that are each process's own, by name."""
    found: dict[str, int] = {}
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            name = one.name().partition(".")[0]
            found[name] = found.get(name, 0) + one.memory_full_info().uss
    return found


def _section(before: Mapping[str, int], after: Mapping[str, int], streams: int) -> Section:
    grown = {name: after[name] - before.get(name, 0) for name in after}
    kb = sum(grown.values()) / streams / _KB
    check = Check.at_most("memory of a stream, all processes", kb, _MAX_KB, "{:.0f} kB")
    rows = [
        (name, f"{before.get(name, 0) / _MIB:.0f}", f"{after[name] / _MIB:.0f}")
        for name in sorted(grown, key=lambda name: -grown[name])
        if abs(grown[name]) > _MIB
    ]
    body = f"""\
## Streams that wait

`make bench-streams`: {streams:,} streams of one client have begun and wait for their next token,
since the engine is suspended. Memory is what each process shares with no other.

{checks_table([check])}

{table(("process", "before, MiB", "with the streams, MiB"), rows)}"""
    return Section("idle_streams", body, [check], {"before": before, "after": after})


if __name__ == "__main__":
    sys.exit(main())
