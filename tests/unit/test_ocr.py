"""Scans and pictures are read by OCR: in one process, within limits, and said to be."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import struct
import sys
import time
import zlib
from collections.abc import AsyncIterator
from pathlib import Path

import matplotlib as mpl
import psutil
import pytest
from PIL import Image

from deployments.errors import Overloaded, ServiceError, TooLarge, Unprocessable
from deployments.file_store import FileStore
from deployments.parser.file_parser import FileParser
from deployments.parser.ocr import process, recognition
from deployments.parser.ocr.pictures import picture
from deployments.parser.ocr.recognition import Recognizer
from deployments.parser.sandbox import Sandbox
from deployments.types import (
    SHORT_PARSE_EXCEEDED,
    Chunk,
    ParsedDocument,
    ParseSpec,
    WarningCode,
)
from tests.support import scans

pytestmark = pytest.mark.anyio

MIXED = Path(__file__).parents[1] / "support/cases/pdf_mixed_scan.pdf"


@pytest.fixture(scope="module")
async def recognizer(anyio_backend: str) -> AsyncIterator[Recognizer]:
    """Keep the models for all tests that use them, without a tesseract of this machine."""
    shared = Recognizer(max_pages=3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(Path(sys.executable).parent))
        yield shared
    shared.close()


class Files:
    """Parses files of a store of its own."""

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self.store = FileStore(str(folder))
        self.sandbox = sandbox

    async def parse(
        self, data: bytes, name: str, recognizer: Recognizer | None = None, *, short: bool = False
    ) -> ParsedDocument:
        await self.store.put(f"uploads/{name}", data)
        spec = ParseSpec(f"uploads/{name}", name, "chunks", inline=True, short=short)
        return await FileParser(self.sandbox, self.store, 1 << 26, recognizer).parse(spec)


@pytest.fixture
def parser(tmp_path: Path, sandbox: Sandbox) -> Files:
    return Files(tmp_path, sandbox)


def has(chunks: tuple[Chunk, ...], page: int, words: str) -> bool:
    return any(
        words in " ".join(chunk.text.split())
        and (chunk.page_start or 0) <= page <= (chunk.page_end or 0)
        and chunk.ocr
        for chunk in chunks
    )


def facts(page: int) -> list[str]:
    return [scans.fact(page, number)[0] for number in range(3)]


async def test_scanned_pages_are_read_whichever_way_they_lie(
    parser: Files, recognizer: Recognizer
) -> None:
    pages = [scans.Scan(facts(0), 1.5), scans.Scan(facts(1), 90), scans.Scan(facts(2), 180)]
    document = await parser.parse(scans.pdf(pages), "scan.pdf", recognizer)
    found = [
        has(document.inline, page + 1, scans.fact(page, number)[1])
        for page in range(3)
        for number in range(3)
    ]
    assert sum(found) == 9
    text = " ".join(chunk.text for chunk in document.inline)
    order = [text.index(scans.fact(page, number)[1]) for page in range(3) for number in range(3)]
    assert order == sorted(order)
    assert document.pages == 3
    (warning,) = document.warnings
    assert (warning.code, warning.pages) == (WarningCode.PAGES_BY_OCR, (1, 2, 3))
    assert document.cpu_s > 1
    assert recognizer.pid is not None
    assert psutil.Process(recognizer.pid).nice() == 19
    assert psutil.Process(recognizer.pid).rlimit(psutil.RLIMIT_FSIZE) == (0, 0)
    assert not psutil.Process(recognizer.pid).net_connections("inet")  # no models are downloaded


async def test_frames_of_a_fax_are_pages_and_those_over_the_limit_are_named(
    parser: Files, recognizer: Recognizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognizer, "_max_pages", 1)
    monkeypatch.setattr(process, "IDLE_S", 0.05)
    data = scans.tiff([scans.Scan(facts(3)[:1]), scans.Scan(facts(4)[:1])])
    document = await parser.parse(data, "Fax of May.tiff", recognizer)
    assert (document.title, document.media_type, document.pages) == ("Fax of May", "image/tiff", 2)
    assert has(document.inline, 1, scans.fact(3, 0)[1])
    assert {warning.code: warning.pages for warning in document.warnings} == {
        WarningCode.PAGES_BY_OCR: (1,),
        WarningCode.PAGES_WITHOUT_TEXT: (2,),
        WarningCode.CUT_AT_LIMIT: (2,),
    }
    async with asyncio.timeout(5):  # the idle process ends
        while recognizer.pid is not None:
            await asyncio.sleep(0.01)


async def test_letters_that_the_models_do_not_know_are_no_text(
    parser: Files, recognizer: Recognizer
) -> None:
    """They leave such letters out, and are confident of the full stops that remain."""
    font = Path(mpl.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"
    lines = ["Длина моста составляет триста метров.", "Гарантия на насос действует сорок лет."]
    data = scans.image(scans.Scan(lines, font=str(font)), "JPEG")
    with pytest.raises(Unprocessable, match="may be in another script") as caught:
        await parser.parse(data, "letter.jpg", recognizer)
    assert caught.value.code == "no_text"


async def started(recognizer: Recognizer, other_than: int | None = None) -> int:
    async with asyncio.timeout(10):
        while recognizer.pid in {None, other_than}:
            await asyncio.sleep(0.005)
    assert recognizer.pid is not None
    return recognizer.pid


async def test_a_killed_process_is_replaced_once_for_a_file_and_for_the_next_one(
    parser: Files, recognizer: Recognizer
) -> None:
    data = scans.image(scans.Scan(facts(5)[:1], 180), "PNG")
    recognizer._process.close()  # that of another test may wait for files
    doomed = asyncio.create_task(parser.parse(data, "doomed.png", recognizer))
    first = await started(recognizer)
    os.kill(first, signal.SIGKILL)
    os.kill(await started(recognizer, first), signal.SIGKILL)
    with pytest.raises(Unprocessable, match="was killed") as caught:
        await doomed
    assert caught.value.code == "reader_killed"  # a job tries again
    task = asyncio.create_task(parser.parse(data, "next.png", recognizer))
    os.kill(await started(recognizer), signal.SIGKILL)
    document = await task
    assert has(document.inline, 1, scans.fact(5, 0)[1])
    assert document.media_type == "image/png"


async def test_a_cancelled_page_or_a_slow_one_ends_the_process(
    parser: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = Recognizer(max_pages=9)
    data = scans.image(scans.Scan(facts(6)), "WEBP")
    task = asyncio.create_task(parser.parse(data, "a.webp", subject))
    pid = await started(subject)
    task.cancel()
    await asyncio.wait([task])
    assert subject.pid is None
    assert not psutil.pid_exists(pid)
    task = asyncio.create_task(parser.parse(data, "a.webp", subject))
    pid = await started(subject)
    subject.close()
    with pytest.raises(Unprocessable, match="was killed"):
        await task
    assert not psutil.pid_exists(pid)
    monkeypatch.setattr(process, "PAGE_WAIT_S", 0.05)
    with pytest.raises(Unprocessable, match="took too long, for 1 page") as caught:
        await parser.parse(data, "a.webp", subject)
    assert caught.value.code == "no_text"
    assert subject.pid is None


async def test_a_scan_is_refused_where_ocr_is_off_and_is_never_a_short_file(
    parser: Files,
) -> None:
    scan = scans.pdf([scans.Scan(facts(7))])
    with pytest.raises(Unprocessable, match=r"`parser\.ocr` enables it") as caught:
        await parser.parse(scan, "scan.pdf", short=True)
    assert caught.value.code == "no_text"
    unused = Recognizer(max_pages=1)
    with pytest.raises(Unprocessable) as caught:
        await parser.parse(scan, "scan.pdf", unused, short=True)
    assert caught.value.code == SHORT_PARSE_EXCEEDED
    assert unused.pid is None
    mixed = await parser.parse(MIXED.read_bytes(), "mixed.pdf")
    (warning,) = mixed.warnings
    assert (warning.code, warning.pages) == (WarningCode.PAGES_WITHOUT_TEXT, (2, 3, 4))


async def test_files_that_wait_for_ocr_are_bounded(
    parser: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognition, "_MAX_FILES", 0)
    with pytest.raises(Overloaded):
        await parser.parse(scans.pdf([scans.Scan(facts(8))]), "a.pdf", Recognizer(max_pages=1))


def png_header(width: int, height: int) -> bytes:
    def part(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    packed = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", packed) + part(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "error", "code"),
    [
        (png_header(40_000, 25_000), TooLarge, "too_large"),
        (b"\x89PNG\r\n\x1a\n and rubbish", Unprocessable, "damaged_image"),
        (b"II*\x00\xff\xff\xff\xff", Unprocessable, "damaged_image"),
        (b"MM\x00*\x00\x00\x00\x08\x00\x00", Unprocessable, "damaged_image"),
    ],
    ids=["a billion pixels", "rubbish", "tiff", "empty tiff"],
)
async def test_hostile_images_are_refused_without_ocr(
    parser: Files, data: bytes, error: type[ServiceError], code: str
) -> None:
    unused = Recognizer(max_pages=1)
    with pytest.raises(error) as caught:
        await parser.parse(data, "a.png", unused)
    assert caught.value.code == code
    assert unused.pid is None


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGBA", "LA", "I;16", "CMYK", "F"])
def test_images_of_every_kind_are_dark_on_white(mode: str) -> None:
    grey = Image.new("L", (60, 40), 255)
    grey.paste(0, (10, 10, 50, 30))
    if mode in {"RGBA", "LA"}:  # black all over, transparent where the paper is
        made = Image.new("LA", grey.size, (0, 255))
        made.putalpha(grey.point(lambda value: 255 - value))
        made = made.convert(mode)
    elif mode == "I;16":
        made = grey.convert("I").point(lambda value: value * 180 + 5000).convert("I;16")
    else:
        made = grey.convert(mode)
    out = io.BytesIO()
    made.save(out, "TIFF" if mode in {"CMYK", "F", "LA"} else "PNG")
    pixels = picture(out.getvalue(), "image/png", 1)
    assert pixels.shape == (40, 60, 3)
    assert pixels[5, 5].min() > 240
    assert pixels[20, 30].max() < 60


def test_a_large_image_is_made_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    out = io.BytesIO()
    Image.new("L", (6000, 4000), 255).save(out, "JPEG")
    began = time.process_time()
    pixels = picture(out.getvalue(), "image/jpeg", 1)
    assert pixels.shape[0] * pixels.shape[1] <= 8_000_000
    assert time.process_time() - began < 5
