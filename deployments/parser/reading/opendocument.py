"""Read OpenDocument files: texts (ODT), spreadsheets (ODS) and presentations (ODP)."""

from __future__ import annotations

import posixpath
from itertools import chain
from typing import TYPE_CHECKING, Final

from deployments.errors import TooLarge, Unprocessable
from deployments.parser.reading.content import title_of_filename
from deployments.parser.reading.embedded_pictures import MemberPictures
from deployments.parser.reading.formats import Format
from deployments.parser.reading.outlined_text import OutlinedText, blank_pages
from deployments.parser.reading.rows import MIN_HEADED_COLUMNS, lays_out_page, row_lines
from deployments.parser.reading.titles import tidy_title
from deployments.parser.reading.xml_trees import (
    attribute,
    damaged,
    local,
    named,
    outermost,
    text_of,
)
from deployments.parser.reading.zip_members import ZipMembers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployments.parser.reading.content import Content
    from deployments.parser.reading.embedded_pictures import Pictures
    from deployments.parser.reading.xml_trees import XmlElement

MAX_REPEATED_CELLS: Final = 1_000
"""A filled cell or row that is said to be repeated more often is repeated so often."""
MAX_ROWS: Final = 1_100_000
"""Of a spreadsheet."""
_WHAT: Final = "This OpenDocument file"
_MAX_SPACES: Final = 100
_NO_BLOCKS: Final = frozenset(("", "tracked-changes", "note", "annotation", "notes", "forms"))
_BOX: Final = frozenset(("text-box",))
_NESTED: Final = frozenset(("table", "text-box"))
_LEFT_OUT: Final = frozenset(
    ("tracked-changes", "note", "annotation", "ruby-text", "title", "desc")
)


class _Text(OutlinedText):
    """A text with the pictures that are files of the document."""

    def __init__(self, max_chars: int, pictures: MemberPictures) -> None:
        super().__init__(max_chars)
        self._pictures = pictures

    def picture(self, image: XmlElement) -> None:
        """Add the text of a picture."""
        path = posixpath.normpath(attribute(image, "href"))
        self.recognised(self._pictures.text(path))

    def pictures(self, parent: XmlElement) -> None:
        """Add the texts of all pictures in an element."""
        for image in named(parent, "image"):
            self.picture(image)


def read_opendocument(data: bytes, filename: str, *, max_chars: int, pictures: Pictures) -> Content:
    """Read a text, spreadsheet or presentation; its macros and links are left alone."""
    members = ZipMembers(data, _WHAT)
    manifest = members.xml_if_any("META-INF/manifest.xml")
    if manifest is not None and next(named(manifest, "encryption-data"), None) is not None:
        msg = f"{_WHAT} is protected by a password. Save it without one and try again."
        raise Unprocessable(msg, code="encrypted_document")
    root = members.xml("content.xml")
    body = next(named(root, "body"), None)
    if body is None or not len(body):
        raise damaged(_WHAT)
    shown = MemberPictures(members, pictures)
    text = _Text(max_chars, shown)
    content = body[0]
    match local(content):
        case "spreadsheet":
            kind = Format.ODS
            _add_sheets(text, content)
        case "presentation":
            kind = Format.ODP
            _add_slides(text, content)
        case _:
            kind = Format.ODT
            _add_blocks(text, content)
    if kind is Format.ODT:
        _add_headers(text, members)
    text.other_pictures(shown.rest("Pictures/"))
    meta = members.xml_if_any("meta.xml")
    stated = next((text_of(each) for each in named(meta, "title")), "") if meta is not None else ""
    title = tidy_title(stated)
    if not title and text.headings and kind is not Format.ODS and text.headings[0].start == 0:
        title = tidy_title(text.headings[0].title)
    warnings = blank_pages(text)
    return text.content(title or title_of_filename(filename), kind, warnings)


def _add_blocks(text: _Text, parent: XmlElement, *, in_list: bool = False) -> None:
    for child in parent:
        match local(child):
            case "h":
                level = attribute(child, "outline-level")
                text.heading(_plain(child), int(level) if level.isdecimal() else 1)
                _add_notes(text, child)
            case "p":
                _add_paragraph(text, child, in_list=in_list)
            case "list":
                _add_blocks(text, child, in_list=True)
            case "table":
                _add_table(text, child)
            case "image":
                text.picture(child)
            case name if name not in _NO_BLOCKS:
                _add_blocks(text, child, in_list=in_list)


def _add_paragraph(text: _Text, paragraph: XmlElement, *, in_list: bool) -> None:
    plain = _plain(paragraph)
    if in_list and plain:
        text.line(f"- {plain}")
    elif attribute(paragraph, "style-name") == "Title":
        text.heading(plain)
    else:
        text.paragraph(plain)
    for note in _notes(paragraph, _BOX):
        text.line(note)
    for part in outermost(paragraph, "image", *_BOX):
        if local(part) == "image":
            text.picture(part)
        else:
            _add_blocks(text, part)


def _add_table(text: _Text, table: XmlElement) -> None:
    rows: list[list[str]] = []
    own_rows = list(outermost(table, "table-row", closed=_NESTED))
    for row in own_rows:
        cells = [" ".join(_paragraphs(cell)) for cell in row if local(cell) == "table-cell"]
        rows.append(cells)
    if lays_out_page(rows):
        for row in own_rows:
            for cell in row.iterchildren("{*}table-cell"):
                _add_blocks(text, cell)
        return
    text.lines(row_lines(rows, MIN_HEADED_COLUMNS))
    _add_notes(text, table)
    text.pictures(table)


def _add_sheets(text: _Text, content: XmlElement) -> None:
    for table in content.iterchildren("{*}table"):
        rows = row_lines(_rows(table), 1)
        text.section(attribute(table, "name"), chain(rows, _notes(table)))
        text.pictures(table)


def _rows(table: XmlElement) -> Iterator[list[str]]:
    count = 0
    for row in named(table, "table-row"):
        cells: list[str] = []
        blank = 0
        for cell in row.iterchildren("{*}table-cell", "{*}covered-table-cell"):
            value = " ".join(_paragraphs(cell))
            times = _number(attribute(cell, "number-columns-repeated"))
            if value:
                cells += [""] * min(blank, MAX_REPEATED_CELLS)
                cells += [value] * min(times, MAX_REPEATED_CELLS)
                blank = 0
            else:
                blank += times
        if cells:
            for _ in range(
                min(_number(attribute(row, "number-rows-repeated")), MAX_REPEATED_CELLS)
            ):
                count += 1
                if count > MAX_ROWS:
                    msg = f"A sheet has more than {MAX_ROWS:,} rows. Split it and try again."
                    raise TooLarge(msg)
                yield cells


def _number(value: str) -> int:
    return int(value) if value.isdecimal() and len(value) < len("9999999999") else 1


def _add_slides(text: _Text, content: XmlElement) -> None:
    for page in content.iterchildren("{*}page"):
        text.page()
        title = next((f for f in named(page, "frame") if attribute(f, "class") == "title"), None)
        heading = " ".join(_paragraphs(title)) if title is not None else ""
        text.heading(heading)
        for shape in page:
            if shape is not title and local(shape) != "notes":
                _add_blocks(text, shape)
        for notes in page.iterchildren("{*}notes"):
            plain = "\n".join(_paragraphs(notes))
            if plain:
                text.paragraph(f"Notes: {plain}")


def _add_notes(text: OutlinedText, element: XmlElement) -> None:
    """Add the footnotes, endnotes and comments in an element."""
    for note in _notes(element):
        text.line(note)


def _notes(element: XmlElement, closed: frozenset[str] = frozenset()) -> Iterator[str]:
    for note in outermost(element, "note", "annotation", closed=closed):
        is_comment = local(note) == "annotation"
        body = note if is_comment else next(named(note, "note-body"), note)
        by = next((text_of(each) for each in named(note, "creator")), "") if is_comment else ""
        label = f"Comment by {by}" if by else "Comment" if is_comment else "Note"
        plain = " ".join(_plain(each) for each in named(body, "p"))
        if plain.strip():
            yield f"{label}: {plain}"


def _add_headers(text: OutlinedText, members: ZipMembers) -> None:
    root = members.xml_if_any("styles.xml")
    seen: dict[str, None] = {}
    for part in (
        named(root, "header", "footer", "header-left", "footer-left") if root is not None else ()
    ):
        seen.update(dict.fromkeys(_paragraphs(part)))
    if seen:
        text.heading("Header and footer")
        text.lines(seen)


def _paragraphs(element: XmlElement) -> list[str]:
    """Return the paragraphs in an element, without those of notes in it."""
    found = []
    for each in named(element, "p", "h"):
        inside = (local(a) for a in each.iterancestors())
        if not any(name in {"annotation", "note"} for name in inside) and (plain := _plain(each)):
            found.append(plain)
    return found


def _plain(paragraph: XmlElement) -> str:
    return "".join(_runs(paragraph)).strip()


def _runs(element: XmlElement) -> Iterator[str]:
    """Yield the text of a paragraph; white space in it is collapsed, as OpenDocument says."""
    yield _collapsed(element.text)
    for child in element:
        match local(child):
            case "s":
                yield " " * min(_number(attribute(child, "c")), _MAX_SPACES)
            case "tab":
                yield "\t"
            case "line-break":
                yield "\n"
            case "text-box":
                pass
            case name if name and name not in _LEFT_OUT:
                yield from _runs(child)
        yield _collapsed(child.tail)


def _collapsed(text: str | None) -> str:
    if not text:
        return ""
    inside = " ".join(text.split())
    if not inside:
        return " "
    return f"{' ' * text[0].isspace()}{inside}{' ' * text[-1].isspace()}"
