"""A second key beside an attack: its chats, the health checks, and the replicas of the service."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import numpy as np
import psutil

from tests.support.load import questions
from tests.support.paths import ROOT

_MODELS = ("genserve", "SmolLM2-135M-Instruct")
_TOKENS = 16
_CLIENTS = 2
_CHAT_TIMEOUT_S = 60.0
_HEALTH_PERIOD_S = 0.1
_OK = 200
_REPLICA = re.compile(r"ServeReplica:genserve:(\w+)")


@dataclass
class Seen:
    """What the second key saw; times in seconds."""

    statuses: list[int] = field(default_factory=list)
    chats_s: list[float] = field(default_factory=list)
    healths_s: list[float] = field(default_factory=list)
    unhealthy: int = 0  # health checks that failed

    @property
    def succeeded(self) -> float:
        """The share of chats that were answered."""
        return self.statuses.count(_OK) / len(self.statuses)

    @property
    def median_s(self) -> float:
        """The median time of the chats that were answered."""
        return statistics.median(self.chats_s) if self.chats_s else float("inf")

    @property
    def health_p99_s(self) -> float:
        """The 99th percentile of `/healthz`; a check that failed took for ever."""
        times_s = [*self.healths_s, *[float("inf")] * self.unhealthy]
        return float(np.percentile(times_s, 99, method="higher"))


async def chats(url: str, key: str, count: int) -> Seen:
    """Ask the answering model and the bare one in turn, and `/healthz` all the time."""
    seen, numbers = Seen(), iter(range(count))
    timeout = aiohttp.ClientTimeout(total=_CHAT_TIMEOUT_S)
    prompts = list(itertools.islice(questions(), count))

    async def client(http: aiohttp.ClientSession) -> None:
        for number in numbers:
            body = {
                "model": _MODELS[number % 2],
                "messages": [{"role": "user", "content": prompts[number]}],
                "max_tokens": _TOKENS,
                "ignore_eos": True,
            }
            began = time.perf_counter()
            status = 0
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with http.post("/v1/chat/completions", json=body) as answer:
                    await answer.read()
                    status = answer.status
            seen.statuses.append(status)
            if status == _OK:
                seen.chats_s.append(time.perf_counter() - began)

    headers = {"authorization": f"Bearer {key}"}
    async with (
        aiohttp.ClientSession(url, headers=headers, timeout=timeout) as http,
        _health_checks(url, seen),
        asyncio.TaskGroup() as group,
    ):
        for _ in range(_CLIENTS):
            group.create_task(client(http))
    return seen


def _time_without_waits() -> float:
    """Return seconds of a clock that stops while this thread waits for a core.

    A real client has its own machine. Here the model takes both cores, and most of the time of a
    slow health check was this thread's.
    """
    waited_ns = int(Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()[1])
    return time.perf_counter() - waited_ns / 1e9


@contextlib.asynccontextmanager
async def _health_checks(url: str, seen: Seen) -> AsyncIterator[None]:
    async def check() -> None:
        async with aiohttp.ClientSession(url) as http:
            while True:
                began = _time_without_waits()
                try:
                    async with http.get("/healthz") as answer:
                        answer.raise_for_status()
                except (aiohttp.ClientError, TimeoutError):
                    seen.unhealthy += 1
                finally:  # also of the one that has no answer at the end
                    seen.healths_s.append(_time_without_waits() - began)
                await asyncio.sleep(_HEALTH_PERIOD_S)

    checking = asyncio.create_task(check())
    try:
        yield
    finally:
        checking.cancel()
        await asyncio.wait({checking})


@contextlib.contextmanager
def attacking(url: str, key: str, web_port: int, *names: str) -> Iterator[dict[str, Counter[str]]]:
    """Run attacks, if any, in a process of the lowest priority: a real one has its own machine.

    Yields what each attack has sent and seen, which is filled in when the block ends.
    """
    seen = {name: Counter[str]() for name in names}
    if not names:
        yield seen
        return
    with tempfile.TemporaryFile() as output:
        process = psutil.Popen(
            [sys.executable, "-m", "tests.support.attacks", url, key, str(web_port), *names],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.DEVNULL,
        )
        process.nice(19)
        try:
            yield seen
        finally:
            process.kill()
            process.wait()
            output.seek(0)
            lines = [line for line in output if line.endswith(b"\n")]
            for name, counts in json.loads(lines[-1] if lines else b"{}").items():
                seen[name].update(counts)


def replicas(root: psutil.Process) -> dict[int, str]:
    """Return the deployment of each replica by its process id."""
    found = {}
    for process in root.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if match := _REPLICA.search(" ".join(process.cmdline())):
                found[process.pid] = match[1]
    return found


def resident_bytes(pids: dict[int, str], deployment: str) -> int:
    """Return the resident memory of the replicas of a deployment."""
    total = 0
    for pid, name in pids.items():
        with contextlib.suppress(psutil.NoSuchProcess):
            total += psutil.Process(pid).memory_info().rss if name == deployment else 0
    return total
