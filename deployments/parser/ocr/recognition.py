"""Recognise pages of a file: in turns of their owners, within limits, and with warnings."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from deployments.errors import Overloaded, Unprocessable
from deployments.fair_places import FairPlaces
from deployments.parser.ocr.process import OcrKilledError, OcrProcess, Page
from deployments.parser.page_warnings import page_warning
from deployments.types import DocumentWarning, WarningCode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FILE_WAIT_S = 3600.0
"""Wall-clock time for the pages of a file, without what it waits for those of others."""
_MAX_FILES = 32
_MAX_FAILURES = 3
_UNREAD_CONFIDENCE = 0.8
_KILLED = "The file could not be read: the process that read its pictures was killed."
_KILLED_CODE = "reader_killed"
_KNOWN = "Latin, Chinese and Japanese"


@dataclass(frozen=True, slots=True)
class Recognition:
    """The texts of pages that have any, what was not read of the others, and the CPU seconds."""

    texts: Mapping[int, str]
    warnings: tuple[DocumentWarning, ...]
    cpu_s: float


class Recognizer:
    """Reads one page at a time, of all files; owners take turns page by page."""

    def __init__(self, max_pages: int, shares: Mapping[str, float] | None = None) -> None:
        """Set how many pages of a file are read; `shares` are the weights of owners."""
        self._max_pages = max_pages
        self._places = FairPlaces(1, shares=shares)
        self._files = 0
        self._process = OcrProcess()
        self._closed = False

    @property
    def pid(self) -> int | None:
        """The process that recognises, if it runs."""
        return self._process.pid

    def close(self) -> None:
        """End the process for good."""
        self._closed = True
        self._process.close()

    async def read(
        self, file: BinaryIO, media_type: str, pages: Sequence[int], owner: str
    ) -> Recognition:
        """Recognise pages of a file, from its present position on.

        Raises:
            Overloaded: too many files are under way.
            Unprocessable: `reader_killed`, the process was killed and no page could be read.
        """
        if self._files >= _MAX_FILES:
            msg = "too many files wait for OCR; try again shortly"
            raise Overloaded(msg)
        self._files += 1
        left_s, start = FILE_WAIT_S, file.tell()
        read: dict[int, Page] = {}
        failures = 0
        try:
            for number in pages[: self._max_pages]:
                if left_s <= 0 or failures == _MAX_FAILURES:
                    break
                async with self._places.place(owner):
                    began = time.monotonic()
                    read[number] = page = await self._page(file, media_type, number, start)
                    left_s -= time.monotonic() - began
                failures += bool(page.error)
        finally:
            self._files -= 1
        cpu_s = sum(page.cpu_s for page in read.values())
        texts = {number: page.text for number, page in read.items() if page.text.strip()}
        if not texts and any(page.error == _KILLED_CODE for page in read.values()):
            error = Unprocessable(_KILLED, code=_KILLED_CODE)
            error.cpu_s = cpu_s
            raise error
        return Recognition(texts, _warnings(pages, read, self._max_pages), cpu_s)

    async def _page(self, file: BinaryIO, media_type: str, number: int, start: int) -> Page:
        """Read a page; once more, if that has killed the process."""
        for _ in range(2):
            try:
                return await self._process.read(file, media_type, number, start)
            except OcrKilledError:
                if self._closed:
                    raise Unprocessable(_KILLED, code=_KILLED_CODE) from None
        return Page(error=_KILLED_CODE)


def without_text(
    warnings: Sequence[DocumentWarning],
    *,
    disabled: bool = False,
    tried: Sequence[DocumentWarning] | None = None,
) -> Unprocessable:
    """Return the error for a file of which no text could be read.

    `warnings` are those of its reader. `disabled` says that the service has no OCR, and `tried`
    are the warnings of OCR that has found nothing.
    """
    unreadable = any(each.code == WarningCode.PAGES_UNREADABLE for each in warnings)
    msg = (
        "The text of this file cannot be read." if unreadable else "There is no text in this file."
    )
    if disabled:
        msg += " OCR of scans and pictures is off on this service: `parser.ocr` enables it."
    elif tried is not None:
        msg = " ".join([msg, "OCR found none in its pictures.", *(each.message for each in tried)])
    return Unprocessable(msg, code="unreadable_text" if unreadable else "no_text")


def _warnings(
    pages: Sequence[int], read: Mapping[int, Page], max_pages: int
) -> tuple[DocumentWarning, ...]:
    over = pages[max_pages:]
    failed = [number for number in pages[:max_pages] if number not in read or read[number].error]
    found = []
    if over:
        msg = f"OCR reads {max_pages} pages of a document at most; {_count(over)} more need it."
        found.append(page_warning(WarningCode.CUT_AT_LIMIT, msg, over))
    if failed:
        msg = f"OCR failed, or took too long, for {_count(failed)}."
        found.append(page_warning(WarningCode.PARTLY_READ, msg, failed))
    unread: dict[str, list[int]] = {}
    for number, page in read.items():
        if page.lines and page.confidence < _UNREAD_CONFIDENCE:
            unread.setdefault(page.script, []).append(number)
    found += [
        page_warning(WarningCode.SCRIPT_NOT_READ, _script_message(script, numbers), numbers)
        for script, numbers in unread.items()
    ]
    return tuple(found)


def _script_message(script: str, pages: Sequence[int]) -> str:
    if script:
        return (
            f"OCR could not read {_count(pages)} in {script} script: tesseract needs its "
            "language data on this service."
        )
    return (
        f"OCR is unsure of {_count(pages)}, which may be in another script than {_KNOWN}, "
        "handwritten or blurred."
    )


def _count(pages: Sequence[int]) -> str:
    return "1 page" if len(pages) == 1 else f"{len(pages)} pages"
