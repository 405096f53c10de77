"""Read PDF files: reflowed text with page numbers. Run it only in a sandboxed process."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from pypdf import PasswordType, PdfReader
from pypdf.errors import DependencyError, FileNotDecryptedError, LimitReachedError

from deployments.errors import InvalidRequest, TooLarge, Unprocessable
from deployments.parser.reading.content import (
    Content,
    check_text,
    clean,
    one_line,
    title_of_filename,
    too_long,
)
from deployments.parser.reading.flow import flow, heading_like, without_running_lines
from deployments.parser.reading.formats import Format
from deployments.parser.reading.tables import may_hold_table, with_cells
from deployments.types import DocumentWarning, WarningCode

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pypdf import PageObject

_TAIL_BYTES = 2048
_MAX_TITLE_LINES = 8
# Each is extracted twice.
_MAX_TABLE_PAGES = 500
_LIGATURES = str.maketrans(
    {"ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st"}
)
_SOFT_HYPHEN_AT_END = re.compile(r"\u00ad[ \t]*(?=\n)")
_NO_TITLE = re.compile(
    r"\W*(?:untitled\W*\w{0,3}|anonymous|unspecified|title|document ?\d*|)\W*|"
    r".*\.(?:docx?|dvi|indd|odt|pdf|pptx?|qxd|rtf|tex|tmp|txt|xlsx?)",
    re.IGNORECASE,
)
_PROGRAM = re.compile(r"^(?:Microsoft \w+|PowerPoint Presentation) - ")

_DAMAGED = "This PDF is damaged or incomplete. Open and save it again, or upload it once more."


class _Page(NamedTuple):
    """The lines of a page in reading order and, if it may hold a table, as laid out."""

    lines: list[str]
    layout: list[str]


def read_pdf(
    data: bytes,
    filename: str,
    *,
    max_pages: int,
    max_chars: int,
    ocr: Mapping[int, str] | None = None,
) -> Content:
    """Read the text of a PDF, with the texts in `ocr` of pages that have none.

    Raises:
        Unprocessable: `encrypted_pdf` or `damaged_pdf`.
        TooLarge: too many pages or characters, or a page that decompresses to too much.
    """
    # A truncated PDF lacks its cross-reference table. What pypdf could recover would be part
    # of a document that looks complete.
    if b"startxref" not in data.rstrip(b"\0\t\n\r ")[-_TAIL_BYTES:]:
        raise _damaged()
    try:
        reader = _open(data)
        pages = _page_texts(reader, _page_count(reader, max_pages), max_chars)
        title = _metadata_title(reader)
    except (InvalidRequest, MemoryError):
        raise
    except (DependencyError, FileNotDecryptedError, NotImplementedError) as error:
        raise _encrypted() from error
    # On damage pypdf raises nearly every built-in exception, RecursionError among them.
    except Exception as error:
        raise _damaged() from error
    wanted = [n for n, page in enumerate(pages, 1) if not any(map(str.strip, page.lines))]
    by_ocr = {n: clean((ocr or {}).get(n, "")).split("\n") for n in wanted}
    by_ocr = {n: own for n, own in by_ocr.items() if any(own)}
    wanted = [n for n in wanted if n not in by_ocr]
    pages = [_Page(by_ocr.get(n, page.lines), page.layout) for n, page in enumerate(pages, 1)]
    lines = without_running_lines([page.lines for page in pages])
    lines = [with_cells(own, page.layout) for own, page in zip(lines, pages, strict=True)]
    text, starts = flow(lines)
    if text.strip() or not wanted:
        check_text(text, max_chars)
    title = title or _first_heading(lines) or title_of_filename(filename)
    return Content(
        title,
        Format.PDF,
        text,
        page_starts=starts,
        warnings=_warnings(sorted(by_ocr), wanted, len(pages)),
        ocr_pages=frozenset(by_ocr),
        ocr_wanted=tuple(wanted),
    )


def _warnings(by_ocr: list[int], wanted: list[int], count: int) -> tuple[DocumentWarning, ...]:
    found = []
    if by_ocr:
        msg = f"{len(by_ocr)} of {count} pages were read by OCR: it may be wrong."
        found.append(DocumentWarning(WarningCode.PAGES_BY_OCR, msg, tuple(by_ocr[:100])))
    if wanted:
        msg = f"{len(wanted)} of {count} pages hold no text."
        found.append(DocumentWarning(WarningCode.PAGES_WITHOUT_TEXT, msg, tuple(wanted[:100])))
    return tuple(found)


def _open(data: bytes) -> PdfReader:
    reader = PdfReader(io.BytesIO(data), strict=False)
    # Many PDFs are encrypted with an empty password, to restrict printing and the like.
    if reader.is_encrypted and reader.decrypt("") == PasswordType.NOT_DECRYPTED:
        raise _encrypted()
    return reader


def _page_count(reader: PdfReader, max_pages: int) -> int:
    count = len(reader.pages)
    if count > max_pages:
        msg = f"The PDF has {count:,} pages; at most {max_pages:,} are read."
        raise TooLarge(msg)
    return count


def _page_texts(reader: PdfReader, count: int, max_chars: int) -> list[_Page]:
    """Extract the lines of each page; a damaged page is empty, unless all of them are."""
    pages: list[_Page] = []
    failures: list[Exception] = []
    total = tables = 0
    for number in range(count):
        try:
            page = reader.pages[number]
            text = _spelt_out(page.extract_text())
        except (MemoryError, DependencyError, FileNotDecryptedError):
            raise
        except Exception as error:  # noqa: BLE001 - see read_pdf
            failures.append(error)
            pages.append(_Page([], []))
            continue
        total += len(text)
        if total > max_chars:
            raise too_long(max_chars)
        lines = text.split("\n")
        table = tables < _MAX_TABLE_PAGES and may_hold_table(lines)
        tables += table
        pages.append(_Page(lines, _layout(page) if table else []))
    if any(line.strip() for page in pages for line in page.lines):
        return pages
    if any(isinstance(error, LimitReachedError) for error in failures):
        msg = "This PDF unpacks to far more data than a document of text has."
        raise TooLarge(msg)
    if failures or not pages:
        raise _damaged()
    return pages


def _layout(page: PageObject) -> list[str]:
    """Return the lines as laid out, columns apart; none if the extraction fails."""
    try:
        text = page.extract_text(extraction_mode="layout", layout_mode_space_vertically=False)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - see read_pdf
        return []
    return _spelt_out(text).split("\n")


def _spelt_out(text: str) -> str:
    return clean(_SOFT_HYPHEN_AT_END.sub("-", text).translate(_LIGATURES))


def _metadata_title(reader: PdfReader) -> str:
    """Return the title in the metadata, or "" if there is none or a program set it."""
    metadata = cast("dict[str, Any]", reader.metadata or {})
    title = metadata.get("/Title")
    title = _PROGRAM.sub("", one_line(title)) if isinstance(title, str) else ""
    return "" if _NO_TITLE.fullmatch(title) else title


def _first_heading(pages: list[list[str]]) -> str:
    lines = [line for line in pages[0] if line.strip()][:_MAX_TITLE_LINES]
    heading = next((n for n in range(len(lines)) if heading_like(lines[n : n + 2])), None)
    return "" if heading is None else one_line(lines[heading])


def _encrypted() -> Unprocessable:
    msg = "This PDF is protected by a password. Save it without one and try again."
    return Unprocessable(msg, code="encrypted_pdf")


def _damaged() -> Unprocessable:
    return Unprocessable(_DAMAGED, code="damaged_pdf")
