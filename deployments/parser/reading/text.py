"""Read plain text and Markdown files."""

from __future__ import annotations

import re

from deployments.parser.reading.content import (
    Content,
    check_text,
    clean,
    one_line,
    title_of_filename,
)
from deployments.parser.reading.flow import flow, hard_wrapped, heading_like
from deployments.parser.reading.formats import Format, decode

_HEADING = re.compile(r"^ {0,3}# +(\S.*)$|^(\S.{0,198})\n=+ *$", re.MULTILINE)


def read_text(data: bytes, filename: str, *, max_chars: int) -> Content:
    """Read plain text and join hard-wrapped lines; raise UnsupportedMedia for binary data."""
    text = clean(decode(data))
    check_text(text, max_chars)
    lines = text.split("\n")
    if hard_wrapped(lines):
        text, _ = flow([lines])
    filled = [line for line in lines if line.strip()]
    title = one_line(filled[0]) if heading_like(filled) else title_of_filename(filename)
    return Content(title, Format.TEXT, text)


def read_markdown(data: bytes, filename: str, *, max_chars: int) -> Content:
    """Read Markdown; its title is the first top-level heading."""
    text = clean(decode(data))
    check_text(text, max_chars)
    heading = _HEADING.search(text)
    title = one_line((heading[1] or heading[2]).rstrip(" #")) if heading else ""
    return Content(title or title_of_filename(filename), Format.MARKDOWN, text, markdown=True)
