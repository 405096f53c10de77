"""Read notebooks (IPYNB): the text and the code of their cells, without outputs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from deployments.errors import Unprocessable
from deployments.parser.reading.binary_text import without_data
from deployments.parser.reading.content import clean, title_of_filename
from deployments.parser.reading.formats import Format, decode
from deployments.parser.reading.markdown import markdown_headings
from deployments.parser.reading.outlined_text import OutlinedText

if TYPE_CHECKING:
    from deployments.parser.reading.content import Content


def read_notebook(data: bytes, filename: str, *, max_chars: int) -> Content:
    """Read a notebook; its title is the first top-level heading."""
    try:
        book = json.loads(decode(data))
        cells = book["cells"] if "cells" in book else book["worksheets"][0]["cells"]
        sources = [(cell.get("cell_type"), _source(cell)) for cell in cells]
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        msg = "This notebook is damaged or incomplete. Save it again."
        raise Unprocessable(msg, code="damaged_document") from error
    text = OutlinedText(max_chars)
    for kind, source in sources:
        if kind == "markdown":
            add_markdown(text, source)
        else:
            text.paragraph(source)
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
    source = cell.get("source", cell.get("input", ""))
    return without_data("".join(map(str, source)) if isinstance(source, list) else str(source))
