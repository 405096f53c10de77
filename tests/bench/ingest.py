"""How fast documents become searchable, and how soon beside the files of another API key.

The texts are sent twice: to `/upload`, and by OpenAI's client into a vector store.

The service runs without its language model. Embedding alone is the same texts at `/v1/embeddings`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import aiohttp
import openai

from tests.bench import command
from tests.bench.report import Check, Section, checks_table
from tests.support.hostile_files import hostile_file
from tests.support.job_clients import ENDED
from tests.support.jobs import job_in
from tests.support.load import each
from tests.support.pdfs import long_pdf, sentence
from tests.support.processes import started
from tests.support.systems import CPU, NO_MODEL, Configuration, edited_args, ours

_TEXTS, _QUICK_TEXTS = 1400, 60
_HOSTILE, _QUICK_HOSTILE = 250, 20
_LONG_PAGES, _LONG_FILES, _SHORT_FILES = 130, 3, 12
_PDFS, _QUICK_PDFS, _PDF_PAGES = 20, 2, 25
_SENTENCES = 12  # about 200 words, three or four chunks
_UPLOADERS, _HOSTILE_UPLOADERS = 16, 4
_OPENAI_UPLOADERS = 64
_EMBED_BATCH, _EMBED_CALLERS = 32, 4
_MIN_PDF_SHARE = 0.85
_MIN_PER_S, _MIN_SHARE, _MAX_BEHIND_HOSTILE_S, _MAX_BEHIND_LONG_S = 10.0, 0.6, 20.0, 30.0
_KEYS = {"honest": "honest-key-of-the-bench-0001", "hostile": "hostile-key-of-the-bench-0002"}
_PAUSE_S, _TRIES = 0.5, 600
_TIMEOUT_S = 900.0


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Start the service and measure one scenario after the other."""
    with _service() as url:
        yield asyncio.run(_measure(url, quick=options.quick))


@contextlib.contextmanager
def _service() -> Iterator[str]:
    """Run `configs/cpu.yaml` with two API keys and no language model."""
    with tempfile.TemporaryDirectory(prefix="genserve-bench-") as folder:
        system = ours(Configuration.read(CPU), Path(folder))
        with edited_args(system) as args:
            args["llm"] = dict(NO_MODEL)
        keys = ",".join(f"{name}:{key}" for name, key in _KEYS.items())
        run = replace(
            system.command,
            ready_url=system.command.ready_url.replace("/readyz", "/healthz"),
            env={"GENSERVE_API_KEYS": keys},
        )
        with started(run, Path(folder) / "log"):
            yield system.url


async def _measure(url: str, *, quick: bool) -> Section:
    texts = [
        " ".join(sentence(number, page) for page in range(1, _SENTENCES + 1))
        for number in range(_QUICK_TEXTS if quick else _TEXTS)
    ]
    hostile = _QUICK_HOSTILE if quick else _HOSTILE
    async with _session(url, "honest") as honest, _session(url, "hostile") as other:
        await _ingest(honest, [("warm.txt", b"to warm up"), ("warm.pdf", long_pdf(0, 1))])
        files = [(f"{number}.txt", text.encode()) for number, text in enumerate(texts)]
        ingested_s = await _ingest(honest, files)
        embedded_s = await _embed(honest, texts)
        refused, completed, sent_s, stored_s = await _send_by_openai(url, texts)
        pdfs = _QUICK_PDFS if quick else _PDFS
        pdfs_s, chunks = await _ingest_pdfs(url, pdfs)
        pdfs_embedded_s = await _embed(honest, chunks)
        for number in range(1, _LONG_FILES + 1):
            await _upload(honest, f"long {number}.pdf", long_pdf(1000 * number, _LONG_PAGES))
        short = [(f"short {n}.pdf", long_pdf(9000 + n, 1)) for n in range(_SHORT_FILES)]
        behind_long_s = await _ingest_behind(honest, short)
        long_waited = await _unfinished(honest)
        await _until_idle(honest)

        async def attack(number: int) -> bool:
            with contextlib.suppress(ValueError):
                return bool(await _upload(other, *hostile_file(number)))
            return False

        accepted = sum(await each(attack, range(hostile), _HOSTILE_UPLOADERS))
        text = ("s.txt", b"thirty bytes about marmalade.")
        behind_hostile_s = await _ingest_behind(honest, [text])
        hostile_waited = await _unfinished(other)
    rate = len(texts) / ingested_s
    behind_long = f"{_SHORT_FILES} pages behind {_LONG_FILES} of {_LONG_PAGES}"
    behind_hostile = f"a text behind {hostile} hostile files"
    checks = [
        Check.at_least("short texts a second", rate, _MIN_PER_S, "{:.1f}"),
        Check.at_least("of embedding alone", embedded_s / ingested_s, _MIN_SHARE, "{:.2f}"),
        Check.at_least(
            f"{pdfs} PDFs of {_PDF_PAGES} pages, of embedding alone",
            pdfs_embedded_s / pdfs_s,
            _MIN_PDF_SHARE,
            "{:.2f}",
        ),
        Check.equal("refused to OpenAI's client", refused, 0),
        Check.equal("of its texts completed", completed, len(texts)),
        Check.at_most(behind_long, behind_long_s, _MAX_BEHIND_LONG_S, "{:.1f} s"),
        Check.at_least("long files not finished then", long_waited, 1),
        Check.at_most(behind_hostile, behind_hostile_s, _MAX_BEHIND_HOSTILE_S, "{:.1f} s"),
        Check.equal("hostile files accepted", accepted, hostile),
        Check.at_least("hostile files not finished then", hostile_waited, hostile // 2),
    ]
    body = f"""\
## Ingestion

`make bench-ingest`: `configs/cpu.yaml` without its language model. {len(texts)} short texts of one
API key are uploaded by {_UPLOADERS} callers, and the same texts are then embedded at
`/v1/embeddings`. OpenAI's client, with its retries, uploads them once more, {_OPENAI_UPLOADERS} at
a time, and attaches each to a vector store. {_SHORT_FILES} PDFs of one page are uploaded behind
{_LONG_FILES} of {_LONG_PAGES} pages of the same key, and a text of 30 bytes behind {hostile}
hostile files of 1 to 2 MB of another key, which {_HOSTILE_UPLOADERS} callers upload: Markdown,
HTML, damaged PDFs and PDFs of 130 pages.

{checks_table(checks)}

All texts were searchable after {ingested_s:.0f} s; embedding alone took {embedded_s:.0f} s. Those
of OpenAI's client were sent after {sent_s:.0f} s, and searchable after {stored_s:.0f} s. {pdfs}
PDFs of {_PDF_PAGES} pages, attached at once by a batch, were searchable after {pdfs_s:.0f} s
({pdfs * _PDF_PAGES / pdfs_s:.1f} pages a second); embedding their {len(chunks)} chunks alone took
{pdfs_embedded_s:.0f} s."""
    return Section("ingest", body, checks)


def _session(url: str, name: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        url,
        headers={"authorization": f"Bearer {_KEYS[name]}"},
        timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
        connector=aiohttp.TCPConnector(limit=0),
    )


async def _send_by_openai(url: str, texts: Sequence[str]) -> tuple[int, int, float, float]:
    """Upload texts and attach them to a vector store as fast as OpenAI's client can.

    Return how many were refused and completed, and the seconds to send and to ingest them.
    """
    refused = 0
    async with openai.AsyncOpenAI(api_key=_KEYS["honest"], base_url=f"{url}/v1") as client:
        store = await client.vector_stores.create(name="bench")

        async def send(number: int) -> None:
            nonlocal refused
            name = f"by OpenAI {number}.txt"
            try:
                file = await client.files.create(
                    file=(name, texts[number].encode()), purpose="assistants"
                )
                await client.vector_stores.files.create(store.id, file_id=file.id)
            except openai.APIError:
                refused += 1

        began = time.monotonic()
        await each(send, range(len(texts)), _OPENAI_UPLOADERS)
        sent_s = time.monotonic() - began
        async with asyncio.timeout(_TIMEOUT_S):
            while (await client.vector_stores.retrieve(store.id)).file_counts.in_progress:
                await asyncio.sleep(_PAUSE_S)
        counts = (await client.vector_stores.retrieve(store.id)).file_counts
        return refused, counts.completed, sent_s, time.monotonic() - began


async def _ingest_pdfs(url: str, count: int) -> tuple[float, list[str]]:
    """Attach PDFs to a vector store at once; return the seconds that took, and their chunks."""
    async with openai.AsyncOpenAI(api_key=_KEYS["honest"], base_url=f"{url}/v1") as client:
        store = await client.vector_stores.create(name="PDFs")
        files = [
            await client.files.create(
                file=(f"{n}.pdf", long_pdf(50_000 + n, _PDF_PAGES)), purpose="assistants"
            )
            for n in range(count)
        ]
        ids = [file.id for file in files]
        began = time.monotonic()
        await client.vector_stores.file_batches.create(store.id, file_ids=ids)
        async with asyncio.timeout(_TIMEOUT_S):
            while (await client.vector_stores.retrieve(store.id)).file_counts.in_progress:
                await asyncio.sleep(_PAUSE_S)
        seconds = time.monotonic() - began
        counts = (await client.vector_stores.retrieve(store.id)).file_counts
        if counts.completed != count:
            msg = f"{count - counts.completed} of the PDFs were not completed"
            raise ValueError(msg)
        chunks: list[str] = []
        for file_id in ids:
            content = await client.vector_stores.files.content(file_id, vector_store_id=store.id)
            chunks += [part.text or "" for part in content.data]
    return seconds, chunks


async def _ingest(http: aiohttp.ClientSession, files: Sequence[tuple[str, bytes]]) -> float:
    """Upload files and wait until nothing is left to do; return the seconds that took."""
    began = time.monotonic()
    await each(lambda file: _upload(http, *file), files, _UPLOADERS)
    await _until_idle(http)
    seconds = time.monotonic() - began
    async with http.get("/v1/jobs", params={"status": "failed", "limit": "1"}) as answer:
        for job in (await answer.json())["data"]:
            msg = f"{job['id']} has failed: {job['error']}"
            raise ValueError(msg)
    return seconds


async def _ingest_behind(http: aiohttp.ClientSession, files: Sequence[tuple[str, bytes]]) -> float:
    """Upload files and wait for their own jobs; return the seconds that took."""
    began = time.monotonic()
    for job_id in await each(lambda file: _upload(http, *file), files, _UPLOADERS):
        async with asyncio.timeout(_TIMEOUT_S):
            job = await job_in(http, job_id, ENDED)
        if job["status"] != "succeeded":
            msg = f"{job_id} has {job['status']}: {job['error']}"
            raise ValueError(msg)
    return time.monotonic() - began


async def _upload(http: aiohttp.ClientSession, name: str, data: bytes) -> str:
    """Upload a file and return the id of its job; raises ValueError if it is refused too often."""
    for _ in range(_TRIES):
        form = aiohttp.FormData()
        form.add_field("file", data, filename=name)
        async with http.post("/upload", data=form) as answer:
            if answer.status != HTTPStatus.TOO_MANY_REQUESTS:
                answer.raise_for_status()
                job_id: str = (await answer.json())["job_id"]
                return job_id
        await asyncio.sleep(_PAUSE_S)
    msg = f"{name} was refused {_TRIES} times"
    raise ValueError(msg)


async def _unfinished(http: aiohttp.ClientSession) -> int:
    return await _count(http, "queued") + await _count(http, "running")


async def _count(http: aiohttp.ClientSession, status: str, most: int = 1000) -> int:
    """Count the jobs of a status, but not much further than to `most`."""
    count = 0
    page: dict[str, Any] = {"has_more": True, "next_after": None}
    while page["has_more"] and count < most:
        after = {"after": page["next_after"]} if page["next_after"] else {}
        query = {"status": status, "limit": str(min(most, 100)), **after}
        async with http.get("/v1/jobs", params=query) as answer:
            answer.raise_for_status()
            page = await answer.json()
        count += len(page["data"])
    return count


async def _until_idle(http: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(_TIMEOUT_S):
        for status in ("queued", "running", "queued"):
            while await _count(http, status, most=1):
                await asyncio.sleep(_PAUSE_S)


async def _embed(http: aiohttp.ClientSession, texts: Sequence[str]) -> float:
    """Return the seconds that the embeddings of all texts take."""
    began = time.monotonic()

    async def embed(start: int) -> None:
        body = {"input": texts[start : start + _EMBED_BATCH], "model": "all-MiniLM-L6-v2"}
        async with http.post("/v1/embeddings", json=body) as answer:
            answer.raise_for_status()
            await answer.read()

    await each(embed, range(0, len(texts), _EMBED_BATCH), _EMBED_CALLERS)
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(
        command.run(command.parser("tests.bench.ingest", __doc__), measure, errors=(ValueError,))
    )
