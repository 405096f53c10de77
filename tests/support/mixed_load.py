"""Mixed honest load on a service, and samples of the memory and open files of its replicas."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

import aiohttp
import psutil

from tests.support.bystander import replicas
from tests.support.job_clients import Clients, Ledger
from tests.support.load import questions

_CLIENTS, _JOB_CLIENTS = 3, 2
_SAMPLE_S = 10.0
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


async def sampled_load(
    url: str, model: str, launcher: psutil.Process, seconds: float
) -> dict[str, Replica]:
    """Put the load on a service without keys; return the samples of each deployment."""
    samples: dict[str, Replica] = defaultdict(Replica)
    began = time.monotonic()
    with Clients(url, Ledger(), count=_JOB_CLIENTS, seed=1):
        timeout = aiohttp.ClientTimeout(total=300)
        async with aiohttp.ClientSession(url, timeout=timeout) as http:
            numbers = itertools.count()
            chats = [asyncio.create_task(_chat(http, model, numbers)) for _ in range(_CLIENTS)]
            while (elapsed := time.monotonic() - began) < seconds:
                for pid, name in replicas(launcher).items():
                    with contextlib.suppress(psutil.NoSuchProcess):
                        process = psutil.Process(pid)
                        samples[name].times.append(elapsed)
                        samples[name].memory.append(process.memory_info().rss / _MIB)
                        samples[name].files.append(process.num_fds())
                await asyncio.sleep(_SAMPLE_S)
            for chat in chats:
                chat.cancel()
            await asyncio.wait(chats)
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
