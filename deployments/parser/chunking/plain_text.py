"""Split plain text into blocks; guess its headings from position, length and context."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from deployments.parser.chunking.blocks import heading, lines_of
from deployments.parser.reading.flow import heading_like
from deployments.parser.reading.tables import CELL_JOINT
from deployments.text.sentences import SENTENCE_MARKS

if TYPE_CHECKING:
    from deployments.parser.chunking.blocks import Block, Line

_NUMBERED = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3}){0,3})\.?\s")
_CAPTION = re.compile(r"(?:fig(?:ure|\.)|table|exhibit|box)\s*[0-9]", re.IGNORECASE)
_ENDED = re.compile(rf"[.!?:;…{SENTENCE_MARKS}]")
_MAX_HEADING_CHARS = 80
_MAX_HEADING_WORDS = 12
_MIN_PROSE_CHARS = 80
_MAX_HEADINGS_TOGETHER = 2


def plain_blocks(text: str) -> list[Block]:
    """Return every line as a block.

    A short line that reads like a title is a heading if it follows a blank line and precedes
    prose or another heading. The rule is strict because a heading names all chunks below it.
    """
    lines = list(lines_of(text))
    blocks: list[Block] = []
    together = 0  # headings right below this line: the loop runs from the end
    for place in range(len(lines) - 1, -1, -1):
        line = lines[place]
        below = lines[place + 1].text if place + 1 < len(lines) else ""
        heads = 0 < together < _MAX_HEADINGS_TOGETHER or (together == 0 and _is_prose(below))
        if heads and _reads_like_heading(line, below):
            blocks.append(heading(line.start, line.end, _level(line), line.text))
            together += 1
        else:
            begins = line.after_blank or CELL_JOINT not in lines[place - 1].text
            # A single line with the joint is prose, or a menu.
            is_row = CELL_JOINT in line.text and CELL_JOINT in below
            blocks.append(line.block(leads=begins and is_row))
            together = 0
    return blocks[::-1]


def _is_prose(line: str) -> bool:
    return (
        len(line) >= _MIN_PROSE_CHARS
        and CELL_JOINT not in line
        and _ENDED.search(line, _MIN_PROSE_CHARS // 2) is not None
    )


def _reads_like_heading(line: Line, below: str) -> bool:
    text = line.text.strip()
    return (
        line.after_blank
        and text[0].isalnum()
        and not text[0].islower()
        and len(text) <= _MAX_HEADING_CHARS
        and len(text.split()) <= _MAX_HEADING_WORDS
        and CELL_JOINT not in text
        and not _CAPTION.match(text)
        and heading_like([text, below])
    )


def _level(line: Line) -> int:
    """Return the number of parts of a section number: 2 for 2.1."""
    number = _NUMBERED.match(line.text.strip())
    return number[1].count(".") + 1 if number else 1
