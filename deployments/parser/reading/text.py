"""Read plain text files; their title is the name of the file."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from deployments.parser.reading.content import (
    Content,
    check_text,
    clean,
    title_of_filename,
)
from deployments.parser.reading.flow import flow, hard_wrapped, row_like
from deployments.parser.reading.formats import Format, decode

if TYPE_CHECKING:
    from collections.abc import Sequence


def read_text(data: bytes, filename: str, *, max_chars: int) -> Content:
    """Read plain text and join hard-wrapped lines; raise UnsupportedMedia for binary data."""
    text = clean(decode(data))
    check_text(text, max_chars)
    return Content(title_of_filename(filename), Format.TEXT, reflowed(text))


def reflowed(text: str) -> str:
    """Join the lines of hard-wrapped prose; rows, logs, verse and lists stay lines."""
    lines = text.split("\n")
    if not hard_wrapped(lines):
        return text
    parts = []
    for is_prose, blocks in groupby(_blocks(lines), key=lambda block: not row_like(block)):
        together = [line for block in blocks for line in (*block, "")][:-1]
        parts.append(flow([together])[0] if is_prose else "\n".join(together))
    return "\n\n".join(parts)


def _blocks(lines: Sequence[str]) -> list[list[str]]:
    """Return the lines between blank ones."""
    groups = groupby(lines, key=lambda line: bool(line.strip()))
    return [list(group) for filled, group in groups if filled]
