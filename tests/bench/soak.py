"""`python -m tests.bench.soak`: memory and open files in half an hour of mixed load."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import aiohttp
import psutil

from tests.bench import command
from tests.bench.report import Check, Section, say, table
from tests.bench.systems import Service, running_service
from tests.support.bystander import replicas
from tests.support.job_clients import Clients, Ledger
from tests.support.load import questions

_MINUTES, _QUICK_MINUTES = 30.0, 3.0
_SETTLED_SHARE = 1 / 6  # the first five minutes
_CLIENTS, _JOB_CLIENTS = 3, 2
_SAMPLE_S = 10.0
_MAX_GROWTH, _MAX_MORE_FILES = 1.10, 8
_LEAVES_EVERY, _ERRS_EVERY = 5, 7
_MIB = 2**20


@dataclass
class Replica:
    """Samples of one replica, with their times in seconds."""

    times: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    files: list[float] = field(default_factory=list)

    def growth(self, values: list[float], settled_s: float) -> tuple[float, float]:
        """Return the median in the minute around `settled_s`, and that of the last minute."""
        last = self.times[-1]
        near = [v for t, v in zip(self.times, values, strict=True) if abs(t - settled_s) < 30]
        end = [v for t, v in zip(self.times, values, strict=True) if last - t < 60]
        return statistics.median(near), statistics.median(end)


def main() -> int:
    """Run the bench; return its exit status."""
    return command.run(command.parser("tests.bench.soak", __doc__), measure)


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Put the load on a service, and compare its replicas with those of the first minutes."""
    minutes = _QUICK_MINUTES if options.quick else _MINUTES
    with running_service() as service:
        samples = asyncio.run(_soak(service, minutes * 60))
    rows, checks = [], []
    for name, replica in sorted(samples.items()):
        early, late = replica.growth(replica.memory, minutes * 60 * _SETTLED_SHARE)
        opened, files = replica.growth(replica.files, minutes * 60 * _SETTLED_SHARE)
        checks.append(Check.at_most(f"{name}: memory", late / early, _MAX_GROWTH, "{:.2f}"))
        checks.append(Check.at_most(f"{name}: files", files - opened, _MAX_MORE_FILES, "{:+.0f}"))
        rows.append((name, f"{early:.0f}", f"{late:.0f}", f"{opened:.0f}", f"{files:.0f}"))
    headings = ("replica", "MiB early", "MiB at the end", "files early", "files at the end")
    body = f"""\
## Half an hour of mixed load

`make soak`: {minutes:g} minutes of chats (some left, some refused), uploads, pictures and cancelled
jobs. "Early" is after a sixth of the time.

{table(headings, rows)}"""
    yield Section("soak", body, checks, {"samples": samples})


async def _soak(service: Service, seconds: float) -> dict[str, Replica]:
    samples: dict[str, Replica] = defaultdict(Replica)
    began = time.monotonic()
    with Clients(service.url, Ledger(), count=_JOB_CLIENTS, seed=1):
        async with service.session() as http:
            numbers = itertools.count()
            chats = [
                asyncio.create_task(_chat(http, service.model, numbers)) for _ in range(_CLIENTS)
            ]
            while (elapsed := time.monotonic() - began) < seconds:
                for pid, name in replicas(service.process).items():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process = psutil.Process(pid)
                        samples[name].times.append(elapsed)
                        samples[name].memory.append(process.memory_info().rss / _MIB)
                        samples[name].files.append(process.num_fds())
                await asyncio.sleep(_SAMPLE_S)
            for chat in chats:
                chat.cancel()
            await asyncio.wait(chats)
        say("==> the load has ended")
    return dict(samples)


async def _chat(http: aiohttp.ClientSession, model: str, numbers: Iterator[int]) -> None:
    """Ask without end; now and then leave early, or ask for what is refused."""
    for prompt in questions():
        number = next(numbers)
        tokens = 10**6 if number % _ERRS_EVERY == 0 else 32
        body = {"model": model if number % 2 else "genserve", "max_tokens": tokens, "stream": True}
        body |= {"messages": [{"role": "user", "content": prompt}]}
        with contextlib.suppress(aiohttp.ClientError, TimeoutError):
            async with http.post("/v1/chat/completions", json=body) as answer:
                if number % _LEAVES_EVERY:
                    await answer.read()
                else:
                    await answer.content.read(1)


if __name__ == "__main__":
    sys.exit(main())
