"""Warnings about pages of a PDF that were not read, or not as usual."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from deployments.parser.page_warnings import page_warning
from deployments.types import DocumentWarning, WarningCode

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_MAX_NAMED_FILES: Final = 10
_MAX_NAME_CHARS: Final = 80


@dataclass(slots=True)
class PageStates:
    """Numbers of pages, from 1, by what was found out; `cut_off` if the file's end is missing.

    Of the pages `without_text` and those `unreadable`, the text of those `recognised` is known.
    """

    count: int = 0
    without_text: set[int] = field(default_factory=set)
    unreadable: set[int] = field(default_factory=set)
    damaged: set[int] = field(default_factory=set)
    recognised: set[int] = field(default_factory=set)
    attachments: list[str] = field(default_factory=list)
    cut_off: bool = False

    def wanted(self) -> tuple[int, ...]:
        """Return the pages whose text has to be recognised in their pictures."""
        return tuple(sorted((self.without_text | self.unreadable) - self.recognised))


def warnings_of(states: PageStates) -> tuple[DocumentWarning, ...]:
    """Return the warnings for a person who uploads the document."""
    return tuple(_warnings(states))


def _warnings(states: PageStates) -> Iterator[DocumentWarning]:
    kinds = (
        (WarningCode.PAGES_WITHOUT_TEXT, states.without_text - states.recognised,
         "{pages} hold{s} no text."),
        (WarningCode.PAGES_UNREADABLE, states.unreadable - states.recognised,
         "The text of {pages} cannot be read: {its} fonts do not say which letters they show."),
        (WarningCode.PAGES_BY_OCR, states.recognised,
         "The text of {pages} was recognised by OCR, and may have mistakes."),
        (WarningCode.PARTLY_READ, states.damaged, "{pages} {are} damaged and {were} left out."),
    )  # fmt: skip
    for code, pages, message in kinds:
        if pages:
            yield _about_pages(code, pages, message, states.count)
    if states.cut_off:
        msg = "The end of this file is missing, and pages or parts of them may be, too."
        yield DocumentWarning(WarningCode.PARTLY_READ, msg)
    if states.attachments:
        names = [name[:_MAX_NAME_CHARS] for name in states.attachments[:_MAX_NAMED_FILES]]
        more = len(states.attachments) - len(names)
        listed = ", ".join(names) + (f" and {more:,} more" if more else "")
        files = "file was" if len(states.attachments) == 1 else "files were"
        msg = f"{len(states.attachments):,} attached {files} not read: {listed}."
        yield DocumentWarning(WarningCode.ATTACHMENTS_NOT_READ, msg)


def _about_pages(
    code: WarningCode, pages: Collection[int], message: str, count: int
) -> DocumentWarning:
    one = len(pages) == 1
    text = message.format(
        pages=f"{len(pages):,} of {count:,} page{'' if count == 1 else 's'}",
        s="s" if one else "",
        its="its" if one else "their",
        are="is" if one else "are",
        were="was" if one else "were",
    )
    return page_warning(code, text, pages)
