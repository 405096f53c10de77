"""Content of a file as readers pass it to the chunker, and the clean-up of its text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, NamedTuple

from deployments.errors import TooLarge, Unprocessable
from deployments.text.invisible import without_invisible

if TYPE_CHECKING:
    from deployments.types import DocumentWarning

MAX_TITLE_CHARS = 200
MAX_SECTION_CHARS = 200

_LINE_ENDS = re.compile("\r\n|[\r\v\f\x85\u2028\u2029]")
_SPACES = re.compile("[\u00a0\u1680\u2000-\u200a\u202f\u205f\u3000]")


class Heading(NamedTuple):
    """A span of a text that heads a section; `level` counts from 1."""

    start: int
    end: int
    level: int
    title: str


@dataclass(frozen=True, slots=True)
class Content:
    """The text of a file.

    `page_starts[i]` is the character offset in `text` at which page `i + 1` begins; None for
    formats without pages. `markdown` is true if the text is Markdown. `outline` has the headings
    of a text whose lines must stay as they are; None if they are to be recognised. `warnings` say
    what was not read. `ocr_pages` are the pages whose text was recognised in pictures, and
    `ocr_spans` are parts of the text that were, in order. `ocr_wanted` are pages whose text could
    not be read otherwise.
    """

    title: str
    media_type: str
    text: str
    page_starts: tuple[int, ...] | None = None
    markdown: bool = False
    warnings: tuple[DocumentWarning, ...] = ()
    ocr_pages: frozenset[int] = frozenset()
    ocr_wanted: tuple[int, ...] = ()
    outline: tuple[Heading, ...] | None = None
    ocr_spans: tuple[tuple[int, int], ...] = ()

    def all_ocr_spans(self) -> tuple[tuple[int, int], ...]:
        """Return all parts of the text that were recognised, those of whole pages among them."""
        ends = [*(self.page_starts or ())[1:], len(self.text)]
        spans = [
            (start, end)
            for page, (start, end) in enumerate(zip(self.page_starts or (), ends, strict=False), 1)
            if page in self.ocr_pages and start < end
        ]
        return tuple(sorted((*spans, *self.ocr_spans)))


def clean(text: str) -> str:
    """Remove invisible characters and normalize line ends and spaces."""
    return without_invisible(_SPACES.sub(" ", _LINE_ENDS.sub("\n", text)))


def one_line(text: str) -> str:
    """Return a title on one line, cleaned and cut at `MAX_TITLE_CHARS`."""
    return " ".join(clean(text).split())[:MAX_TITLE_CHARS].rstrip()


def title_of_filename(filename: str) -> str:
    """Return a title from a file name, without folders and extension."""
    # The Windows flavour accepts both kinds of slash.
    return one_line(PureWindowsPath(clean(filename)).stem) or "Untitled"


def check_text(text: str, max_chars: int) -> None:
    """Raise TooLarge for a text over `max_chars`, Unprocessable for a blank one."""
    if len(text) > max_chars:
        raise too_long(max_chars)
    if not text.strip():
        msg = "There is no text in this file."
        raise Unprocessable(msg, code="no_text")


def too_long(max_chars: int) -> TooLarge:
    """Return the error for a text of more than `max_chars` characters."""
    msg = f"The file has more than {max_chars:,} characters of text. Split it and try again."
    return TooLarge(msg)
