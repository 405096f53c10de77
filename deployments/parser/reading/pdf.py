"""Read PDF files: reflowed text with page numbers. Run it only in a sandboxed process."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from deployments.errors import TooLarge, Unprocessable
from deployments.parser.reading.content import (
    Content,
    check_text,
    clean,
    title_of_filename,
    too_long,
)
from deployments.parser.reading.continued_tables import with_repeated_heads
from deployments.parser.reading.flow import flow, without_running_lines
from deployments.parser.reading.formats import Format
from deployments.parser.reading.pdf_drawings import image_share, lost_share, rules
from deployments.parser.reading.pdf_extras import Annotations, attachment_names
from deployments.parser.reading.pdf_layout import page_lines
from deployments.parser.reading.pdf_lines import segment_of, segments_of
from deployments.parser.reading.pdf_plain import plain_segments
from deployments.parser.reading.pdf_warnings import PageStates, warnings_of
from deployments.parser.reading.pdfium import PasswordError, PdfiumDocument, PdfiumError
from deployments.parser.reading.pypdf_pages import NotReadable, PypdfDocument, SecondReader
from deployments.parser.reading.readability import (
    is_unreadable,
    mended,
    noise_share,
    space_code,
    without_controls,
)
from deployments.parser.reading.tables import may_hold_table, with_ruled_tables
from deployments.parser.reading.titles import largest_heading, tidy_title

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deployments.parser.reading.pdf_lines import Segment
    from deployments.parser.reading.pdfium import PdfiumPage
    from deployments.parser.reading.tables import PageTable

# A page with fewer visible characters is a scan if a picture covers at least this share of it.
_MAX_SCAN_CHARS: Final = 200
_MIN_SCAN_SHARE: Final = 0.6
_MAX_NOISE_SHARE: Final = 0.08  # of the characters of a line that is kept
_MAX_GARBLED_SHARE: Final = 0.15  # of the characters of a page, in lines that are not
_FI_CODE: Final = "\x0c"
_MAX_LONE_RETURNS: Final = 2  # on a page
_MAX_LOST_SHARE: Final = 0.3  # of the texts on a page
_MORE: Final = 1.2  # times the characters: what pypdf has to find to be taken instead
_MAX_COPIES: Final = 4  # of a character that is drawn several times
_BODY_PAGES: Final = 10
_SOFT_HYPHEN_AT_END = re.compile(r"\xad[ \t]*$", re.MULTILINE)
_RETURN = re.compile(r"\r(?!\n)")  # in the content: pdfium ends lines with two codes
_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufeff]")

_DAMAGED = "This PDF is damaged or incomplete. Open and save it again, or upload it once more."


@dataclass(slots=True)
class _Document:
    """The lines of all pages, and what was found out about them."""

    pages: list[list[str]] = field(default_factory=list)
    tables: dict[int, list[PageTable]] = field(default_factory=dict)  # by page number, from 1
    states: PageStates = field(default_factory=PageStates)
    title: str = ""
    extras: dict[int, list[str]] = field(default_factory=dict)  # values of forms, and notes
    first_page: list[tuple[float, str]] = field(default_factory=list)  # height and text of lines
    heights: list[tuple[float, int]] = field(default_factory=list)  # of lines, with their letters


def read_pdf(
    data: bytes,
    filename: str,
    *,
    max_pages: int,
    max_chars: int,
    ocr: Mapping[int, str] | None = None,
) -> Content:
    """Read the text of a PDF.

    Args:
        data: the file.
        filename: its name, from which the title is made if there is no other.
        max_pages: the most pages of a document.
        max_chars: the most characters.
        ocr: texts recognised in pictures of pages, by page number, from 1. They take the place
            of what the pages hold.

    Returns:
        The content. Pages without readable text are its `ocr_wanted`; its text is empty if that
        is all pages.

    Raises:
        Unprocessable: `encrypted_pdf`, `damaged_pdf`, or `no_text` if all pages are blank.
        TooLarge: too many pages or characters.
    """
    try:
        document = _read_by_pdfium(data, max_pages, max_chars)
    except PasswordError as error:
        raise _encrypted() from error
    except PdfiumError as error:
        document = _read_by_pypdf(data, max_pages, max_chars, error)
    states = document.states
    states.count = len(document.pages)
    # What was recovered may be a part of the document.
    states.cut_off = data.rfind(b"endobj") > data.rfind(b"startxref")
    if ocr:
        for number in sorted(ocr.keys() & set(states.wanted())):
            if ocr[number].strip():
                extras = document.extras.get(number, [])  # notes are not drawn
                document.tables.pop(number, None)
                document.pages[number - 1] = [*clean(ocr[number]).split("\n"), "", *extras]
                states.recognised.add(number)
    tables = [document.tables.get(number, []) for number in range(1, states.count + 1)]
    text, starts = flow(without_running_lines(*with_repeated_heads(document.pages, tables)))
    wanted = states.wanted()
    if text.strip() or not wanted:
        check_text(text, max_chars)
    return Content(
        tidy_title(document.title)
        or largest_heading(document.first_page, document.heights)
        or title_of_filename(filename),
        Format.PDF,
        text,
        page_starts=starts,
        warnings=warnings_of(states),
        ocr_pages=frozenset(states.recognised),
        ocr_wanted=wanted,
    )


def _read_by_pdfium(data: bytes, max_pages: int, max_chars: int) -> _Document:
    source = PdfiumDocument(data)
    _check_pages(source.pages, max_pages)
    document = _Document(title=source.metadata("Title"))
    states = document.states
    states.attachments = attachment_names(source)
    annotations = Annotations(source)
    second = SecondReader(data)
    left = max_chars
    for number in range(1, source.pages + 1):
        page = source.page(number - 1)
        lines: list[str] = []
        if page is None:
            states.damaged.add(number)
        else:
            lines = _page(page, number, document, annotations, second, left)
            page.close()
        left -= sum(map(len, lines))
        if left < 0:
            raise too_long(max_chars)
        document.pages.append(lines)
    if len(states.damaged) == source.pages:
        raise _damaged()
    return document


def _page(  # noqa: PLR0913, PLR0917 - a page and what is known of its document
    page: PdfiumPage,
    number: int,
    document: _Document,
    annotations: Annotations,
    second: SecondReader,
    most: int,
) -> list[str]:
    """Return the lines of a page and note its state."""
    shown = page.text()
    try:
        if shown.count > _MAX_COPIES * most + _MAX_COPIES:
            raise too_long(most)
        text = _without_returns(shown.text)
        found = plain_segments(shown, page) if text == shown.text else None
        plain = found is not None
        if found is not None:
            segments = found
        else:
            characters = shown.characters()._replace(text=text)
            segments = segments_of(characters, page.media_box())
        unmapped = shown.unmapped_share()
    finally:
        shown.close()
    values, notes = annotations.read(page, len(segments))
    document.extras[number] = [value.text for value in values] + notes
    states = document.states
    visible = sum(len(word.text) for segment in segments for word in segment.words)
    if lost_share(page) > _MAX_LOST_SHARE:
        lines = second.lines(number)
        more = sum(len(line.replace(" ", "")) for line in lines) > visible * _MORE
        if more and not is_unreadable("\n".join(lines)):
            return _spelt_out([*lines, *document.extras[number]])
    segments = _readable(segments, unmapped, number, states)
    has_extras = bool(values or notes)
    if number not in states.unreadable and _is_scan(page, visible, has_extras=has_extras):
        states.without_text.add(number)
    segments += values
    if number <= _BODY_PAGES:
        document.heights += [(segment.size, len(segment.text)) for segment in segments]
    if number == 1:
        document.first_page = [(segment.size, segment.text) for segment in segments]
    if not plain and may_hold_table(segments):
        segments = with_ruled_tables(segments, *rules(page))
    rtl = 2 * len(_RIGHT_TO_LEFT.findall(text)) > sum(map(str.isalpha, text))
    lines, tables = page_lines(segments, right_to_left=rtl)
    lines += [line for note in notes for line in ("", *note.splitlines())]
    spelt_out = _spelt_out(lines)
    if len(spelt_out) == len(lines):
        document.tables[number] = tables
    return spelt_out


def _is_scan(page: PdfiumPage, visible: int, *, has_extras: bool) -> bool:
    """Return whether what a page shows is no text; notes may lie on a picture."""
    if visible >= _MAX_SCAN_CHARS or not page.count_objects():
        return False
    if not visible and not has_extras:
        return True
    share = image_share(page)
    return share >= _MIN_SCAN_SHARE or (not visible and share > 0)


def _without_returns(text: str) -> str:
    """Return the text with the code of TeX's "fl" as this ligature, of other fonts as a code."""
    returns = len(_RETURN.findall(text))
    is_tex = returns <= text.count(_FI_CODE) + _MAX_LONE_RETURNS  # "fi" is far more frequent
    return _RETURN.sub("\ufb02" if is_tex else "\x1a", text) if returns else text


def _readable(
    segments: list[Segment], unmapped: float, number: int, states: PageStates
) -> list[Segment]:
    """Return the segments, mended, that can be read; note if too many cannot."""
    if unmapped and (code := space_code([segment.text for segment in segments])):
        segments = [
            segment_of([word._replace(text=word.text.replace(code, " ").strip() or " ")
                        for word in segment.words], segment.order)
            for segment in segments
        ]  # fmt: skip
    for segment in segments:
        segment.text = mended(segment.text)
    kept = [segment for segment in segments if noise_share(segment.text) <= _MAX_NOISE_SHARE]
    if len(kept) < len(segments):
        total = sum(len(segment.text) for segment in segments)
        if sum(len(segment.text) for segment in kept) < total * (1 - _MAX_GARBLED_SHARE):
            states.unreadable.add(number)
    if is_unreadable(" ".join(segment.text for segment in kept), unmapped):
        states.unreadable.add(number)
        return []
    return kept


def _spelt_out(lines: Sequence[str]) -> list[str]:
    text = _SOFT_HYPHEN_AT_END.sub("-", "\n".join(lines))
    return without_controls(clean(text)).split("\n")


def _read_by_pypdf(data: bytes, max_pages: int, max_chars: int, cause: Exception) -> _Document:
    try:
        source = PypdfDocument(data)
    except NotReadable:
        raise _damaged() from cause
    _check_pages(source.pages, max_pages)
    document = _Document(title=source.title)
    states = document.states
    left = max_chars
    for number in range(1, source.pages + 1):
        try:
            read = source.lines(number - 1)
        except TooLarge as error:
            read, cause = None, error
        lines = [mended(line) for line in read or ()]
        if read is None:
            states.damaged.add(number)
        elif is_unreadable("\n".join(lines)):
            states.unreadable.add(number)
            lines = []
        elif not any(line.strip() for line in lines):
            states.without_text.add(number)
        left -= sum(map(len, lines))
        if left < 0:
            raise too_long(max_chars)
        document.pages.append(_spelt_out(lines))
    if len(states.damaged) == source.pages:
        raise cause if isinstance(cause, TooLarge) else _damaged() from cause
    return document


def _check_pages(count: int, max_pages: int) -> None:
    if count > max_pages:
        msg = f"The PDF has {count:,} pages; at most {max_pages:,} are read."
        raise TooLarge(msg)
    if count < 1:
        raise _damaged()


def _encrypted() -> Unprocessable:
    msg = "This PDF is protected by a password. Save it without one and try again."
    return Unprocessable(msg, code="encrypted_pdf")


def _damaged() -> Unprocessable:
    return Unprocessable(_DAMAGED, code="damaged_pdf")
