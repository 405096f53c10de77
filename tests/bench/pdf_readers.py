"""Compare our reader of PDFs with others on public documents: text, order and time.

The documents are the PDFs in the repositories mozilla/pdf.js, pdfminer/pdfminer.six,
jsvine/pdfplumber, py-pdf/sample-files and docling-project/docling, below 8 MB each, copied into
one folder. poppler's `pdftotext` is the reference. Other readers take part if a folder of their
name below `--packages` holds them (`uv pip install --target FOLDER/liteparse liteparse`).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from tests.bench.command import parser, run
from tests.bench.report import Check, Section, checks_table, percentile, table

ROOT: Final = Path(__file__).parents[2]
OLD_COMMIT: Final = "25ba7ca"  # the last one that reads PDFs by pypdf
_TIMEOUT_S: Final = 30.0
_MIN_CHARS: Final = 100  # letters and digits of the reference: else there is little to compare
_MIN_FILES: Final = 200
_QUICK: Final = 40
_WORD = re.compile(r"\w+")
_TABLE = re.compile(r" \| |^---$", re.MULTILINE)


@dataclass(frozen=True)
class Reading:
    """What a reader made of one file: text, CPU seconds, pages, and codes of warnings."""

    text: str = ""
    cpu_s: float = 0.0
    pages: int = 0
    warnings: tuple[str, ...] = ()
    failed: bool = False


@dataclass(frozen=True)
class Score:
    """How much of the reference a text has: F1 of characters, words and pairs of words."""

    characters: float
    words: float
    order: float


def score(reference: str, text: str) -> Score:
    """Compare letters and digits, whatever their case, form and the spaces between them."""
    texts = [unicodedata.normalize("NFKC", one).casefold() for one in (reference, text)]
    words = [_WORD.findall(one) for one in texts]
    return Score(
        _f1(*([c for c in one if c.isalnum()] for one in texts)),
        _f1(*words),
        _f1(*(list(pairwise(one)) for one in words)),
    )


def _f1(wanted: Sequence[Any], found: Sequence[Any]) -> float:
    shared = (Counter(wanted) & Counter(found)).total()
    return 2 * shared / max(len(wanted) + len(found), 1)


def _ours(path: str) -> Reading:
    from deployments.parser.reading.pdf import read_pdf

    content = read_pdf(Path(path).read_bytes(), path, max_pages=10**5, max_chars=10**8)
    warnings = tuple(warning.code for warning in getattr(content, "warnings", ()))
    return Reading(content.text, 0.0, len(content.page_starts or ()), warnings)


def _pdf_oxide(path: str) -> Reading:
    from pdf_oxide import PdfDocument  # type: ignore[import-not-found]

    document = PdfDocument(path)
    return Reading("\n".join(map(document.extract_text, range(document.page_count()))))


def _liteparse(path: str) -> Reading:
    from liteparse import LiteParse  # type: ignore[import-not-found]

    return Reading(LiteParse(ocr_enabled=False, quiet=True).parse(path).text)


def _xberg(path: str) -> Reading:
    import xberg  # type: ignore[import-not-found]

    given = xberg.ExtractInput(kind=xberg.ExtractInputKind.URI, uri=path)

    async def extracted() -> str:
        return str((await xberg.extract(given)).results[0].content)

    return Reading(asyncio.run(extracted()))


_READERS: Final[dict[str, Callable[[str], Reading]]] = {
    "ours (pdfium)": _ours,
    "0.1.0 (pypdf)": _ours,
    "pdf-oxide": _pdf_oxide,
    "liteparse": _liteparse,
    "xberg": _xberg,
}
_OURS, _OLD = list(_READERS)[:2]


def work(name: str) -> None:
    """Read the files that are named on standard input; answer with one line of JSON for each."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        start = time.process_time()
        try:
            reading = _READERS[name](line.rstrip("\n"))
        except Exception:  # noqa: BLE001 - of any library
            reading = Reading(failed=True)
        figures = {**reading.__dict__, "cpu_s": time.process_time() - start}
        answer.write(json.dumps(figures) + "\n")
        answer.flush()


class Worker:
    """A process that reads files with one reader, and is started anew if it dies or hangs."""

    def __init__(self, name: str, folder: Path) -> None:
        self._name, self._folder = name, folder
        self._process: subprocess.Popen[str] | None = None

    def read(self, path: Path) -> Reading:
        """Read a file, for at most `_TIMEOUT_S`."""
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(f"{path}\n")
            process.stdin.flush()
            ready = select.select([process.stdout], [], [], _TIMEOUT_S)[0]
            line = process.stdout.readline() if ready else ""
        except OSError:
            line = ""
        if not line:
            self.close()
            return Reading(failed=True, cpu_s=_TIMEOUT_S)
        found = json.loads(line)
        return Reading(**{**found, "warnings": tuple(found["warnings"])})

    def _start(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "tests.bench.pdf_readers", "--worker", self._name]
        paths = [str(self._folder), str(ROOT)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        return subprocess.Popen(
            command, cwd=self._folder, env=environment, text=True, errors="replace",
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def _reference(path: Path) -> str:
    try:
        done = subprocess.run(
            ["pdftotext", "-enc", "UTF-8", str(path), "-"],
            capture_output=True, timeout=_TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.decode("utf-8", "replace")


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Yield the section of all readers that are there."""
    files = sorted(options.corpora.resolve().rglob("*.pdf"))[:: _QUICK if options.quick else 1]
    wanted = {path: _reference(path) for path in files}
    files = [p for p in files if sum(map(str.isalnum, wanted[p])) >= _MIN_CHARS]
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(
            ["git", "archive", OLD_COMMIT, "deployments"],
            cwd=ROOT, capture_output=True, check=True,
        ).stdout  # fmt: skip
        subprocess.run(["tar", "-x", "-C", folder], input=archive, check=True)
        folders = {_OURS: ROOT, _OLD: Path(folder)}
        folders |= {name: options.packages / name for name in list(_READERS)[2:]}
        found = {
            name: _readings(Worker(name, place), files)
            for name, place in folders.items()
            if place.is_dir()
        }
    yield _section(files, wanted, found)


def _readings(worker: Worker, files: Sequence[Path]) -> list[Reading]:
    try:
        worker.read(files[0])  # imports
        return [worker.read(path) for path in files]
    finally:
        worker.close()


def _section(
    files: Sequence[Path], wanted: dict[Path, str], found: dict[str, list[Reading]]
) -> Section:
    scores = {
        name: [
            score(wanted[path], reading.text) for path, reading in zip(files, readings, strict=True)
        ]
        for name, readings in found.items()
    }
    ours, old = found[_OURS], found[_OLD]
    # Where both read something: of the rest, one spends no time.
    both = [n for n in range(len(files)) if ours[n].text and old[n].text]
    pages = {n: max(ours[n].pages, 1) for n in range(len(files))}
    plain = [n for n in both if not _has_columns(wanted[files[n]], ours[n].text)]
    laid_out = [n for n in both if n not in set(plain)]
    told = {"pages_unreadable", "pages_without_text", "partly_read"}
    # Files that we refuse or warn about are not said to be read.
    sure = [s.characters for s, r in zip(scores[_OURS], ours, strict=True)
            if r.text and not told & set(r.warnings)]  # fmt: skip
    checks = [
        Check.at_least("files", len(files), _MIN_FILES),
        Check.at_least("character F1, median", percentile(sure, 50), 0.95, "{:.3f}"),
        Check.at_least("character F1, 10th percentile", percentile(sure, 10), 0.90, "{:.3f}"),
        Check.at_most("CPU time, ours / 0.1.0, plain", _ratio(ours, old, plain), 0.2, "{:.2f}"),
        Check.at_most(
            "CPU time, ours / 0.1.0, columns or tables", _ratio(ours, old, laid_out), 0.5, "{:.2f}"
        ),
    ]
    rows = []
    for name, readings in found.items():
        own = scores[name]
        kinds = [[getattr(s, kind) for s in own] for kind in ("characters", "words", "order")]
        cpu = sum(r.cpu_s for r in readings) / sum(pages.values())
        rows.append(
            [name, sum(bool(r.text.strip()) for r in readings)]
            + [f"{percentile(k, 50):.3f} / {percentile(k, 10):.3f}" for k in kinds]
            + [f"{cpu * 1000:.1f}"]
        )
    heads = ("reader", "read", "characters", "words", "order", "CPU ms/page")
    body = (
        "## PDF readers\n\n"
        "`make bench-pdf` writes this section; `python -m tests.bench.pdf_readers --help` says "
        "where documents and other readers are looked for.\n\n"
        f"{checks_table(checks, 'our reader')}\n\n"
        f"{table(heads, rows)}\n\n"
        f"{len(files)} public PDFs with text, {sum(pages.values()):,} pages; median / 10th "
        "percentile of the F1 score against poppler's `pdftotext`, of letters and digits, of "
        "words, and of pairs of words one after the other, which tells the order. A file that is "
        "not read counts 0. The checks are for files that our reader does not warn about "
        f"({len(sure)}); it warns about {len(files) - len(sure)}, which the table counts. "
        "Files are plain if our reader finds no table in them and their lines are longer than "
        "those of columns. xberg keeps what it has read, and may have read it before.\n"
    )
    return Section("pdf_readers", body, checks)


def _has_columns(reference: str, text: str) -> bool:
    """Tell whether there is a table, or the page is wide enough for two columns of short lines."""
    lengths = sorted(len(line) for line in reference.split("\n") if len(line) > 20)
    narrow = bool(lengths) and lengths[int(len(lengths) * 0.9)] < 70
    return narrow or bool(_TABLE.search(text))


def _ratio(ours: Sequence[Reading], old: Sequence[Reading], numbers: Sequence[int]) -> float:
    return sum(ours[n].cpu_s for n in numbers) / max(sum(old[n].cpu_s for n in numbers), 1e-9)


def main() -> int:
    """Run the comparison."""
    if sys.argv[1:2] == ["--worker"]:
        work(sys.argv[2])
        return 0
    options = parser("tests.bench.pdf_readers", __doc__)
    options.add_argument("--corpora", type=Path, default=Path("/tmp/corpora/pdf"))  # noqa: S108
    options.add_argument("--packages", type=Path, default=Path("/tmp/readers"))  # noqa: S108
    return run(options, measure)


if __name__ == "__main__":
    sys.exit(main())
