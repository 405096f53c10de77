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

    from deployments.parser.reading.embedded_pictures import OcrRequest

FILE_WAIT_S = 3600.0
"""Wall-clock time for the pages of a file, without what it waits for those of others."""
_MAX_FILES = 32
PAGE, PICTURE = "page", "picture"
_MAX_FAILURES = 3
_TOO_LARGE = "too_large"
_CHEAP_ERRORS = frozenset(("damaged_image", "damaged_pdf", _TOO_LARGE))
"""Of pages that are refused before they are recognised: these do not count as failures."""
_UNREAD_CONFIDENCE = 0.8
_KILLED = "The file could not be read: the process that read its pictures was killed."
_KILLED_CODE = "reader_killed"
_KNOWN = "Latin, Chinese and Japanese"


@dataclass(frozen=True, slots=True)
class Recognition:
    """The texts of pages that have any, by their keys, warnings, and the CPU seconds."""

    texts: Mapping[str, str]
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
        """The id of the OCR process, if it runs."""
        return self._process.pid

    def close(self) -> None:
        """End the process for good."""
        self._closed = True
        self._process.close()

    async def read(
        self, file: BinaryIO, requests: Sequence[OcrRequest], owner: str, noun: str = PAGE
    ) -> Recognition:
        """Recognise pages in a file; warnings call them `PAGE` or `PICTURE`.

        Raises:
            Overloaded: too many files are under way.
            Unprocessable: `reader_killed`, the process was killed and no page could be read.
        """
        if self._files >= _MAX_FILES:
            msg = "too many files wait for OCR; try again shortly"
            raise Overloaded(msg)
        self._files += 1
        left_s = FILE_WAIT_S
        read: dict[str, Page] = {}
        failures = 0
        try:
            for each in requests[: self._max_pages]:
                if left_s <= 0 or failures == _MAX_FAILURES:
                    break
                async with self._places.place(owner):
                    began = time.monotonic()
                    read[each.key] = page = await self._page(file, each)
                    left_s -= time.monotonic() - began
                failures += bool(page.error) and page.error not in _CHEAP_ERRORS
        finally:
            self._files -= 1
        cpu_s = sum(page.cpu_s for page in read.values())
        texts = {key: page.text for key, page in read.items() if page.text.strip()}
        if not texts and any(page.error == _KILLED_CODE for page in read.values()):
            error = Unprocessable(_KILLED, code=_KILLED_CODE)
            error.cpu_s = cpu_s
            raise error
        return Recognition(texts, _warnings(requests, read, self._max_pages, noun), cpu_s)

    async def _page(self, file: BinaryIO, request: OcrRequest) -> Page:
        """Read a page; retry once if the process was killed."""
        for _ in range(2):
            try:
                return await self._process.read(
                    file, request.media_type, request.page, request.start, request.size
                )
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
        reasons = [each.message for each in tried if each.code != WarningCode.PICTURES_NOT_READ]
        msg = " ".join([msg, "OCR found none in its pictures.", *reasons])
    return Unprocessable(msg, code="unreadable_text" if unreadable else "no_text")


def _warnings(
    requests: Sequence[OcrRequest], read: Mapping[str, Page], max_pages: int, noun: str
) -> tuple[DocumentWarning, ...]:
    over = requests[max_pages:]
    tried = requests[:max_pages]
    large = [each for each in tried if each.key in read and read[each.key].error == _TOO_LARGE]
    failed = [each for each in tried if each.key not in read or read[each.key].error]
    failed = [each for each in failed if each not in large]
    unread: dict[str, list[OcrRequest]] = {}
    without_text = []
    for each in tried:
        page = read.get(each.key, Page(error="skipped"))
        if page.lines and page.confidence < _UNREAD_CONFIDENCE:
            unread.setdefault(page.script, []).append(each)
        elif not page.error and not page.text.strip():
            without_text.append(each)
    kinds = [
        (WarningCode.CUT_AT_LIMIT, over,
         f"OCR reads {max_pages} {noun}s of a document at most; {{}} more need it."),
        (WarningCode.PARTLY_READ, large, "OCR does not read {}, with too many pixels."),
        (WarningCode.PARTLY_READ, failed, "OCR failed, or took too long, for {}."),
        *((WarningCode.SCRIPT_NOT_READ, pages, _script_message(script))
          for script, pages in unread.items()),
    ]  # fmt: skip
    if noun == PICTURE:  # the reader of pages reports them
        recognised = [each for each in tried if each.key in read and read[each.key].text.strip()]
        kinds += [
            (WarningCode.PICTURES_NOT_READ, without_text, "OCR found no text in {}."),
            (WarningCode.PAGES_BY_OCR, recognised,
             "The text of {} was recognised by OCR, and may have mistakes."),
        ]  # fmt: skip
    return tuple(
        page_warning(
            code,
            message.format(_count(len(pages), noun)),
            [each.page for each in pages] if noun == PAGE else (),
        )
        for code, pages, message in kinds
        if pages
    )


def pictures_left(count: int, *, disabled: bool) -> DocumentWarning:
    """Return the warning about pictures that OCR has not tried to read.

    `disabled` says that the service has no OCR.
    """
    why = ": OCR is off on this service" if disabled else ""
    were = "was" if count == 1 else "were"
    msg = f"{_count(count, PICTURE)} {were} not read{why}."
    return DocumentWarning(WarningCode.PICTURES_NOT_READ, msg)


def _script_message(script: str) -> str:
    if script:
        return (
            f"OCR could not read {{}} in {script} script: tesseract needs its "
            "language data on this service."
        )
    return (
        f"OCR is unsure of {{}}, which may be in another script than {_KNOWN}, "
        "handwritten or blurred."
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
