"""Upload many PDFs at once, ask for `/healthz` at a fixed rate meanwhile, and watch the memory."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from tests.bench.report import Check, Section, checks_table, percentile, percentiles
from tests.bench.service.memory import resident_bytes
from tests.bench.systems import Service
from tests.support.job_clients import ENDED
from tests.support.jobs import job_in
from tests.support.pdfs import PAGES, pdf, sentence

_DOCUMENTS, _QUICK_DOCUMENTS = 20, 3
_REST_S, _QUICK_REST_S = 20.0, 3.0
_HEALTH_PERIOD_S, _MEMORY_PERIOD_S = 0.05, 2.0
_INGEST_TIMEOUT_S, _SETTLE_TIMEOUT_S = 900.0, 120.0
_MAX_HEALTH_MS, _MAX_MEMORY_SHARE = 50.0, 1.10
_GIB = 2**30


@dataclass
class Uploads:
    """What the uploads scenario found; latencies in milliseconds, memory in bytes."""

    idle_ms: list[float] = field(default_factory=list)
    busy_ms: list[float] = field(default_factory=list)
    unhealthy: int = 0
    refused: int = 0
    succeeded: int = 0
    chunks: int = 0
    findable: int = 0
    seconds: float = 0.0
    before: int = 0
    peak: int = 0
    after: int = 0
    settled_s: float = 0.0


async def measure(service: Service, *, quick: bool) -> Section:
    """Upload, watch, search. Raises TimeoutError if the jobs do not end in a quarter of an hour."""
    documents, rest_s = (_QUICK_DOCUMENTS, _QUICK_REST_S) if quick else (_DOCUMENTS, _REST_S)
    found = Uploads()
    files = [pdf(number) for number in range(documents)]
    async with service.session() as http:
        async with _watched(http, service, found, found.idle_ms):
            await asyncio.sleep(rest_s)
        found.before = await _memory(service)
        began = time.monotonic()
        async with _watched(http, service, found, found.busy_ms):
            answers = await asyncio.gather(
                *(_upload(http, number, data) for number, data in enumerate(files))
            )
            accepted = [answer for answer in answers if answer is not None]
            async with asyncio.timeout(_INGEST_TIMEOUT_S):
                jobs = await asyncio.gather(
                    *(job_in(http, one["job_id"], ENDED) for one in accepted)
                )
        found.seconds = time.monotonic() - began
        found.refused = documents - len(accepted)
        found.succeeded = sum(job["status"] == "succeeded" for job in jobs)
        found.chunks = sum(job["progress"]["done"] for job in jobs)
        await _settle(service, found)
        for number, answer in enumerate(answers):
            if answer is not None:
                found.findable += await _finds(http, number, answer["document_id"])
    return _section(found, documents)


@contextlib.asynccontextmanager
async def _watched(
    http: aiohttp.ClientSession, service: Service, found: Uploads, latencies_ms: list[float]
) -> AsyncIterator[None]:
    """Ask for health at a fixed rate and look at the memory until the block ends."""

    async def ask() -> None:
        began = time.perf_counter()
        try:
            async with http.get("/healthz") as answer:
                await answer.read()
                found.unhealthy += not answer.ok
        except (aiohttp.ClientError, TimeoutError):
            found.unhealthy += 1
        latencies_ms.append((time.perf_counter() - began) * 1000)

    async def keep_asking(group: asyncio.TaskGroup) -> None:
        due = time.perf_counter()
        while True:
            group.create_task(ask())
            due += _HEALTH_PERIOD_S
            await asyncio.sleep(max(0, due - time.perf_counter()))

    async def keep_looking() -> None:
        while True:
            found.peak = max(found.peak, await _memory(service))
            await asyncio.sleep(_MEMORY_PERIOD_S)

    async with asyncio.TaskGroup() as group:
        watching = [group.create_task(keep_asking(group)), group.create_task(keep_looking())]
        yield
        for one in watching:
            one.cancel()


async def _memory(service: Service) -> int:
    return sum((await asyncio.to_thread(resident_bytes, service.process)).values())


async def _upload(http: aiohttp.ClientSession, number: int, data: bytes) -> dict[str, Any] | None:
    form = aiohttp.FormData()
    form.add_field("file", data, filename=f"volume-{number}.pdf", content_type="application/pdf")
    async with http.post("/upload", data=form) as answer:
        accepted: dict[str, Any] = await answer.json()
        return accepted if answer.ok else None


async def _settle(service: Service, found: Uploads) -> None:
    """Wait until the memory is back to what it was, but only for a limited time."""
    began = time.monotonic()
    while True:
        found.after = await _memory(service)
        found.settled_s = time.monotonic() - began
        if found.after <= found.before * _MAX_MEMORY_SHARE or found.settled_s > _SETTLE_TIMEOUT_S:
            return
        await asyncio.sleep(_MEMORY_PERIOD_S)


async def _finds(http: aiohttp.ClientSession, number: int, document_id: str) -> bool:
    """Return whether a sentence of the document has it as a source."""
    body = {"prompt": sentence(number, number % PAGES + 1), "max_tokens": 1, "top_k": 3}
    async with http.post("/generate/text", json=body) as answer:
        sources = (await answer.json()).get("sources", [])
    return any(source["uri"].endswith(document_id) for source in sources)


def _section(found: Uploads, documents: int) -> Section:
    health_ms, share = percentile(found.busy_ms, 99), found.after / found.before
    checks = [
        Check.equal("uploads refused", found.refused),
        Check.equal("jobs succeeded", found.succeeded, documents),
        Check.equal("documents found", found.findable, documents),
        Check.equal("`/healthz` failed", found.unhealthy),
        Check.at_most("`/healthz` meanwhile, p99", health_ms, _MAX_HEALTH_MS, "{:.1f} ms"),
        Check.at_most("memory afterwards, of before", share, _MAX_MEMORY_SHARE, "{:.1%}"),
    ]
    body = f"""\
## Uploads at once

`make bench-uploads`: {documents} PDFs of {PAGES} pages are uploaded at the same time to
`configs/cpu.yaml`, and `/healthz` is asked every {_HEALTH_PERIOD_S * 1000:.0f} ms.

{checks_table(checks)}

All were searchable after {found.seconds:.0f} s ({found.chunks} chunks,
{found.chunks / found.seconds:.1f} a second). `/healthz`, p50 / p99 / longest:
{percentiles(found.idle_ms)} ms at rest, {percentiles(found.busy_ms)} ms meanwhile
({len(found.busy_ms)} requests). Memory of all processes, resident:
{found.before / _GIB:.2f} GiB before, {found.peak / _GIB:.2f} at the most,
{found.after / _GIB:.2f} after {found.settled_s:.0f} s."""
    return Section("uploads", body, checks)
