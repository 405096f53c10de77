"""What a text is made of before it is cut: its paragraphs, lines and headings."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from deployments.parser.reading.content import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator


class Break(IntEnum):
    """What lies before a stretch of text, from the worst place to cut at to the best."""

    WORD = 0
    SENTENCE = 1
    LINE = 2
    PARAGRAPH = 3
    SECTION = 4


class Block(NamedTuple):
    """A paragraph, a line that stands for itself, or a heading; white space lies between two.

    `level` is 0 for all but headings, which count from 1 and have a `title`. What `leads`
    says little without what follows: a heading, a table's head, "The reasons are:".
    """

    start: int
    end: int
    before: Break
    leads: bool = False
    level: int = 0
    title: str = ""


class Line(NamedTuple):
    """A line with something in it; `text` begins with its indentation."""

    start: int
    end: int
    text: str
    after_blank: bool

    def block(self, *, leads: bool = False) -> Block:
        """Make it one of its own."""
        before = Break.PARAGRAPH if self.after_blank else Break.LINE
        return Block(self.start, self.end, before, leads or self.text.endswith(":"))


def heading(start: int, end: int, level: int, title: str) -> Block:
    """Make a heading of a stretch of text."""
    return Block(start, end, Break.SECTION, leads=True, level=level, title=one_line(title))


def lines_of(text: str) -> Iterator[Line]:
    """Give the lines that are not blank."""
    start, blank = 0, True
    for raw in text.split("\n"):
        line = raw.rstrip()
        if line:
            yield Line(start, start + len(line), line, blank)
        blank = not line
        start += len(raw) + 1
