"""Blocks of a web page: paragraphs, headings, list items and tables as Markdown, in order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import TYPE_CHECKING, Final

from lxml import etree  # type: ignore[import-untyped]

from deployments.text.landmarks import Landmarks, Zone
from deployments.text.page_tables import is_data_table, table_markdown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lxml import html

BLOCK_ELEMENTS: Final = frozenset(
    re.findall(
        r"\S+",
        "address article aside blockquote body caption center dd details dir div dl dt fieldset"
        " figcaption figure footer form h1 h2 h3 h4 h5 h6 header hgroup hr html legend li main"
        " menu nav ol optgroup option p pre search section summary table tbody td tfoot th"
        " thead tr ul",
    )
)
"""Elements that begin and end a line."""
_HEADING: Final = re.compile("h[1-6]")
_LISTS: Final = frozenset(("ul", "ol", "menu", "dir"))
_STRONG: Final = frozenset(("b", "strong"))
_CODE: Final = frozenset(("code", "kbd", "samp", "tt"))
_CHOICES: Final = frozenset(("select", "textarea", "datalist"))
_MAX_LIST_DEPTH: Final = 6
_MIN_LEAD_WORDS: Final = 4


@dataclass(slots=True)
class Block:
    """A piece of a page. `level` is 1 to 6 for a heading, else 0; `prefix` marks list items."""

    text: str
    zone: Zone
    level: int = 0
    link_share: float = 0.0
    prefix: str = ""
    in_list: bool = False
    leads: bool = False
    """Whether a link of several words comes first."""

    @property
    def markdown(self) -> str:
        """The block with the mark of its kind."""
        return f"{'#' * self.level} {self.text}" if self.level else self.prefix + self.text


class _Walk:
    """State of one pass over the page."""

    def __init__(self, tree: html.HtmlElement) -> None:
        self._blocks: list[Block] = []
        self._landmarks = Landmarks(tree)
        self._pieces: list[tuple[str, bool, bool]] = []  # text, in a link, in strong type
        self._links = self._strong = self._pre = self._quotes = 0
        self._code = 0
        self._level = 0
        self._lists: list[int] = []  # the number of the last item; -1 for a list without
        self._marker = ""
        self._terms: list[str] = []  # of a list of definitions, until their definition

    def start(self, element: html.HtmlElement) -> bool:
        """Enter an element; return False if it has been read whole."""
        tag = element.tag
        if tag in _CHOICES:
            return False
        if tag in BLOCK_ELEMENTS:
            self._flush()
            self._landmarks.enter(element)
            if tag == "table" and is_data_table(element):
                self._table(element)
                return False
            self._open(tag)
        elif self._is_link(element):
            self._links += 1
        elif tag in _STRONG:
            self._strong += 1
        elif tag in _CODE and not self._pre:
            self._code += 1
            self._add("`")
        elif tag == "br":
            self._add("\n")
        self._add_text(element.text)
        return True

    def _open(self, tag: str) -> None:
        if _HEADING.fullmatch(tag):
            self._level = int(tag[1])
        elif tag in _LISTS:
            self._lists.append(0 if tag == "ol" else -1)
        elif tag == "li":
            if self._lists and self._lists[-1] >= 0:
                self._lists[-1] += 1
                self._marker = f"{self._lists[-1]}. "
            else:
                self._marker = "- "
        elif tag == "pre":
            self._pre += 1
        elif tag == "blockquote":
            self._quotes += 1

    def end(self, element: html.HtmlElement) -> None:
        """Leave an element and read the text that follows it."""
        tag = element.tag
        if tag in BLOCK_ELEMENTS:
            self._flush(term=tag == "dt")
            self._close(tag)
            self._landmarks.leave(element)
        elif self._is_link(element):
            self._links -= 1
        elif tag in _STRONG:
            self._strong -= 1
        elif tag in _CODE and not self._pre:
            self._code -= 1
            self._add("`")
        self.tail(element)

    def _is_link(self, element: html.HtmlElement) -> bool:
        """Tell whether text is a link or a control; a heading that is a button is a heading."""
        if element.tag == "a":
            return "href" in element.attrib
        return element.tag == "button" and not self._level

    def tail(self, element: html.HtmlElement) -> None:
        """Read the text after an element."""
        self._add_text(element.tail)

    def finished(self) -> list[Block]:
        """Return the blocks."""
        self._flush()
        return self._blocks

    def _close(self, tag: str) -> None:
        if _HEADING.fullmatch(tag):
            self._level = 0
        elif tag in _LISTS:
            self._lists.pop()
        elif tag == "li":
            self._marker = ""
        elif tag == "pre":
            self._pre -= 1
        elif tag == "blockquote":
            self._quotes -= 1
        elif tag == "dl" and self._terms:
            self._append("", 0.0)

    def _add_text(self, text: str | None) -> None:
        if text:
            self._add(text if self._pre else re.sub(r"\s+", " ", text))

    def _add(self, text: str) -> None:
        self._pieces.append((text, self._links > 0, self._strong > 0))

    def _flush(self, *, term: bool = False) -> None:
        pieces, self._pieces = self._pieces, []
        plain = "".join(text for text, _, _ in pieces)
        size = len("".join(plain.split()))
        if not size:
            return
        linked = len("".join("".join(text for text, link, _ in pieces if link).split()))
        text = plain.strip("\n") if self._pre else _inline(pieces, marked=not self._level)
        if self._pre and "\n" in text.strip():
            text = f"```\n{text.rstrip()}\n```"
        elif self._level:
            text = " ".join(text.split())
        if term:
            self._terms.append(text)
            return
        self._append(text, linked / size, leads=_leads(pieces))

    def _append(self, text: str, link_share: float, *, leads: bool = False) -> None:
        if self._terms:
            terms, self._terms = " / ".join(self._terms), []
            mark = "" if terms.endswith((":", "\uff1a", "?")) or not text else ":"
            text = f"{terms}{mark} {text}".rstrip()
        depth = min(len(self._lists), _MAX_LIST_DEPTH)
        prefix = ""
        if self._lists:
            prefix = "  " * (depth - 1) + (self._marker or "  ")
            self._marker = ""
            text = text.replace("\n", "\n" + "  " * depth)
        elif self._quotes and not self._level:
            prefix = "> "
            text = text.replace("\n", "\n> ")
        zone = self._landmarks.zone
        self._blocks.append(
            Block(text, zone, self._level, link_share, prefix, bool(self._lists), leads)
        )

    def _table(self, element: html.HtmlElement) -> None:
        text, link_share = table_markdown(element)
        if text:
            self._blocks.append(Block(text, self._landmarks.zone, link_share=link_share))
        self._landmarks.leave(element)


def page_blocks(tree: html.HtmlElement) -> list[Block]:
    """Return the blocks of a page whose invisible elements have been emptied."""
    walk = _Walk(tree)
    whole: html.HtmlElement | None = None  # an element that has been read with all within
    events = etree.iterwalk(tree, events=("start", "end"))
    for event, element in events:
        if event == "end":
            if whole is element:
                whole = None
                walk.tail(element)
            else:
                walk.end(element)
        elif not walk.start(element):
            whole = element
            events.skip_subtree()
    return walk.finished()


def joined(blocks: Sequence[Block]) -> str:
    """Return blocks as Markdown, with a blank line between them except between list items."""
    pieces: list[str] = []
    before = False
    for block in blocks:
        pieces.append("\n" if before and block.in_list else "\n\n")
        pieces.append(block.markdown)
        before = block.in_list
    return "".join(pieces[1:])


def _inline(pieces: list[tuple[str, bool, bool]], *, marked: bool) -> str:
    """Join the pieces of a paragraph; whole words in strong type are set in asterisks."""
    runs = [
        ("".join(text for text, _, _ in group), strong)
        for strong, group in groupby(pieces, itemgetter(2))
    ]
    whole = "".join(text for text, _ in runs)
    if marked and len(runs) > 1:
        parts = []
        for number, (text, strong) in enumerate(runs):
            before = runs[number - 1][0][-1:] if number else ""
            after = runs[number + 1][0][:1] if number + 1 < len(runs) else ""
            parts.append(_strong(text, before, after) if strong else text)
        whole = "".join(parts)
    lines = (" ".join(line.split()) for line in whole.split("\n"))
    return "\n".join(line for line in lines if line)


def _leads(pieces: list[tuple[str, bool, bool]]) -> bool:
    for text, linked, _ in pieces:
        if text.strip():
            return linked and len(text.split()) >= _MIN_LEAD_WORDS
    return False


def _strong(text: str, before: str, after: str) -> str:
    inner = text.strip()
    inside_word = (text[:1].isalnum() and before.isalnum()) or (
        text[-1:].isalnum() and after.isalnum()
    )
    if not inner or inside_word or "\n" in inner or "*" in inner:
        return text
    lead, trail = text[: len(text) - len(text.lstrip())], text[len(text.rstrip()) :]
    return f"{lead}**{inner}**{trail}"
