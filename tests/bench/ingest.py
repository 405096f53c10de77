"""How fast documents become searchable, and how soon beside the files of another API key.

The service runs without its language model. Embedding alone is the same texts at `/v1/embeddings`.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import aiohttp
import yaml
from reportlab.pdfgen.canvas import Canvas

from tests.bench import command
from tests.bench.report import Check, Section, checks_table
from tests.support.pdfs import PAGES, sentence
from tests.support.processes import started
from tests.support.systems import CPU, Configuration, ours

_TEXTS, _QUICK_TEXTS = 1400, 60
_HOSTILE, _QUICK_HOSTILE = 250, 20
_LONG_PAGES, _LONG_FILES, _SHORT_FILES = 130, 3, 12
_SENTENCES = 12  # about 200 words, three or four chunks
_UPLOADERS = 16
_EMBED_BATCH, _EMBED_CALLERS = 32, 4
_MIN_PER_S, _MIN_SHARE, _MAX_BEHIND_HOSTILE_S, _MAX_BEHIND_LONG_S = 10.0, 0.6, 20.0, 30.0
_KEYS = {"honest": "honest-key-of-the-bench-0001", "hostile": "hostile-key-of-the-bench-0002"}
_PAUSE_S = 0.1
_TIMEOUT_S = 900.0


def main() -> int:
    """Run the bench; return its exit status."""
    return command.run(command.parser("tests.bench.ingest", __doc__), measure)


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Start the service and measure one scenario after the other."""
    with _service() as url:
        yield asyncio.run(_measure(url, quick=options.quick))


@contextlib.contextmanager
def _service() -> Iterator[str]:
    """Run `configs/cpu.yaml` with two API keys, no rate limit and no language model."""
    with tempfile.TemporaryDirectory(prefix="genserve-bench-") as folder:
        system = ours(Configuration.read(CPU), Path(folder))
        path = Path(system.command.args[-1])
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        args = document["applications"][0]["args"]
        args["llm"] = {
            "engine": "openai",
            "model": "none",
            "served_name": "none",
            "base_url": "http://127.0.0.1:9/v1",
        }
        args["limits"]["requests_per_minute"] = None
        path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        keys = ",".join(f"{name}:{key}" for name, key in _KEYS.items())
        run = replace(
            system.command,
            ready_url=system.command.ready_url.replace("/readyz", "/healthz"),
            env={**system.command.env, "GENSERVE_API_KEYS": keys},
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
        await _ingest(honest, [("warm.txt", b"to warm up"), ("warm.pdf", _pdf(0, 1))])
        ingested_s = await _ingest(
            honest, [(f"{n}.txt", text.encode()) for n, text in enumerate(texts)]
        )
        embedded_s = await _embed(honest, texts)
        long = [(f"long {n}.pdf", _pdf(1000 * n, _LONG_PAGES)) for n in range(1, _LONG_FILES + 1)]
        short = [(f"short {n}.pdf", _pdf(9000 + n, 1)) for n in range(_SHORT_FILES)]
        for name, data in long:
            await _upload(honest, name, data)
        began = time.monotonic()
        await asyncio.gather(*[_until_ended(honest, await _upload(honest, *one)) for one in short])
        behind_long_s = time.monotonic() - began
        await _until_idle(honest)
        for number in range(hostile):
            await _upload(other, f"{number}.md", b"*a **b [" * (12_000 + number))
        began = time.monotonic()
        await _until_ended(honest, await _upload(honest, "s.txt", b"thirty bytes about marmalade."))
        behind_hostile_s = time.monotonic() - began
    rate = len(texts) / ingested_s
    checks = [
        Check.at_least("short texts a second", rate, _MIN_PER_S, "{:.1f}"),
        Check.at_least("of embedding alone", embedded_s / ingested_s, _MIN_SHARE, "{:.2f}"),
        Check.at_most(
            f"{_SHORT_FILES} pages behind {_LONG_FILES} of {_LONG_PAGES}",
            behind_long_s,
            _MAX_BEHIND_LONG_S,
            "{:.1f} s",
        ),
        Check.at_most(
            f"a text behind {hostile} hostile files",
            behind_hostile_s,
            _MAX_BEHIND_HOSTILE_S,
            "{:.1f} s",
        ),
    ]
    body = f"""\
## Ingestion

`make bench-ingest`: `configs/cpu.yaml` without its language model. {len(texts)} short texts of one
API key are uploaded by {_UPLOADERS} callers, and the same texts are then embedded at
`/v1/embeddings`. {_SHORT_FILES} PDFs of one page are uploaded behind {_LONG_FILES} of {_LONG_PAGES}
pages of the same key, and a text of 30 bytes behind {hostile} hostile files of another key.

{checks_table(checks)}

All texts were searchable after {ingested_s:.0f} s; embedding alone took {embedded_s:.0f} s."""
    return Section("ingest", body, checks)


def _session(url: str, name: str) -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        url,
        headers={"authorization": f"Bearer {_KEYS[name]}"},
        timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S),
        connector=aiohttp.TCPConnector(limit=0),
    )


def _pdf(seed: int, pages: int) -> bytes:
    out = io.BytesIO()
    canvas = Canvas(out)
    for page in range(pages):
        for line in range(30):
            text = sentence(seed + page + line, page % PAGES + 1)
            canvas.drawString(60, 780 - 20 * line, text[:90])
        canvas.showPage()
    canvas.save()
    return out.getvalue()


async def _ingest(http: aiohttp.ClientSession, files: Sequence[tuple[str, bytes]]) -> float:
    """Upload files and wait until all are searchable; return the seconds that took."""
    began = time.monotonic()
    left = iter(files)

    async def upload() -> None:
        for name, data in left:
            await _upload(http, name, data)

    await asyncio.gather(*(upload() for _ in range(_UPLOADERS)))
    await _until_idle(http)
    return time.monotonic() - began


async def _upload(http: aiohttp.ClientSession, name: str, data: bytes) -> str:
    """Upload a file, as soon as the queue has room for it; return the id of its job."""
    while True:
        form = aiohttp.FormData()
        form.add_field("file", data, filename=name)
        async with http.post("/upload", data=form) as answer:
            if answer.status != 429:
                answer.raise_for_status()
                job_id: str = (await answer.json())["job_id"]
                return job_id
        await asyncio.sleep(_PAUSE_S)


async def _until_ended(http: aiohttp.ClientSession, job_id: str) -> None:
    """Wait for a job; raises ValueError if it failed."""
    async with asyncio.timeout(_TIMEOUT_S):
        while True:
            async with http.get(f"/v1/jobs/{job_id}") as answer:
                status = (await answer.json())["status"]
            if status == "succeeded":
                return
            if status not in {"queued", "running"}:
                msg = f"job {job_id} {status}"
                raise ValueError(msg)
            await asyncio.sleep(_PAUSE_S)


async def _until_idle(http: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(_TIMEOUT_S):
        for status in ("queued", "running", "queued"):
            while True:
                async with http.get("/v1/jobs", params={"status": status, "limit": 1}) as answer:
                    answer.raise_for_status()
                    if not (await answer.json())["data"]:
                        break
                await asyncio.sleep(_PAUSE_S)


async def _embed(http: aiohttp.ClientSession, texts: Sequence[str]) -> float:
    began = time.monotonic()
    batches = iter(range(0, len(texts), _EMBED_BATCH))

    async def embed() -> None:
        for start in batches:
            body = {"input": texts[start : start + _EMBED_BATCH], "model": "all-MiniLM-L6-v2"}
            async with http.post("/v1/embeddings", json=body) as answer:
                answer.raise_for_status()
                await answer.read()

    await asyncio.gather(*(embed() for _ in range(_EMBED_CALLERS)))
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
