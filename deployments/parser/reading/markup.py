"""Add the whole visible text of HTML to a document: chapters of books, bodies of mails."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from lxml import etree  # type: ignore[import-untyped]

from deployments.parser.reading.rows import MIN_HEADED_COLUMNS, lays_out_page, row_lines
from deployments.parser.reading.xml_trees import text_of
from deployments.text.html import visible_tree
from deployments.text.page_blocks import BLOCK_ELEMENTS

if TYPE_CHECKING:
    from collections.abc import Callable

    from deployments.parser.reading.outlined_text import OutlinedText
    from deployments.parser.reading.xml_trees import XmlElement

_HEADING: Final = re.compile("h([1-6])")


def add_markup(
    text: OutlinedText,
    markup: str,
    below: int = 0,
    picture: Callable[[str], str] | None = None,
) -> None:
    """Add the text of a page; its headings are levels below level `below`.

    `picture` returns what was recognised in a picture, by the address of it in the page.

    Raises TooLarge if an element has very many attributes.
    """
    tree = visible_tree(markup)
    if tree is None:
        return
    for element in tree.iter("title", "head"):
        element.clear(keep_tail=True)
    _Walk(text, below, picture).walk(tree)


class _Walk:
    """Collects inline text until a block begins or ends."""

    def __init__(
        self, text: OutlinedText, below: int, picture: Callable[[str], str] | None
    ) -> None:
        self._text = text
        self._below = below
        self._picture = picture
        self._inline: list[str] = []
        self._in_list_item = False

    def walk(self, tree: XmlElement) -> None:
        whole: XmlElement | None = None  # an element that was added with all that is in it
        for event, element in etree.iterwalk(tree, events=("start", "end")):
            tag = element.tag if isinstance(element.tag, str) else ""
            if whole is None:
                if tag in BLOCK_ELEMENTS:
                    self._end()
                if event == "start":
                    whole = element if self._add_whole(element, tag) else None
                    self._inline.append("" if whole is not None else _spaced(element.text))
                else:
                    self._inline.append(_spaced(element.tail))
            elif event == "end" and element is whole:
                whole = None
                self._inline.append(_spaced(element.tail))
        self._end()

    def _add_whole(self, element: XmlElement, tag: str) -> bool:
        """Add a heading, a table or a preformatted text; return whether it is one."""
        if found := _HEADING.fullmatch(tag):
            self._text.heading(text_of(element), int(found[1]) + self._below)
            return True
        if tag == "pre":
            self._text.lines("".join(element.itertext()).split("\n"))
            return True
        if tag == "img" and self._picture is not None:
            self._add_picture(element)
        elif tag == "br":
            self._inline.append("\n")
        elif tag in BLOCK_ELEMENTS:
            self._in_list_item = tag == "li" or (self._in_list_item and tag == "p")
        return tag == "table" and self._add_table(element)

    def _end(self) -> None:
        """Add the inline text that was collected, as a block."""
        lines = [" ".join(line.split()) for line in "".join(self._inline).split("\n")]
        self._inline.clear()
        lines = [line for line in lines if line]
        if lines and self._in_list_item:
            self._text.line(f"- {' '.join(lines)}")
            self._in_list_item = False
        elif lines:
            self._text.lines(lines)

    def _add_table(self, table: XmlElement) -> bool:
        """Add a table of short cells by its rows; return False for one that lays out a page."""
        if next(table.iterdescendants("table", "h1", "h2", "h3"), None) is not None:
            return False
        rows = [[text_of(cell) for cell in row.iter("td", "th")] for row in table.iter("tr")]
        if lays_out_page(rows):
            return False
        self._text.lines(row_lines(rows, MIN_HEADED_COLUMNS))
        for image in table.iter("img"):
            self._add_picture(image)
        return True

    def _add_picture(self, image: XmlElement) -> None:
        if self._picture is not None and (found := self._picture(image.get("src", ""))):
            self._end()
            self._text.recognised(found)


def _spaced(text: str | None) -> str:
    return re.sub(r"\s+", " ", text) if text else ""
