"""Read spreadsheets (XLSX, XLSB, XLS): a sheet is a section, a row a line with its headers."""

from __future__ import annotations

import datetime as dt
import io
import re
from itertools import chain
from typing import TYPE_CHECKING, Final

from deployments.errors import TooLarge, Unprocessable
from deployments.parser.reading.content import title_of_filename
from deployments.parser.reading.embedded_pictures import MemberPictures
from deployments.parser.reading.formats import Format
from deployments.parser.reading.outlined_text import OutlinedText
from deployments.parser.reading.rows import row_lines
from deployments.parser.reading.titles import tidy_title
from deployments.parser.reading.xml_trees import attribute, damaged, named, text_of
from deployments.parser.reading.zip_members import ZipMembers
from deployments.types import DocumentWarning, WarningCode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from python_calamine import CalamineWorkbook

    from deployments.parser.reading.content import Content
    from deployments.parser.reading.embedded_pictures import Pictures
    from deployments.parser.reading.xml_trees import XmlElement

MAX_CELLS: Final = 20_000_000
"""Of a sheet: rows by columns, as python-calamine keeps a place for each."""
MAX_ROWS: Final = 1_100_000
"""Of a sheet."""
_MAX_EXACT: Final = 1e15  # of floats that are written as integers
_WHAT: Final = "This workbook"
_PICTURES: Final = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xe1")
# The record that says how an old workbook is encrypted follows the first one.
_LOCKED: Final = re.compile(rb"\x09\x08\x10\0\0\x06.{14}\x2f\0", re.DOTALL)
_REFERENCE: Final = re.compile(rb'<(?:\w+:)?c r="([A-Z]{1,3})([0-9]{1,7})"')
_ROW_REFERENCE: Final = re.compile(rb'<(?:\w+:)?row [^>]{0,200}?\br="([0-9]{1,7})"')


def read_sheets(data: bytes, filename: str, *, max_chars: int, pictures: Pictures) -> Content:
    """Read the values of all sheets, as they were last computed, comments on cells, and pictures.

    A warning says that those of an XLS file are not read.

    Raises:
        TooLarge: a sheet spans more than `MAX_CELLS`, or there is too much text.
        Unprocessable: the workbook is damaged or protected by a password.
    """
    import python_calamine

    members = ZipMembers(data, _WHAT) if data.startswith(b"PK") else None
    if members is not None:
        members.check_sizes()
        _check_cells(members)
    text = OutlinedText(max_chars)
    unread = []
    workbook = _opened(data)
    comments, drawn = _comments(members) if members is not None else ({}, {})
    shown = MemberPictures(members, pictures) if members is not None else None
    for name in workbook.sheet_names:
        try:
            sheet = workbook.get_sheet_by_name(name)
        except (python_calamine.CalamineError, ValueError, OSError):  # a chart, or damaged
            unread.append(name)
        else:
            rows = row_lines(map(_cells, sheet.iter_rows()), 1)
            known = len(text.headings)
            text.section(name, chain(rows, comments.get(name, ())))
            headed = len(text.headings) > known
            texts = map(shown.text, drawn.get(name, ())) if shown is not None else ()
            text.other_pictures(texts, "" if headed else name)
    if shown is not None:
        text.other_pictures(shown.rest("xl/media/"))
    if text.blank and unread:
        raise damaged(_WHAT)
    title, kind = "", Format.XLS
    if members is not None:
        kind = Format.XLSB if "xl/workbook.bin" in members else Format.XLSX
        core = members.xml_if_any("docProps/core.xml")
        title = next(map(text_of, named(core, "title")), "") if core is not None else ""
    warnings = _warnings(
        len(unread), len(workbook.sheet_names), data if kind is Format.XLS else b""
    )
    return text.content(tidy_title(title) or title_of_filename(filename), kind, warnings)


def _opened(data: bytes) -> CalamineWorkbook:
    import python_calamine

    try:
        return python_calamine.CalamineWorkbook.from_filelike(io.BytesIO(data))
    except (python_calamine.CalamineError, ValueError, OSError) as error:
        if "password" not in str(error).lower() and not _LOCKED.search(data):
            raise damaged(_WHAT) from error
        msg = f"{_WHAT} is protected by a password. Save it without one and try again."
        raise Unprocessable(msg, code="encrypted_document") from error


def _warnings(unread: int, count: int, old: bytes) -> list[DocumentWarning]:
    """Return the warnings about sheets, and about pictures in the content of an old workbook."""
    warnings = []
    if unread:
        message = f"{unread} of {count} sheets could not be read."
        warnings.append(DocumentWarning(WarningCode.PARTLY_READ, message))
    if any(magic in old for magic in _PICTURES):
        message = "Pictures in this workbook were not read: save it as XLSX to have them read."
        warnings.append(DocumentWarning(WarningCode.PICTURES_NOT_READ, message))
    return warnings


def shown_value(value: object) -> str:
    """Return a value of a cell as a person writes it."""
    match value:
        case bool():
            return "yes" if value else "no"
        case float():
            return (
                str(int(value)) if value.is_integer() and abs(value) < _MAX_EXACT else repr(value)
            )
        case dt.datetime():
            midnight = value.time() == dt.time()
            return value.date().isoformat() if midnight else value.isoformat(" ", "minutes")
        case dt.date():
            return value.isoformat()
        case dt.time():
            return value.isoformat("minutes")
        case _:
            return str(value)


def _cells(row: Sequence[object]) -> list[str]:
    return [shown_value(value) for value in row]


def _check_cells(members: ZipMembers) -> None:
    """Refuse a sheet with cells far apart before a place is kept for all between them."""
    for name in list(members.names("xl/worksheets/")):
        if not name.endswith(".xml"):
            continue
        content = members.read(name)
        rows, columns = max(content.count(b"<row"), content.count(b":row")), 1
        if rows > MAX_ROWS:
            raise _too_wide(rows, columns)
        for found in _ROW_REFERENCE.finditer(content):
            rows = max(rows, int(found[1]))
        for column, row in _REFERENCE.findall(content):
            if len(column) > 1:
                columns = max(columns, _column_number(column))
            rows = max(rows, int(row))
        if rows * columns > MAX_CELLS:
            raise _too_wide(rows, columns)


def _too_wide(rows: int, columns: int) -> TooLarge:
    msg = f"A sheet spans {rows:,} rows by {columns:,} columns. Split it and try again."
    return TooLarge(msg)


def _column_number(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - ord("A") + 1
    return number


def _comments(members: ZipMembers) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Return comments on cells with texts in boxes, and paths of pictures, by sheet names."""
    book = members.xml_if_any("xl/workbook.xml")
    parts = members.related("xl/workbook.xml")
    found: dict[str, list[str]] = {}
    drawn: dict[str, list[str]] = {}
    for sheet in named(book, "sheet") if book is not None else ():
        _, path = parts.get(_relation_id(sheet), ("", ""))
        for kind, part in members.related(path).values():
            if kind in {"comments", "threadedComment", "drawing"}:
                root = members.xml_if_any(part)
                notes = _boxes(root) if kind == "drawing" else _notes(root)
                found.setdefault(sheet.get("name", ""), []).extend(notes)
            if kind in {"drawing", "vmlDrawing"}:
                paths = [each for image, each in members.related(part).values() if image == "image"]
                drawn.setdefault(sheet.get("name", ""), []).extend(paths)
    return found, drawn


def _relation_id(sheet: XmlElement) -> str:
    return next((str(v) for k, v in sheet.attrib.items() if k.endswith("}id")), "")


def _boxes(root: XmlElement | None) -> Iterator[str]:
    """Yield the texts in boxes and shapes."""
    for body in named(root, "txBody") if root is not None else ():
        yield from filter(None, map(text_of, named(body, "p")))


def _notes(root: XmlElement | None) -> Iterator[str]:
    for comment in named(root, "comment", "threadedComment") if root is not None else ():
        yield f"Comment on {attribute(comment, 'ref')}: {text_of(comment)}"
