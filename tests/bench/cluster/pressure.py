"""More work than the fewest replicas want: clients that ask again when they are answered."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp

from tests.bench.cluster.beside import beside

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator, Mapping

_REQUEST_TIMEOUT_S = 300.0
_PAUSE_S = 0.5  # after a refusal
_OK, _ACCEPTED = 200, 202
_TEXTS = 8  # of one call to be embedded


@dataclass
class Pressure:
    """Clients by what they ask for, on one service; `statuses` counts what they were told.

    `chat` reads a page that hangs and answers at length, `embed` sends some texts, `upload`
    sends a small file that is always another one and waits until it is read, `draw` asks for
    pictures and waits for them.
    """

    url: str
    hanging_page: str
    clients: Mapping[str, int]
    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)

    @contextlib.contextmanager
    def applied(self) -> Iterator[Pressure]:
        """Press from a thread of its own until the block ends; what is under way is let go."""
        with beside(self._run):
            yield self

    async def _run(self, stop: threading.Event) -> None:
        timeout = aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT_S)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(self.url, timeout=timeout, connector=connector) as http:
            tasks = [
                asyncio.create_task(self._client(http, kind, number))
                for kind, count in self.clients.items()
                for number in range(count)
            ]
            while not stop.is_set():
                await asyncio.sleep(_PAUSE_S)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _client(self, http: aiohttp.ClientSession, kind: str, number: int) -> None:
        for turn in itertools.count():
            path, sent = self._request(kind, f"{number}-{turn}")
            status = 0
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with http.post(path, **sent) as answer:
                    status, told = answer.status, await answer.read()
                if status == _ACCEPTED:
                    await _ended(http, json.loads(told)["job_id"])
            self.statuses[kind, status] += 1
            if status not in {_OK, _ACCEPTED}:
                await asyncio.sleep(_PAUSE_S)

    def _request(self, kind: str, unique: str) -> tuple[str, dict[str, Any]]:
        if kind == "chat":
            prompt = f"Read {self.hanging_page} and tell a long story, number {unique}."
            return "/generate/text", {"json": {"prompt": prompt, "max_tokens": 64}}
        if kind == "embed":
            texts = [f"The story {unique} has a part {part}." * 4 for part in range(_TEXTS)]
            return "/v1/embeddings", {"json": {"model": "all-MiniLM-L6-v2", "input": texts}}
        if kind == "upload":
            form = aiohttp.FormData()
            text = f"# File {unique}\n\n" + f"Nothing in {unique} is worth reading. " * 50
            form.add_field("file", text.encode(), filename=f"{unique}.md")
            return "/upload", {"data": form}
        body = {"prompt": f"a red circle {unique}", "n": 4}
        return "/v1/images/generations", {"json": body}


async def _ended(http: aiohttp.ClientSession, job_id: str) -> None:
    while True:
        async with http.get(f"/v1/jobs/{job_id}") as answer:
            job = await answer.json()
        if answer.ok and job["status"] not in {"queued", "running"}:
            return
        await asyncio.sleep(_PAUSE_S)
