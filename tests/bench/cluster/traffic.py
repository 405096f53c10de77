"""Steady requests of the main job, through the entries that are well, and what became of each."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.bench.cluster.beside import beside

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator, Sequence

_REQUEST_TIMEOUT_S = 120.0
_ENTRY_CHECK_PERIOD_S = 1.0
_ENTRY_CHECK_TIMEOUT_S = 5.0
_OK = 200


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
    """Keeps a rate whatever the answers take; half of the requests stream.

    `entries` gives the ports of the proxies. As a load balancer does, it asks each for its
    health once a second and, where no connection can be made, takes the next one.
    """

    entries: Callable[[], Sequence[int]]
    per_second: float
    prompts: Sequence[str]
    tokens: int = 2  # what is shown is that answers come, not how fast a model writes
    requests: list[Request] = field(default_factory=list)

    @contextlib.contextmanager
    def flowing(self) -> Iterator[Traffic]:
        """Send from a thread of its own until the block ends, then wait for the last answers."""
        with beside(self._run):
            yield self

    def failed(self) -> list[Request]:
        """Those that ended in anything but a whole answer."""
        return [request for request in self.requests if request.error is not None]

    async def _run(self, stop: threading.Event) -> None:
        timeout = aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT_S)
        # A connection a request: whether one was refused before it was sent is then certain.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        well: set[int] = set(self.entries())
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as http:
            checking = asyncio.create_task(self._check(http, well))
            try:
                async with asyncio.TaskGroup() as group:
                    due = time.monotonic()
                    for number in itertools.count():
                        if stop.is_set():
                            break
                        group.create_task(self._send(http, number, well))
                        due += 1 / self.per_second
                        await asyncio.sleep(max(0, due - time.monotonic()))
            finally:
                checking.cancel()

    async def _check(self, http: aiohttp.ClientSession, well: set[int]) -> None:
        """Keep `well` to the entries that say they are."""

        async def is_well(port: int) -> bool:
            url, timeout = _url(port, "/-/healthz"), aiohttp.ClientTimeout(_ENTRY_CHECK_TIMEOUT_S)
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with http.get(url, timeout=timeout) as answer:
                    return answer.status == _OK
            return False

        while True:
            ports = list(self.entries())
            states = await asyncio.gather(*map(is_well, ports))
            well.clear()
            well.update(itertools.compress(ports, states))
            await asyncio.sleep(_ENTRY_CHECK_PERIOD_S)

    async def _send(self, http: aiohttp.ClientSession, number: int, well: set[int]) -> None:
        request = Request(streamed=bool(number % 2), began=time.monotonic())
        self.requests.append(request)
        body = {
            "prompt": self.prompts[number // 2 % len(self.prompts)],
            "max_tokens": self.tokens,
            "stream": request.streamed,
        }
        error: str | None = "there is no entry"
        for port in _in_turn(sorted(well), number):
            try:
                error = await self._answered(http, port, body, request)
            except aiohttp.ClientConnectorError as refused:
                error = repr(refused)
                well.discard(port)
                continue
            except (aiohttp.ClientError, TimeoutError, ValueError) as broken:
                error = repr(broken)
            break
        request.error, request.ended = error, time.monotonic()

    async def _answered(
        self, http: aiohttp.ClientSession, port: int, body: dict[str, Any], request: Request
    ) -> str | None:
        async with http.post(_url(port, "/generate/text"), json=body) as answer:
            if answer.status != _OK:
                return f"status {answer.status}: {(await answer.text())[:300]}"
            if not request.streamed:
                whole = await answer.json()
                request.sources = len(whole["sources"])
                request.warnings = tuple(warning["code"] for warning in whole["warnings"])
                return None
            names = []
            async for event in _events(answer):
                names.append(event[0])
                if event[0] == "error":
                    return f"event {event[1]}"
                if event[0] == "sources":
                    request.sources = len(event[1]["sources"])
                    request.warnings = tuple(w["code"] for w in event[1]["warnings"])
            return None if names[-1:] == ["done"] else f"broke off after {len(names)} events"


def tally(requests: Sequence[Request]) -> dict[str, Any]:
    """Count what there was, for a table."""
    times = sorted(request.ended - request.began for request in requests)
    return {
        "requests": len(requests),
        "streamed": sum(request.streamed for request in requests),
        "failed": sum(request.error is not None for request in requests),
        "errors": dict(Counter(r.error for r in requests if r.error is not None)),
        "warnings": dict(Counter(code for r in requests for code in r.warnings)),
        "without_sources": sum(not r.sources for r in requests if r.error is None),
        "median_s": round(times[len(times) // 2], 2),
        "longest_s": round(times[-1], 2),
    }


async def _events(answer: aiohttp.ClientResponse) -> Any:
    rest = ""
    async for data in answer.content.iter_any():
        *blocks, rest = (rest + data.decode()).split("\n\n")
        for block in blocks:
            fields = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
            if "event" in fields:
                yield fields["event"], json.loads(fields["data"])


def _in_turn(ports: Sequence[int], number: int) -> Sequence[int]:
    """All of them, another one first each time."""
    turn = number % len(ports) if ports else 0
    return [*ports[turn:], *ports[:turn]]


def _url(port: int, path: str) -> str:
    return f"http://127.0.0.1:{port}{path}"
