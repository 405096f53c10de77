"""`python -m tests.bench.web_pages --corpus FOLDER`: text of real pages beside the expected one.

The corpus is the folder `test/test-pages` of mozilla/readability, with `source.html` and
`expected.html` in a folder for each page, or a copy of scrapinghub/article-extraction-benchmark.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import re
import statistics
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lxml import etree, html  # type: ignore[import-untyped]

from tests.bench import command
from tests.bench.report import Check, Section, checks_table, say, table
from tests.support.paths import ROOT

BEFORE = "6cd88cc"
_QUICK_PAGES = 20
_MIN_F1 = 0.92
_MIN_RECALL = 0.97
_MAX_SLOWER = 2.0
_INLINE = frozenset("a abbr b cite code em font i mark small span strong sub sup u wbr".split())
# One ideograph, kana or syllable is a token, as is a word of other scripts.
_WIDE = "\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_TOKEN = re.compile(rf"[{_WIDE}]|[^\W_{_WIDE}]+")
_EXTRACT = """
import json, sys, time
from pathlib import Path
from deployments.text.html import html_to_text
html_to_text("<p>a page to warm up with</p>")
texts = {}
for path in sorted(Path(sys.argv[1]).iterdir()):
    data = path.read_bytes()
    began = time.process_time()
    text = html_to_text(data).text
    texts[path.name] = [text, time.process_time() - began]
print(json.dumps(texts))
"""


@dataclass(frozen=True)
class Score:
    """Tokens of an extraction beside those of the expected text, and the time that it took."""

    precision: float
    recall: float
    f1: float
    ms: float


def main() -> int:
    """Measure the code of this checkout and that of `--before`; return the exit status."""
    options = command.parser("tests.bench.web_pages", __doc__)
    options.add_argument("--corpus", type=Path, required=True, help="folder of the pages")
    options.add_argument("--before", default=BEFORE, help="commit to compare with")
    return command.run(options, measure, incidental=("corpus",))


def measure(options: argparse.Namespace) -> Iterator[Section]:
    """Yield the section of one corpus."""
    pages = dict(_pages(options.corpus))
    if options.quick:
        pages = dict(list(pages.items())[:_QUICK_PAGES])
    if not pages:
        msg = f"there are no pages in {options.corpus}"
        raise OSError(msg)
    with tempfile.TemporaryDirectory() as folder:
        sources, code = Path(folder, "pages"), Path(folder, "code")
        sources.mkdir()
        for name, (source, _) in pages.items():
            (sources / name).write_bytes(source)
        archive = subprocess.run(
            ["git", "archive", options.before, "deployments"],
            cwd=ROOT,
            check=True,
            capture_output=True,
        )
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(code, filter="data")
        before, after = (_scores(tree, sources, pages) for tree in (code, ROOT))
    yield _section(options.corpus, before, after)


def _pages(corpus: Path) -> Iterator[tuple[str, tuple[bytes, str]]]:
    """Yield the name, source and expected text of each page."""
    truth = corpus / "ground-truth.json"
    if truth.exists():
        for name, page in json.loads(truth.read_text(encoding="utf-8")).items():
            data = (corpus / "html" / f"{name}.html.gz").read_bytes()
            yield name, (gzip.decompress(data), page["articleBody"])
        return
    for folder in sorted(corpus.iterdir()):
        if (folder / "expected.html").exists():
            expected = _text((folder / "expected.html").read_bytes())
            yield folder.name, ((folder / "source.html").read_bytes(), expected)


def _text(data: bytes) -> str:
    """Return the text of expected HTML, with a space between its blocks."""
    tree = html.document_fromstring(data, parser=html.HTMLParser(encoding="utf-8"))
    pieces: list[str] = []
    for event, element in etree.iterwalk(tree, events=("start", "end")):
        if element.tag not in _INLINE:
            pieces.append(" ")
        if event == "end":
            pieces.append(element.tail or "")
        elif element.tag not in {"script", "style", "svg"}:
            pieces.append(element.text or "")
    return "".join(pieces)


def _scores(tree: Path, sources: Path, pages: Mapping[str, tuple[bytes, str]]) -> dict[str, Score]:
    say(f"extracting {len(pages)} pages by the code in {tree}")
    done = subprocess.run(
        [sys.executable, "-c", _EXTRACT, str(sources)],
        cwd=tree,
        check=True,
        capture_output=True,
        text=True,
    )
    return {
        name: _score(text, pages[name][1], seconds)
        for name, (text, seconds) in json.loads(done.stdout).items()
    }


def _score(text: str, expected: str, seconds: float) -> Score:
    found, wanted = (Counter(_TOKEN.findall(one.lower())) for one in (text, expected))
    common = (found & wanted).total()
    precision = common / found.total() if found else float(not wanted)
    recall = common / wanted.total() if wanted else 1.0
    f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return Score(precision, recall, f1, seconds * 1000)


def _section(corpus: Path, before: dict[str, Score], after: dict[str, Score]) -> Section:
    times_ms = [
        statistics.mean(score.ms for score in scores.values()) for scores in (before, after)
    ]
    f1 = statistics.mean(score.f1 for score in after.values())
    recall = statistics.median(score.recall for score in after.values())
    # The bodies of articles only are no measure of what else a reader sees.
    is_articles = (corpus / "ground-truth.json").exists()
    checks = [
        *([] if is_articles else [Check.at_least("F1 of the tokens, mean", f1, _MIN_F1, "{:.3f}")]),
        Check.at_least("recall of the tokens, median", recall, _MIN_RECALL, "{:.3f}"),
        Check.at_most("time, times that before", times_ms[1] / times_ms[0], _MAX_SLOWER, "{:.2f}"),
    ]
    name = "web_articles" if is_articles else "web_pages"
    source = "scrapinghub/article-extraction-benchmark" if is_articles else "mozilla/readability"
    body = f"""
## Text of web pages{": articles only" if is_articles else ""}

`make bench-web-pages CORPUS=folder`: {len(after)} real pages of {source},
their text beside the expected one by tokens. Precision is 1 minus the noise: of headlines, bylines
and captions, too, where the expected text is without them. Before is commit {BEFORE}; times are of
the processor.

{checks_table(checks)}

{table(("", "before", "after"), _rows(before, after))}
"""
    raw: dict[str, Any] = {"before": before, "after": after}
    return Section(name, body, checks, raw)


def _rows(before: dict[str, Score], after: dict[str, Score]) -> Iterator[tuple[str, ...]]:
    for what, field, summary in (
        ("F1, mean", "f1", statistics.mean),
        ("recall, mean", "recall", statistics.mean),
        ("recall, median", "recall", statistics.median),
        ("precision, mean", "precision", statistics.mean),
        ("time of a page, ms, mean", "ms", statistics.mean),
    ):
        values = (summary(getattr(s, field) for s in scores.values()) for scores in (before, after))
        form = "{:.1f}" if field == "ms" else "{:.3f}"
        yield (what, *map(form.format, values))
    for limit in (0.5, 0.8):
        counts = (sum(s.recall < limit for s in scores.values()) for scores in (before, after))
        yield (f"pages with less than {limit:.0%} of the text", *map(str, counts))


if __name__ == "__main__":
    sys.exit(main())
