"""Extraction in processes: a page that is too much costs its process, and nobody else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import psutil
import pytest
from yarl import URL

from deployments.errors import Unprocessable
from deployments.file_store import FileStore
from deployments.scraper.extract import ExtractionBounds, Extractor
from deployments.scraper.fetch import Download, PageFailure
from deployments.scraper.pdf_pages import PdfPages
from deployments.types import SHORT_PARSE_EXCEEDED, PageOutcome, ParsedDocument, ParseSpec
from serve_app.testing import FakeParser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

# Trafilatura needs a second or more for it.
SLOW = b"<p>one two three four</p>" * 25_000


def page(data: bytes, media_type: str = "text/html") -> Download:
    return Download(URL("http://example.com/"), media_type, "utf-8", data)


def workers() -> set[psutil.Process]:
    return {
        child
        for child in psutil.Process().children()
        if any("spawn_main" in word for word in child.cmdline())
    }


async def until_gone(process: psutil.Process) -> None:
    async with asyncio.timeout(30):
        while process.is_running() and process.status() != psutil.STATUS_ZOMBIE:
            await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
async def extractor() -> AsyncIterator[Extractor]:
    extractor = Extractor(bounds=ExtractionBounds(max_chars=50, timeout_s=0.3))
    await extractor.start()
    yield extractor
    await extractor.close()


async def test_text_is_cut_at_its_bound(extractor: Extractor) -> None:
    for media_type in ("text/html", "text/plain"):
        text = (await extractor.extract(page(b"word " * 100, media_type))).text
        assert len(text) == 50


async def test_a_page_that_takes_too_long_is_given_up(extractor: Extractor) -> None:
    with pytest.raises(PageFailure) as caught:
        await extractor.extract(page(SLOW))
    assert caught.value.outcome is PageOutcome.TIMEOUT
    assert (await extractor.extract(page(b"<p>next</p>"))).text == "next"


async def test_cancelling_kills_the_process_at_work(extractor: Extractor) -> None:
    await extractor.extract(page(b"<p>warm</p>"))
    (worker,) = workers()
    used_s = worker.cpu_times().user
    task = asyncio.create_task(extractor.extract(page(SLOW)))
    async with asyncio.timeout(30):
        while worker.cpu_times().user < used_s + 0.05:
            await asyncio.sleep(0.005)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until_gone(worker)
    assert (await extractor.extract(page(b"<p>next</p>"))).text == "next"


async def test_a_process_killed_from_outside_is_replaced(extractor: Extractor) -> None:
    await extractor.extract(page(b"<p>warm</p>"))
    (worker,) = workers()
    worker.kill()
    await until_gone(worker)
    assert (await extractor.extract(page(b"<p>next</p>"))).text == "next"


async def test_memory_is_bounded() -> None:
    others = workers()
    extractor = Extractor(bounds=ExtractionBounds(memory_bytes=30_000_000))
    try:
        with pytest.raises(PageFailure):
            await extractor.extract(page(b"<p>x</p>" * 1_000_000, "text/html"))
        assert (await extractor.extract(page(b"<p>next</p>"))).text == "next"
    finally:
        await extractor.close()
    assert workers() == others


async def test_the_slow_pages_of_one_prompt_do_not_time_out_those_of_another() -> None:
    others = workers()
    extractor = Extractor(bounds=ExtractionBounds(cpu_s=0.5, timeout_s=60))
    await extractor.start()
    try:
        (worker,) = workers() - others
        hostile = [asyncio.create_task(extractor.extract(page(SLOW), "one")) for _ in range(8)]
        await asyncio.sleep(0)
        other = asyncio.create_task(extractor.extract(page(b"<p>of another prompt</p>"), "two"))
        assert (await other).text == "of another prompt"
        assert sum(task.done() for task in hostile) <= 2
        for task in hostile[1:]:
            task.cancel()
        with pytest.raises(PageFailure) as caught:
            await hostile[0]
        assert caught.value.outcome is PageOutcome.TIMEOUT
        assert worker.is_running()  # over its budget, a page ends without its process
        await asyncio.gather(*hostile, return_exceptions=True)
    finally:
        await extractor.close()


async def test_a_page_with_very_many_attributes_is_refused_before_it_is_read(
    extractor: Extractor,
) -> None:
    attributes = b" ".join(b"a%d=1" % number for number in range(5_000))
    with pytest.raises(PageFailure) as caught:
        await extractor.extract(page(b"<p " + attributes + b">x</p>"))
    assert caught.value.outcome is PageOutcome.TOO_LARGE


async def test_pdfs_wait_for_the_parser_in_turns_and_long_ones_hold_up_no_short_one(
    tmp_path: Path,
) -> None:
    begun: list[str] = []
    go_on = asyncio.Event()

    class Parser(FakeParser):
        async def parse(self, spec: ParseSpec) -> ParsedDocument:
            begun.append(f"{spec.owner} {'short' if spec.short else 'long'}")
            if not spec.short:
                await asyncio.Event().wait()
            await go_on.wait()
            if spec.owner == "many":
                raise Unprocessable("too long", code=SHORT_PARSE_EXCEEDED)
            return await super().parse(spec)

    files = FileStore(str(tmp_path))
    pdfs = PdfPages(Parser(files), files, {"few": 2.0})
    download = page(b"%PDF-1.7 snow", "application/pdf")
    many = [asyncio.create_task(pdfs.read(download, "many")) for _ in range(9)]
    while len(begun) < 4:
        await asyncio.sleep(0.01)
    few = [asyncio.create_task(pdfs.read(download, "few")) for _ in range(2)]
    while sum(map(len, pdfs._short._waiting.values())) < 7:
        await asyncio.sleep(0.01)
    assert begun == ["many short"] * 4
    go_on.set()
    assert ["snow" in (await one)[0].text for one in few] == [True, True]
    short = [name for name in begun if name.endswith("short")]
    assert short[4:7].count("few short") == 2
    for task in many:
        task.cancel()
    await asyncio.wait(many)
