"""Send requests to a cluster at a steady rate, through all healthy proxies."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

_REQUEST_TIMEOUT_S = 120.0
_HEALTH_PERIOD_S, _HEALTH_TIMEOUT_S = 1.0, 5.0
_OK = 200


@contextlib.contextmanager
def in_thread(work: Callable[[threading.Event], Coroutine[None, None, None]]) -> Iterator[None]:
    """Run `work` in a thread of its own; set its event at the end of the block and wait for it."""
    stop = threading.Event()
    thread = threading.Thread(target=lambda: asyncio.run(work(stop)), name="load")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@dataclass
class Request:
    """One request; times are `time.monotonic`, `error` says what went wrong."""

    streamed: bool
    began: float
    ended: float = float("inf")
    error: str | None = None
    warnings: tuple[str, ...] = ()
    sources: int = 0


@dataclass
class Traffic:
    """An open loop: requests at a fixed rate, half of them streamed.

    `ports` returns those of the proxies. As a load balancer does, it checks the health of each
    once a second and, where no connection can be made, takes the next one.
    """

    ports: Callable[[], Sequence[int]]
    per_second: float
    prompts: Sequence[str]
    tokens: int = 2  # whether answers come matters here, not how fast a model writes
    requests: list[Request] = field(default_factory=list)

    @contextlib.contextmanager
    def running(self) -> Iterator[Self]:
        """Send until the block ends, then wait for the last answers."""
        with in_thread(self._run):
            yield self

    def failed(self) -> list[Request]:
        """Return the requests without a whole answer."""
        return [request for request in self.requests if request.error is not None]

    def tally(self) -> dict[str, Any]:
        """Count requests, failures and warnings, and measure the latencies."""
        times = sorted(request.ended - request.began for request in self.requests)
        failed = self.failed()
        return {
            "requests": len(self.requests),
            "streamed": sum(request.streamed for request in self.requests),
            "failed": len(failed),
            "errors": dict(Counter(request.error for request in failed)),
            "warnings": dict(Counter(code for one in self.requests for code in one.warnings)),
            "without_sources": sum(not r.sources for r in self.requests if r.error is None),
            "median_s": round(times[len(times) // 2], 2),
            "longest_s": round(times[-1], 2),
        }

    async def _run(self, stop: threading.Event) -> None:
        timeout = aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT_S)
        # One connection per request: it is then certain whether one was refused before sending.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        healthy: set[int] = set(self.ports())
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as http:
            checking = asyncio.create_task(self._check(http, healthy))
            try:
                async with asyncio.TaskGroup() as group:
                    due = time.monotonic()
                    for number in itertools.count():
                        if stop.is_set():
                            break
                        group.create_task(self._send(http, number, healthy))
                        due += 1 / self.per_second
                        await asyncio.sleep(max(0, due - time.monotonic()))
            finally:
                checking.cancel()

    async def _check(self, http: aiohttp.ClientSession, healthy: set[int]) -> None:
        """Keep `healthy` up to date."""

        async def is_healthy(port: int) -> bool:
            url, timeout = _url(port, "/-/healthz"), aiohttp.ClientTimeout(_HEALTH_TIMEOUT_S)
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with http.get(url, timeout=timeout) as answer:
                    return answer.status == _OK
            return False

        while True:
            ports = list(self.ports())
            states = await asyncio.gather(*map(is_healthy, ports))
            healthy.clear()
            healthy.update(itertools.compress(ports, states))
            await asyncio.sleep(_HEALTH_PERIOD_S)

    async def _send(self, http: aiohttp.ClientSession, number: int, healthy: set[int]) -> None:
        request = Request(streamed=bool(number % 2), began=time.monotonic())
        self.requests.append(request)
        body = {
            "prompt": self.prompts[number // 2 % len(self.prompts)],
            "max_tokens": self.tokens,
            "stream": request.streamed,
        }
        error: str | None = "no proxy is healthy"
        ports = sorted(healthy)
        first = number % len(ports) if ports else 0
        for port in (*ports[first:], *ports[:first]):
            try:
                error = await _answered(http, port, body, request)
            except aiohttp.ClientConnectorError as refused:
                error = repr(refused)
                healthy.discard(port)
                continue
            except (aiohttp.ClientError, TimeoutError, ValueError) as broken:
                error = repr(broken)
            break
        request.error, request.ended = error, time.monotonic()


async def _answered(
    http: aiohttp.ClientSession, port: int, body: dict[str, Any], request: Request
) -> str | None:
    """Send the request and read its whole answer; return what went wrong, if anything."""
    async with http.post(_url(port, "/generate/text"), json=body) as answer:
        if answer.status != _OK:
            return f"status {answer.status}: {(await answer.text())[:300]}"
        if request.streamed:
            events = [event async for event in _events(answer)]
        else:
            events = [("sources", await answer.json()), ("done", {})]
    for name, data in events:
        if name == "error":
            return f"event {data}"
        if name == "sources":
            request.sources = len(data["sources"])
            request.warnings = tuple(warning["code"] for warning in data["warnings"])
    whole = [name for name, _ in events][-1:] == ["done"]
    return None if whole else f"broke off after {len(events)} events"


async def _events(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any]]:
    rest = ""
    async for data in answer.content.iter_any():
        *blocks, rest = (rest + data.decode()).split("\n\n")
        for block in blocks:
            fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
            if "event" in fields:
                yield fields["event"], json.loads(fields["data"])


def _url(port: int, path: str) -> str:
    return f"http://127.0.0.1:{port}{path}"
