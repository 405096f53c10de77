"""Files of 1 to 2 MB that take long to read; no two numbers give the same bytes."""

from __future__ import annotations

import functools

from tests.support.pdfs import long_pdf

_ROW = b"<tr><td colspan=1000000000>x</td><td>y</td></tr>"
_KINDS = (
    *(("md", b"*a **b " * 200_000), ("md", b"[" * 1_500_000), ("html", b"<table>" + _ROW * 30_000)),
    ("pdf", b""),  # damaged: it fails
)
_LONG_PDF_EVERY, _PAGES = 25, 130


def hostile_file(number: int, suffix: str = "") -> tuple[str, bytes]:
    """Return the name and the content of a file; `suffix` chooses the format.

    Without `suffix`, Markdown, HTML, damaged PDFs and some PDFs of 130 pages alternate.
    """
    if not suffix and number % _LONG_PDF_EVERY == _LONG_PDF_EVERY - 1:
        return f"{number}.pdf", _long_pdf() + b"\n%%%d\n" % number
    kinds = [kind for kind in _KINDS if suffix in {"", kind[0]}]
    form, content = kinds[number % len(kinds)]
    if form == "pdf":
        content = _long_pdf()[:1_000] * 1_200
        return f"{number}.pdf", content + b"%d" % number
    return f"{number}.{form}", b"<p>" * (form == "html") + b"%d\n\n" % number + content


@functools.cache
def _long_pdf() -> bytes:
    return long_pdf(0, _PAGES)
