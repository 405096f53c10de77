"""Tables of a web page as Markdown."""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Final

from lxml import etree  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from lxml import html

_LAYOUT: Final = frozenset(
    re.findall(r"\S+", "article section main form h1 h2 h3 pre blockquote nav aside header footer")
)
_MAX_CELL_CHARS: Final = 1_000
_MAX_ELEMENTS: Final = 30_000
_MAX_NESTED_TABLES: Final = 20
_BREAKS: Final = frozenset(
    re.findall(r"\S+", "br dd div dl dt figcaption figure h4 h5 h6 hr li ol p table td th tr ul")
)
_SPACES: Final = re.compile(r"\s+")


def is_data_table(table: html.HtmlElement) -> bool:
    """Tell whether a table has rows of short cells; others only place parts of the page."""
    if table.get("role") in {"presentation", "none"}:
        return False
    has_heads = False
    rows = cells = nested = 0
    for element in islice(table.iterdescendants(), _MAX_ELEMENTS):
        nested += element.tag == "table"
        has_heads = has_heads or element.tag == "th"
        if element.tag in _LAYOUT or nested > (_MAX_NESTED_TABLES if has_heads else 0):
            return False
        rows += element.tag == "tr"
        if element.tag in {"td", "th"}:
            cells += 1
            size = 0
            for text in element.itertext():
                size += len(text.strip())
                if size > _MAX_CELL_CHARS:
                    return False
    return rows > 0 and cells > rows


def table_markdown(table: html.HtmlElement) -> tuple[str, float]:
    """Return the rows of a table, and the share of its text that is in links."""
    captions: list[str] = []
    rows: list[list[str]] = []
    size = linked = 0
    for element in table.iterdescendants("caption", "tr"):
        if element.tag == "caption":
            text, links = _cell(element)
            captions.append(text)
        elif next(element.iterancestors("table")) is table:
            row = []
            for cell in element.iterchildren("td", "th"):
                text, links = _cell(cell)
                row.append(text.replace("|", "\\|"))
                size += len(text)
                linked += links
            if any(row):
                rows.append(row)
    if not rows:
        return "\n".join(filter(None, captions)), 0.0
    width = max(map(len, rows))
    lines = [f"| {' | '.join(row)} |" for row in rows]
    lines.insert(1, "|" + "---|" * width)
    head = [*filter(None, captions), ""] if any(captions) else []
    return "\n".join([*head, *lines]), min(1.0, linked / size) if size else 0.0


def _cell(cell: html.HtmlElement) -> tuple[str, int]:
    """Return the text of a cell on one line, and how many characters of it are in links."""
    pieces: list[str] = []
    links = linked = 0
    for event, element in etree.iterwalk(cell, events=("start", "end")):
        text = (element.text if event == "start" else element is not cell and element.tail) or ""
        if element.tag == "a" and element.get("href"):
            links += 1 if event == "start" else -1
        if element.tag in _BREAKS and element is not cell:
            pieces.append("\n")
        pieces.append(_SPACES.sub(" ", text))
        if links:
            linked += len(text.strip())
    lines = (" ".join(line.split()) for line in "".join(pieces).split("\n"))
    return "; ".join(line for line in lines if line), linked
