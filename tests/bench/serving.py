"""`python -m tests.bench.serving`: the service beside bare vLLM and beside a naive service.

Each round starts every system once, one at a time, and asks it at each number of clients.
The figures so far are written after each round.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tests.bench import command
from tests.bench.report import Section, say
from tests.bench.serving_figures import Figures
from tests.bench.serving_report import section
from tests.bench.systems import NAIVE, naive
from tests.support.load import OUTPUT_TOKENS, closed_loop, connections, questions
from tests.support.processes import cpu_times, started, tail
from tests.support.systems import CPU, Configuration, System, bare, ours

_ROUNDS = 5
_MIN_WARM_UP = 4
_BUSY_PERCENT = 25


class Level(NamedTuple):
    """A number of clients, and the requests that they send in all."""

    clients: int
    requests: int


_LEVELS = [Level(1, 16), Level(8, 64), Level(32, 160)]
_NAIVE_LEVELS = [Level(1, 6), Level(8, 16)]
_QUICK_LEVELS = [Level(1, 1), Level(8, 8)]


def main() -> int:
    """Run the bench; return its exit status."""
    options = command.parser("tests.bench.serving", __doc__)
    options.add_argument("--config", type=Path, default=CPU)
    options.add_argument("--rounds", type=int, default=_ROUNDS)
    options.add_argument("--naive-rounds", type=int, default=1, help="the first ones; 0 for none")
    options.add_argument(
        "--apart", type=float, default=0.0, help="send each request up to so many seconds later"
    )
    return command.run(options, measure, errors=(ValueError,))


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Measure round by round; yield the section anew after each."""
    rounds, levels, naive_levels = options.rounds, _LEVELS, _NAIVE_LEVELS
    if options.quick:
        rounds, levels, naive_levels = 1, _QUICK_LEVELS, _QUICK_LEVELS[:1]
    configuration = Configuration.read(options.config)
    engine_args: dict[str, Any] = dict(configuration.llm.get("engine_args", {}))
    measured: list[Figures] = []
    busy: list[float] = []
    with tempfile.TemporaryDirectory(prefix="genserve-bench-") as folder:
        for number in range(1, rounds + 1):
            for system in _systems(configuration, Path(folder), number, options.naive_rounds):
                busy.append(_busy_percent())
                say(f"==> round {number} of {rounds}: starting {system.name}")
                asked = naive_levels if system.name == NAIVE else levels
                measured += _figures(system, asked, number, Path(folder), options.apart)
            raw = {
                "model": configuration.llm["served_name"],
                "engine_args": engine_args,
                "output_tokens": OUTPUT_TOKENS,
                "cores_busy_before_each_start_percent": busy,
                "measured": [figures.as_json() for figures in measured],
            }
            yield Section("serving", section(measured, engine_args), raw=raw)


def _systems(
    configuration: Configuration, folder: Path, number: int, naive_rounds: int
) -> list[System]:
    """Return the systems of a round; their order alternates, against a drift of the machine."""
    systems = [bare(configuration), ours(configuration, folder / f"ours-{number}")]
    if number % 2 == 0:
        systems.reverse()
    return [*systems, naive(configuration)] if number <= naive_rounds else systems


def _figures(
    system: System, levels: Sequence[Level], number: int, folder: Path, apart_s: float
) -> list[Figures]:
    """Start a system, measure it at each level, and stop it."""
    log = folder / f"{system.name.replace(' ', '-')}-{number}.log"
    began = time.monotonic()
    with started(system.command, log) as process:
        say(f"    ready after {time.monotonic() - began:.0f} s")
        prompts, measured = questions(), []
        for level in levels:
            figures = asyncio.run(
                at_level(system, process, level, prompts, number, apart_s=apart_s)
            )
            say(f"    {figures}")
            if figures.errors:
                say(f"    errors; the end of its log:\n{tail(log)}")
            measured.append(figures)
    return measured


async def at_level(
    system: System,
    process: psutil.Process,
    level: Level,
    prompts: Iterator[str],
    number: int,
    *,
    apart_s: float = 0.0,
) -> Figures:
    warm_up = list(itertools.islice(prompts, max(level.clients, _MIN_WARM_UP)))
    asked = list(itertools.islice(prompts, level.requests))
    async with connections(level.clients) as session:
        await closed_loop(session, system.target, warm_up, level.clients)
        server_before, client_before = cpu_times(process), time.process_time()
        run = await closed_loop(session, system.target, asked, level.clients, apart_s)
        client_cpu_s = time.process_time() - client_before
        cpu_s = cpu_times(process).since(server_before)
    return Figures.of(
        run,
        number=number,
        system=system.name,
        clients=level.clients,
        cpu_s=cpu_s,
        client_cpu_s=client_cpu_s,
    )


def _busy_percent() -> float:
    """Measure how busy the cores are before anything is started."""
    percent: float = psutil.cpu_percent(interval=1.0)
    if percent > _BUSY_PERCENT:
        say(f"warning: the cores are {percent:.0f} % busy with other things")
    return percent


if __name__ == "__main__":
    sys.exit(main())
