"""The text of one file on its way from reader to chunker, cleaned of what nobody can see."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PureWindowsPath

from deployments.errors import TooLarge, Unprocessable
from deployments.text.invisible import without_invisible

MAX_TITLE_CHARS = 200
MAX_SECTION_CHARS = 200

_LINE_ENDS = re.compile("\r\n|[\r\v\f\x85\u2028\u2029]")
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")


@dataclass(frozen=True, slots=True)
class Content:
    """What a reader makes of a file.

    `page_starts[i]` is the offset in `text`, in characters, at which page `i + 1` begins;
    None for formats without pages. `markdown` says that headings and lists are marked.
    """

    title: str
    media_type: str
    text: str
    page_starts: tuple[int, ...] | None = None
    markdown: bool = False


def clean(text: str) -> str:
    """Drop what cannot be seen and give every line the same ending and every space one form."""
    return without_invisible(_SPACES.sub(" ", _LINE_ENDS.sub("\n", text)))


def one_line(text: str) -> str:
    """Make a title fit: clean, on one line, at most `MAX_TITLE_CHARS` long."""
    return " ".join(clean(text).split())[:MAX_TITLE_CHARS].rstrip()


def title_of_filename(filename: str) -> str:
    """Name a document after its file, without folders and extension."""
    # The Windows flavour takes both slashes for separators.
    return one_line(PureWindowsPath(clean(filename)).stem) or "Untitled"


def check_text(text: str, max_chars: int) -> None:
    """Refuse a text over `max_chars` (TooLarge) or with nothing in it (Unprocessable)."""
    if len(text) > max_chars:
        raise too_long(max_chars)
    if not text.strip():
        msg = "There is no text in this file."
        raise Unprocessable(msg, code="no_text")


def too_long(max_chars: int) -> TooLarge:
    """Say that a text has more than `max_chars` characters."""
    msg = f"The file has more than {max_chars:,} characters of text. Split it and try again."
    return TooLarge(msg)
