"""`python -m tests.bench.uploads`: 20 PDFs of 25 pages at once, and what the service feels of it.

`/healthz` is asked every 50 ms meanwhile, whether or not the last answer has come.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import psutil

from tests.bench import machine
from tests.bench.figures import percentile
from tests.bench.report import HEADING, with_section
from tests.bench.systems import Configuration, ours
from tests.support.pdfs import PAGES, pdf, sentence
from tests.support.processes import ROOT, StartError, started

HERE = Path(__file__).parent
_DOCUMENTS = 20
_REST_S = 20.0
_TICK_S = 0.05
_MEMORY_TICK_S = 2.0
_POLL_S = 1.0
_INGEST_TIMEOUT_S = 900.0
_SETTLE_TIMEOUT_S = 120.0
_REQUEST_TIMEOUT_S = 120.0
_HEALTH_MS, _MEMORY_SHARE = 50.0, 1.10
_GIB = 2**30


@dataclass
class Found:
    """What one run gives; latencies in milliseconds, memory in bytes."""

    idle_ms: list[float] = field(default_factory=list)
    busy_ms: list[float] = field(default_factory=list)
    unhealthy: int = 0
    statuses: list[str] = field(default_factory=list)
    refused: int = 0
    chunks: int = 0
    findable: int = 0
    seconds: float = 0.0
    before: int = 0
    peak: int = 0
    after: int = 0
    settled_s: float = 0.0


def main() -> int:
    """Measure, write the section; 0 if everything is as it has to be."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.uploads", description=__doc__)
    parser.add_argument("--documents", type=int, default=_DOCUMENTS)
    documents = parser.parse_args().documents
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        configuration = Configuration.read(ROOT / "configs" / "cpu.yaml")
        with tempfile.TemporaryDirectory(prefix="genserve-uploads-") as folder:
            system = ours(configuration, Path(folder))
            url = system.command.ready_url.removesuffix("/readyz")
            with started(system.command, Path(folder) / "log") as process:
                found = asyncio.run(measured(url, process, documents))
    except KeyboardInterrupt:
        return 130
    except (StartError, TimeoutError, subprocess.CalledProcessError) as error:
        sys.stdout.write(f"error: {error}\n")
        return 1
    rows = _rows(found, documents)
    text = _section(found, documents, rows)
    if documents == _DOCUMENTS:
        results = HERE / "RESULTS.md"
        before = results.read_text(encoding="utf-8") if results.exists() else HEADING
        results.write_text(with_section(before, "uploads", text), encoding="utf-8")
    sys.stdout.write(text + "\n")
    return 0 if all(held for *_, held in rows) else 1


async def measured(url: str, process: psutil.Process, documents: int) -> Found:
    """Upload, watch, ask. Raises TimeoutError if the jobs do not end in a quarter of an hour."""
    found = Found()
    files = [pdf(number) for number in range(documents)]
    timeout = aiohttp.ClientTimeout(total=_REQUEST_TIMEOUT_S)
    # Without a bound on connections, or a poll would wait for an upload to be done.
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(url, timeout=timeout, connector=connector) as http:
        async with _watched(http, found, found.idle_ms, process):
            await asyncio.sleep(_REST_S)
        found.before = await asyncio.to_thread(resident_bytes, process)
        began = time.monotonic()
        async with _watched(http, found, found.busy_ms, process):
            answers = await asyncio.gather(
                *(_upload(http, number, data) for number, data in enumerate(files))
            )
            accepted = [answer for answer in answers if answer is not None]
            found.refused = documents - len(accepted)
            async with asyncio.timeout(_INGEST_TIMEOUT_S):
                jobs = await asyncio.gather(*(_ended(http, one["job_id"]) for one in accepted))
        found.seconds = time.monotonic() - began
        found.statuses = [job["status"] for job in jobs]
        found.chunks = sum(job["progress"]["done"] for job in jobs)
        await _settle(found, process)
        for number, answer in enumerate(answers):
            if answer is not None:
                found.findable += await _finds(http, number, answer["document_id"])
    return found


def resident_bytes(process: psutil.Process) -> int:
    """Add up resident set sizes; pages that processes share count once for each."""
    total = 0
    for one in (process, *process.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            total += one.memory_info().rss
    return total


@contextlib.asynccontextmanager
async def _watched(
    http: aiohttp.ClientSession, found: Found, latencies_ms: list[float], process: psutil.Process
) -> AsyncIterator[None]:
    """Ask for health and look at the memory as long as the block lasts."""

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
            due += _TICK_S
            await asyncio.sleep(max(0, due - time.perf_counter()))

    async def keep_looking() -> None:
        while True:
            found.peak = max(found.peak, await asyncio.to_thread(resident_bytes, process))
            await asyncio.sleep(_MEMORY_TICK_S)

    async with asyncio.TaskGroup() as group:
        watching = [group.create_task(keep_asking(group)), group.create_task(keep_looking())]
        yield
        for one in watching:
            one.cancel()


async def _upload(http: aiohttp.ClientSession, number: int, data: bytes) -> dict[str, Any] | None:
    form = aiohttp.FormData()
    form.add_field("file", data, filename=f"volume-{number}.pdf", content_type="application/pdf")
    async with http.post("/upload", data=form) as answer:
        told: dict[str, Any] = await answer.json()
        return told if answer.ok else None


async def _ended(http: aiohttp.ClientSession, job_id: str) -> dict[str, Any]:
    while True:
        async with http.get(f"/v1/jobs/{job_id}") as answer:
            job: dict[str, Any] = await answer.json()
        if answer.ok and job["status"] not in {"queued", "running"}:
            return job
        await asyncio.sleep(_POLL_S)


async def _settle(found: Found, process: psutil.Process) -> None:
    """Wait until the memory is back, but not for ever."""
    began = time.monotonic()
    while True:
        found.after = await asyncio.to_thread(resident_bytes, process)
        found.settled_s = time.monotonic() - began
        if found.after <= found.before * _MEMORY_SHARE or found.settled_s > _SETTLE_TIMEOUT_S:
            return
        await asyncio.sleep(_MEMORY_TICK_S)


async def _finds(http: aiohttp.ClientSession, number: int, document_id: str) -> bool:
    """Whether a sentence of the document leads to it."""
    body = {"prompt": sentence(number, number % PAGES + 1), "max_tokens": 1, "top_k": 3}
    async with http.post("/generate/text", json=body) as answer:
        sources = (await answer.json()).get("sources", [])
    return any(source["uri"].endswith(document_id) for source in sources)


def _rows(found: Found, documents: int) -> Sequence[tuple[str, str, str, bool]]:
    """What was wanted and found, and whether it holds."""
    succeeded = found.statuses.count("succeeded")
    health = percentile(found.busy_ms, 99)
    share = found.after / found.before
    return (
        ("uploads refused", str(found.refused), "0", found.refused == 0),
        ("jobs succeeded", str(succeeded), str(documents), succeeded == documents),
        ("documents found", str(found.findable), str(documents), found.findable == documents),
        ("`/healthz` failed", str(found.unhealthy), "0", found.unhealthy == 0),
        (
            "`/healthz` meanwhile, p99",
            f"{health:.1f} ms",
            f"under {_HEALTH_MS:.0f} ms",
            health < _HEALTH_MS,
        ),
        (
            "memory afterwards, of before",
            f"{share:.1%}",
            f"at most {_MEMORY_SHARE:.0%}",
            share <= _MEMORY_SHARE,
        ),
    )


def _section(found: Found, documents: int, rows: Sequence[tuple[str, str, str, bool]]) -> str:
    about = ", ".join(f"{name} {value}" for name, value in machine.description().items())
    table = "\n".join(
        f"| {what} | {value} | {wanted} | {'yes' if held else 'NO'} |"
        for what, value, wanted, held in rows
    )
    return f"""\
## Uploads at once

`make bench-uploads`: {documents} PDFs of {PAGES} pages are uploaded at the same time to
`configs/cpu.yaml`, and `/healthz` is asked every {_TICK_S * 1000:.0f} ms.

| | measured | wanted | holds |
|---|---|---|---|
{table}

All were searchable after {found.seconds:.0f} s ({found.chunks} chunks,
{found.chunks / found.seconds:.1f} a second). `/healthz`, p50 / p99 / longest:
{_spread(found.idle_ms)} ms at rest, {_spread(found.busy_ms)} ms meanwhile
({len(found.busy_ms)} requests). Memory of all processes, resident: {found.before / _GIB:.2f} GiB
before, {found.peak / _GIB:.2f} at the most, {found.after / _GIB:.2f} after {found.settled_s:.0f} s.

Machine: {about}."""


def _spread(values_ms: Sequence[float]) -> str:
    return (
        f"{percentile(values_ms, 50):.1f} / {percentile(values_ms, 99):.1f} / {max(values_ms):.1f}"
    )


if __name__ == "__main__":
    sys.exit(main())
