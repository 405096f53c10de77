"""Text under construction: lines, headings and pages, bounded in length."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

from deployments.parser.page_warnings import page_warning
from deployments.parser.reading.content import (
    Content,
    Heading,
    check_text,
    clean,
    one_line,
    too_long,
)
from deployments.types import DocumentWarning, WarningCode

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


_MAX_LEVEL = 9


class OutlinedText:
    """Collects the text of a document; raises TooLarge above `max_chars`."""

    def __init__(self, max_chars: int) -> None:
        self._max_chars = max_chars
        self._parts: list[str] = []
        self._chars = 0
        self._headings: list[Heading] = []
        self._page_starts: list[int] = []
        self._new_pages = 0
        self._ocr_spans: list[tuple[int, int]] = []

    @property
    def headings(self) -> Sequence[Heading]:
        """The headings so far."""
        return self._headings

    @property
    def blank(self) -> bool:
        """Whether there is no text yet."""
        return self._chars == 0

    def page(self) -> None:
        """Begin a page."""
        self._new_pages += 1

    def heading(self, title: str, level: int = 1, text: str = "") -> None:
        """Add a heading; `text` are its lines, if not the title alone."""
        title = one_line(title)
        text = clean(text).strip("\n") or title
        if title and text.strip():
            start = self._add(text, "\n\n")
            self._headings.append(
                Heading(start, self._chars, max(1, min(level, _MAX_LEVEL)), title)
            )

    def paragraph(self, text: str) -> None:
        """Add a text after a blank line; its own line breaks stay."""
        text = clean(text).strip()
        if text:
            self._add(text, "\n\n")

    def line(self, text: str) -> None:
        """Add a line right below the one before; its indentation stays."""
        text = clean(text).rstrip()
        if text.strip():
            self._add(text, "\n")

    def lines(self, texts: Iterable[str]) -> None:
        """Add lines, the first one after a blank line."""
        first = True
        for text in texts:
            if first:
                self.paragraph(text)
                first = not text.strip()
            else:
                self.line(text)

    def recognised(self, text: str) -> None:
        """Add a text that OCR has read in a picture, if there is one, after a blank line."""
        text = clean(text).strip()
        if text:
            self._ocr_spans.append((self._add(text, "\n\n"), self._chars))

    def other_pictures(self, texts: Iterable[str], heading: str = "Other pictures") -> None:
        """Add texts that OCR has read in pictures, below a heading if there are any."""
        for text in filter(None, texts):
            self.heading(heading)
            self.recognised(text)
            heading = ""

    def section(self, title: str, texts: Iterable[str]) -> None:
        """Add a heading with lines below it, unless there are none."""
        begun = False
        for text in texts:
            if not text.strip():
                continue
            if begun:
                self.line(text)
            else:
                self.heading(title)
                self.paragraph(text)
                begun = True

    def append(self, content: Content, below: int) -> None:
        """Add the text of another document, its headings below level `below`."""
        start = self._add(content.text, "\n\n")
        self._headings += [
            Heading(
                start + each.start,
                start + each.end,
                min(each.level + below, _MAX_LEVEL),
                each.title,
            )
            for each in content.outline or ()
        ]
        self._ocr_spans += [(start + a, start + b) for a, b in content.all_ocr_spans()]

    def pages_without_text(self) -> tuple[tuple[int, ...], int]:
        """Return the numbers of the pages without text, and the number of all pages."""
        starts = [*self._page_starts, *[self._chars] * self._new_pages, self._chars]
        blank = [number for number, (start, end) in enumerate(pairwise(starts), 1) if start == end]
        return tuple(blank), len(starts) - 1

    def content(
        self, title: str, media_type: str, warnings: Sequence[DocumentWarning] = ()
    ) -> Content:
        """Return the document; raise Unprocessable if it is blank."""
        text = "".join(self._parts)
        check_text(text, self._max_chars)
        self._page_starts += [self._chars] * self._new_pages
        return Content(
            title,
            media_type,
            text,
            page_starts=tuple(self._page_starts) or None,
            warnings=tuple(warnings),
            outline=tuple(self._headings),
            ocr_spans=tuple(self._ocr_spans),
        )

    def _add(self, text: str, joint: str) -> int:
        """Add a text and return where it starts."""
        joint = joint if self._chars else ""
        self._chars += len(joint) + len(text)
        if self._chars > self._max_chars:
            raise too_long(self._max_chars)
        self._parts += [joint, text]
        start = self._chars - len(text)
        self._page_starts += [start] * self._new_pages
        self._new_pages = 0
        return start


def blank_pages(text: OutlinedText) -> tuple[DocumentWarning, ...]:
    """Return the warning that names slides without text, if there are any."""
    pages, total = text.pages_without_text()
    if not pages:
        return ()
    message = f"{len(pages)} of {total} slides hold no text."
    return (page_warning(WarningCode.PAGES_WITHOUT_TEXT, message, pages),)
