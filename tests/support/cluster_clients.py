"""Closed loops of clients that put load on the deployments of a cluster."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import aiohttp

from tests.support.cluster_traffic import in_thread
from tests.support.job_clients import ENDED
from tests.support.jobs import job_in

_REQUEST_TIMEOUT_S = 300.0
_PAUSE_S = 0.5  # after a refusal
_OK, _ACCEPTED = 200, 202
_TEXTS = 8  # in one call to be embedded


@dataclass
class ClosedLoops:
    """Closed loops of clients, counted by what they ask for; `statuses` counts the answers.

    `chat` reads a page that hangs and answers at length, `embed` sends some texts, `upload`
    sends a small new file and waits until it is processed, `draw` asks for pictures.
    """

    url: str
    hanging_page: str
    clients: Mapping[str, int]
    statuses: Counter[str] = field(default_factory=Counter)

    @contextlib.contextmanager
    def running(self) -> Iterator[Self]:
        """Send until the block ends; requests under way are then cancelled."""
        with in_thread(self._run):
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
            path, content = self._request(kind, f"{number}-{turn}")
            status = 0
            with contextlib.suppress(aiohttp.ClientError, TimeoutError):
                async with http.post(path, **content) as answer:
                    status, accepted = answer.status, await answer.read()
                if status == _ACCEPTED:
                    await job_in(http, json.loads(accepted)["job_id"], ENDED)
            self.statuses[f"{kind} {status}"] += 1
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
