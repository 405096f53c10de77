"""Blocks of a text: the paragraphs, lines and headings that chunks are made of."""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple

from deployments.parser.reading.content import one_line

if TYPE_CHECKING:
    from collections.abc import Iterator


class Break(IntEnum):
    """Boundaries at which a text can be cut, from the worst to the best."""

    WORD = 0
    SENTENCE = 1
    LINE = 2
    PARAGRAPH = 3
    SECTION = 4


class Block(NamedTuple):
    """A paragraph, a single line or a heading; only white space lies between blocks.

    `level` counts from 1 for headings, which have a `title`, and is 0 for other blocks. A block
    that `leads` introduces the next one: a heading, the head of a table, "The reasons are:".
    """

    start: int
    end: int
    before: Break
    leads: bool = False
    level: int = 0
    title: str = ""


class Line(NamedTuple):
    """A line that is not blank; `number` counts from 0, `text` includes its indentation."""

    number: int
    start: int
    end: int
    text: str
    after_blank: bool

    def block(self, *, leads: bool = False) -> Block:
        """Return the line as a block of its own."""
        before = Break.PARAGRAPH if self.after_blank else Break.LINE
        return Block(self.start, self.end, before, leads or self.text.endswith(":"))


def heading(start: int, end: int, level: int, title: str) -> Block:
    """Return a heading block."""
    return Block(start, end, Break.SECTION, leads=True, level=level, title=one_line(title))


def lines_of(text: str) -> Iterator[Line]:
    """Yield the lines that are not blank."""
    start, blank = 0, True
    for number, raw in enumerate(text.split("\n")):
        line = raw.rstrip()
        if line:
            yield Line(number, start, start + len(line), line, blank)
        blank = not line
        start += len(raw) + 1
