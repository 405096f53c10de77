"""The blocks of Markdown, as CommonMark has them, as far as they matter for cutting."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from deployments.parser.chunking.blocks import heading, lines_of

if TYPE_CHECKING:
    from deployments.parser.chunking.blocks import Block, Line

_FRONT_MATTER = re.compile(r"---[ \t]*\n\w[^\n:]*:.*\n(?:.*\n){0,99}?(?:---|\.\.\.)[ \t]*(?:\n|$)")
_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")
_HEADING = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*))?$")
_UNDERLINE = re.compile(r" {0,3}(?:=+|-+)$")
_ITEM = re.compile(r"[ \t]*(?:[-*+]|[0-9]{1,9}[.)])[ \t]")
_QUOTE_OR_RULE = re.compile(r"[ \t]*(?:>|(?:[-*_][ \t]*){3,}$)")
_LINK = re.compile(r"!?\[([^\[\]]{0,200})\]\([^()\s]{0,500}\)")
_MAX_MARKED_CHARS = 1000
_MAX_UNDERLINED_CHARS = 200


def markdown_blocks(text: str) -> list[Block]:
    """Find the blocks: the lines of a paragraph together, of code, tables and lists apart."""
    front = _FRONT_MATTER.match(text)
    reader = _Reader(text, front.end() if front else 0)
    for line in lines_of(text):
        reader.read(line)
    return reader.blocks


class _Reader:
    """Takes lines, one after the other."""

    def __init__(self, text: str, front_end: int) -> None:
        self.blocks: list[Block] = []
        self._text = text
        self._front_end = front_end
        self._fence = ""  # what closes the code that is being read
        # What the last block is, if it may go on.
        self._open: Literal["paragraph", "item", "table", ""] = ""

    def read(self, line: Line) -> None:
        """Take the next line."""
        if line.after_blank:
            self._open = ""
        marked = _HEADING.match(line.text)
        if self._is_code(line):
            self.blocks.append(line.block())
            self._open = ""
        elif marked:
            title = _title(_without_closing(marked[2] or ""))
            self.blocks.append(heading(line.start, line.end, len(marked[1]), title))
            self._open = ""
        elif not self._goes_on(line):
            self.blocks.append(line.block())
            self._open = self._kind(line.text)

    def _is_code(self, line: Line) -> bool:
        """Tell whether a line is of code, or the fence around it, or of the front matter."""
        fence = _FENCE.match(line.text)
        if self._fence:
            if fence and fence[1].startswith(self._fence) and fence[1] == line.text.strip():
                self._fence = ""
            return True
        if fence and line.start >= self._front_end:
            self._fence = fence[1]
        return self._fence != "" or line.start < self._front_end

    def _goes_on(self, line: Line) -> bool:
        """Add a line to the last block, if it belongs to it or tells what it is."""
        if not self._open:
            return False
        last = self.blocks[-1]
        if self._open != "item" and _rules_table(line.text):
            # The head of a table, with the line below it.
            self.blocks[-1] = last._replace(end=line.end, leads=True)
            self._open = "table"
        elif self._open == "paragraph" and _underlines(line.text, last):
            level = 1 if "=" in line.text else 2
            title = _title(self._text[last.start : last.end])
            self.blocks[-1] = heading(last.start, line.end, level, title)
            self._open = ""
        elif self._open == "table" or self._kind(line.text) != "paragraph":
            return False
        else:
            self.blocks[-1] = last._replace(end=line.end, leads=line.text.endswith(":"))
        return True

    def _kind(self, text: str) -> Literal["paragraph", "item", "table", ""]:
        if text.lstrip().startswith("|") or (self._open == "table" and "|" in text):
            return "table"
        if _ITEM.match(text):
            return "item"
        return "" if _QUOTE_OR_RULE.match(text) else "paragraph"


def _title(marked: str) -> str:
    """Leave out where links lead to."""
    return _LINK.sub(r"\1", marked[:_MAX_MARKED_CHARS])


def _without_closing(title: str) -> str:
    """Drop the `#` that may close a heading, after a space."""
    title = title.strip()
    core = title.rstrip("#")
    return core.rstrip() if not core or core[-1] in " \t" else title


def _underlines(line: str, block: Block) -> bool:
    """Tell whether a line makes the paragraph above it a heading."""
    return _UNDERLINE.match(line) is not None and block.end - block.start <= _MAX_UNDERLINED_CHARS


def _rules_table(line: str) -> bool:
    return "|" in line and "-" in line and set(line) <= set("|-: \t")
