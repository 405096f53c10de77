"""`python -m tests.bench.serving`: the service beside bare vLLM and beside a naive service.

Each round starts every system once, one at a time, and asks it at each number of clients.
The figures so far are written after each round.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from tests.bench import machine, report
from tests.bench.figures import Figures
from tests.bench.systems import NAIVE, Configuration, System, bare, naive, ours
from tests.support.load import OUTPUT_TOKENS, closed_loop, connections, questions
from tests.support.processes import ROOT, StartError, cpu_times, started, tail

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

HERE = Path(__file__).parent
_MIN_WARM_UP = 4
_BUSY_PERCENT = 25


@dataclass(frozen=True)
class Level:
    """So many clients, who ask so many requests in all."""

    clients: int
    requests: int

    @classmethod
    def parse(cls, text: str) -> Level:
        """Read CLIENTS:REQUESTS."""
        clients, _, requests = text.partition(":")
        level = cls(int(clients), int(requests))
        if not 1 <= level.clients <= level.requests:
            raise ValueError(text)
        return level


FULL = (Level(1, 16), Level(8, 64), Level(32, 160))
QUICK = (Level(1, 4), Level(8, 16), Level(32, 32))
NAIVE_LEVELS = (Level(1, 6), Level(8, 16))


def main() -> int:
    """Measure, write, and stop everything that was started; the exit status."""
    options = _options()
    # Also where the shell had them ignored, as for a job in the background: what is
    # started here would inherit that, and could not be stopped.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        with tempfile.TemporaryDirectory(prefix="genserve-bench-") as folder:
            _run(options, Path(folder))
    except KeyboardInterrupt:
        _say("stopped")
        return 130
    except (StartError, ValueError, TimeoutError, subprocess.CalledProcessError) as error:
        _say(f"error: {error}")
        return 1
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.serving", description=__doc__)
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "cpu.yaml")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--naive-rounds", type=int, default=1, help="the first ones; 0 for none")
    parser.add_argument(
        "--levels", type=Level.parse, nargs="+", default=FULL, metavar="CLIENTS:REQUESTS"
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="a smoke run: one round, few requests, and nothing is written",
    )
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.levels = 1, QUICK
    return options


def _run(options: argparse.Namespace, folder: Path) -> None:
    configuration = Configuration.read(options.config)
    measured: list[Figures] = []
    busy: list[float] = []
    for number in range(1, options.rounds + 1):
        for system in _order(configuration, folder, number, options.naive_rounds):
            busy.append(_busy_percent())
            _say(f"==> round {number} of {options.rounds}: starting {system.name}")
            asked = options.levels if system.name != NAIVE else NAIVE_LEVELS
            measured += _figures(system, asked, number, folder)
        text = _write(measured, configuration, busy, written=not options.quick)
    _say(f"\n{text}")


def _order(
    configuration: Configuration, folder: Path, number: int, naive_rounds: int
) -> list[System]:
    """Who goes first changes from round to round, against a drift of the machine."""
    systems = [bare(configuration), ours(configuration, folder / f"ours-{number}")]
    if number % 2 == 0:
        systems.reverse()
    return [*systems, naive(configuration)] if number <= naive_rounds else systems


def _figures(system: System, levels: Sequence[Level], number: int, folder: Path) -> list[Figures]:
    """Start a system, ask it at each level, and stop it."""
    log = folder / f"{system.name.replace(' ', '-')}-{number}.log"
    began = time.monotonic()
    with started(system.command, log) as process:
        _say(f"    ready after {time.monotonic() - began:.0f} s")
        prompts, measured = questions(), []
        for level in levels:
            figures = asyncio.run(_at_level(system, process, level, prompts, number))
            _say(_line(figures))
            if figures.errors:
                _say(f"    errors; the end of its log:\n{tail(log)}")
            measured.append(figures)
    return measured


async def _at_level(
    system: System, process: psutil.Process, level: Level, prompts: Iterator[str], number: int
) -> Figures:
    warm_up = list(itertools.islice(prompts, max(level.clients, _MIN_WARM_UP)))
    asked = list(itertools.islice(prompts, level.requests))
    async with connections(level.clients) as session:
        await closed_loop(session, system.target, warm_up, level.clients)
        server_before, client_before = cpu_times(process), time.process_time()
        run = await closed_loop(session, system.target, asked, level.clients)
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
    """See how busy the cores are with things that are not measured."""
    percent: float = psutil.cpu_percent(interval=1.0)
    if percent > _BUSY_PERCENT:
        _say(f"warning: the cores are {percent:.0f} % busy with other things")
    return percent


def _write(
    measured: Sequence[Figures],
    configuration: Configuration,
    busy: Sequence[float],
    *,
    written: bool,
) -> str:
    """Write the section and the raw numbers unless this is a smoke run; return the section."""
    about = machine.description()
    engine_args: dict[str, Any] = dict(configuration.llm.get("engine_args", {}))
    text = report.section(measured, about, engine_args)
    if written:
        results = HERE / "RESULTS.md"
        before = report.HEADING
        with contextlib.suppress(FileNotFoundError):
            before = results.read_text(encoding="utf-8")
        results.write_text(report.with_section(before, "serving", text), encoding="utf-8")
        raw = {
            "machine": about,
            "model": configuration.llm["served_name"],
            "engine_args": engine_args,
            "output_tokens": OUTPUT_TOKENS,
            "cores_busy_before_each_start_percent": list(busy),
            "measured": [figures.as_json() for figures in measured],
        }
        file = HERE / "results" / "serving.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(raw, indent=1) + "\n", encoding="utf-8")
    return text


def _line(one: Figures) -> str:
    gap = "-" if one.gap_p99_ms is None else f"{one.gap_p99_ms:.0f}"
    return (
        f"    {one.clients:3} clients: {one.requests_per_s:6.2f} requests/s, first token "
        f"{one.first_p50_ms:.0f}/{one.first_p99_ms:.0f} ms, gap p99 {gap} ms, "
        f"CPU {one.cpu_ms:.0f} ms/request, {one.errors} errors"
    )


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
