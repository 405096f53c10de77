"""Read notebooks (IPYNB): the text and the code of their cells, and what these printed."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any, Final

from deployments.errors import Unprocessable
from deployments.parser.reading.binary_text import is_data, without_data
from deployments.parser.reading.content import clean, title_of_filename
from deployments.parser.reading.formats import Format, decode
from deployments.parser.reading.markdown import markdown_headings
from deployments.parser.reading.outlined_text import OutlinedText

if TYPE_CHECKING:
    from deployments.parser.reading.content import Content

MAX_OUTPUT_CHARS: Final = 2_000
"""Of one output; the rest is not read."""
MAX_OUTPUTS_CHARS: Final = 50_000
"""Of all outputs of a notebook."""
_COLOURS: Final = re.compile(r"\x1b\[[0-9;]{0,20}[A-Za-z]")
_OBJECT: Final = re.compile(r"<[^<>\n]{1,200}>")  # such as <Figure size 640x480 with 1 Axes>


def read_notebook(data: bytes, filename: str, *, max_chars: int) -> Content:
    """Read a notebook; its title is the first top-level heading.

    Of the outputs, printed text is read, up to `MAX_OUTPUT_CHARS` each.
    """
    try:
        book = json.loads(decode(data))
        cells = book["cells"] if "cells" in book else book["worksheets"][0]["cells"]
        sources = [(cell.get("cell_type"), _source(cell), _printed(cell)) for cell in cells]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        msg = "This notebook is damaged or incomplete. Save it again."
        raise Unprocessable(msg, code="damaged_document") from error
    text = OutlinedText(max_chars)
    left = MAX_OUTPUTS_CHARS
    for kind, source, outputs in sources:
        if kind == "markdown":
            add_markdown(text, source)
        else:
            text.paragraph(source)
        for output in outputs:
            shown = output[: min(MAX_OUTPUT_CHARS, left)]
            text.paragraph(shown)
            left -= len(shown)
    first = next((each.title for each in text.headings if each.level == 1), "")
    return text.content(first or title_of_filename(filename), Format.NOTEBOOK)


def add_markdown(text: OutlinedText, source: str) -> None:
    """Add Markdown with its headings."""
    source = clean(source)
    start = 0
    for heading in markdown_headings(source):
        text.paragraph(source[start : heading.start])
        text.heading(heading.title, heading.level, source[heading.start : heading.end])
        start = heading.end
    text.paragraph(source[start:])


def _source(cell: dict[str, Any]) -> str:
    return without_data(_joined(cell.get("source", cell.get("input", ""))))


def _printed(cell: dict[str, Any]) -> list[str]:
    """Return the outputs that are plain text, without binary data."""
    outputs = cell.get("outputs")
    found = []
    for each in outputs if isinstance(outputs, list) else ():
        if isinstance(each, dict):
            data = each.get("data")
            plain = data.get("text/plain") if isinstance(data, dict) else each.get("text")
            shown = _COLOURS.sub("", without_data(_joined(plain or ""))).strip()
            if shown and not is_data(shown) and not _OBJECT.fullmatch(shown):
                found.append(shown)
    return found


def _joined(lines: object) -> str:
    return "".join(map(str, lines)) if isinstance(lines, list) else str(lines)
