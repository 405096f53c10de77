"""Read Word documents (DOCX): text, tables, notes, comments, headers and footers."""

from __future__ import annotations

import posixpath
import re
from itertools import chain
from typing import TYPE_CHECKING, Final

from deployments.parser.reading.content import title_of_filename
from deployments.parser.reading.embedded_pictures import MemberPictures
from deployments.parser.reading.formats import Format
from deployments.parser.reading.outlined_text import OutlinedText
from deployments.parser.reading.rows import MIN_HEADED_COLUMNS, lays_out_page, row_lines
from deployments.parser.reading.titles import tidy_title
from deployments.parser.reading.xml_trees import attribute, local, named, outermost, text_of
from deployments.parser.reading.zip_members import ZipMembers

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployments.parser.reading.content import Content
    from deployments.parser.reading.embedded_pictures import Pictures
    from deployments.parser.reading.xml_trees import XmlElement

_WHAT: Final = "This Word document"
_MAIN: Final = "word/document.xml"
_HEADING: Final = re.compile(r"heading ([1-9])", re.IGNORECASE)
_NOTES: Final = {
    "footnoteReference": ("footnotes", "footnote", "Note"),
    "endnoteReference": ("endnotes", "endnote", "Note"),
    "commentReference": ("comments", "comment", "Comment"),
}
_WRAPPERS: Final = frozenset(("sdt", "sdtContent", "customXml", "ins", "moveTo", "smartTag"))
_FALLBACK: Final = frozenset(("Fallback",))
_NO_PICTURES: Final = frozenset(("txbxContent", "del", "moveFrom"))
_LEFT_OUT: Final = frozenset(
    ("del", "moveFrom", "delText", "instrText", "Fallback", "pPr", "rPr", "sdtPr", "tblPr", "trPr")
)


def read_docx(data: bytes, filename: str, *, max_chars: int, pictures: Pictures) -> Content:
    """Read a Word document; its macros and what it refers to outside are left alone."""
    return _Document(ZipMembers(data, _WHAT), max_chars, pictures).content(filename)


class _Document:
    def __init__(self, members: ZipMembers, max_chars: int, pictures: Pictures) -> None:
        self._members = members
        self._pictures = MemberPictures(members, pictures)
        self._text = OutlinedText(max_chars)
        self._main = self._main_part()
        self._related = members.related(self._main)
        self._levels = self._heading_levels()
        self._notes: dict[tuple[str, str], str] = {}
        self._title = ""

    def content(self, filename: str) -> Content:
        root = self._members.xml(self._main)
        self._read_notes()
        body = next(named(root, "body"), root)
        self._blocks(body)
        self._leftovers()
        core = self._members.xml_if_any("docProps/core.xml")
        stated = (
            next((text_of(each) for each in named(core, "title")), "") if core is not None else ""
        )
        title = tidy_title(stated) or tidy_title(self._title)
        return self._text.content(title or title_of_filename(filename), Format.DOCX)

    def _main_part(self) -> str:
        root = self._members.xml_if_any("_rels/.rels")
        for each in root if root is not None else ():
            if each.get("Type", "").endswith("/officeDocument"):
                return str(each.get("Target", "")).lstrip("/")
        return _MAIN

    def _heading_levels(self) -> dict[str, int]:
        """Return the levels of heading styles by their ids; 0 for the style of titles."""
        root = self._members.xml_if_any("word/styles.xml")
        levels: dict[str, int] = {}
        based: dict[str, str] = {}
        for style in named(root, "style") if root is not None else ():
            identity = attribute(style, "styleId")
            name = next((attribute(each, "val") for each in named(style, "name")), "")
            outline = next((attribute(each, "val") for each in named(style, "outlineLvl")), "")
            based[identity] = next((attribute(each, "val") for each in named(style, "basedOn")), "")
            if found := _HEADING.fullmatch(name):
                levels[identity] = int(found[1])
            elif name.lower() == "title":
                levels[identity] = 0
            elif outline.isdecimal() and int(outline) < 9:  # noqa: PLR2004 - 9 is body text
                levels[identity] = int(outline) + 1
        for identity, base in based.items():
            if identity not in levels and base in levels:
                levels[identity] = levels[base]
        return levels

    def _read_notes(self) -> None:
        for kind, (part, element, label) in _NOTES.items():
            root = self._members.xml_if_any(f"word/{part}.xml")
            for note in named(root, element) if root is not None else ():
                if attribute(note, "type") in {"separator", "continuationSeparator"}:
                    continue
                text = " ".join(filter(None, (self._plain(p) for p in named(note, "p"))))
                by = attribute(note, "author")
                label_by = f"{label} by {by}" if by else label
                if text:
                    self._notes[kind, attribute(note, "id")] = f"{label_by}: {text}"

    def _blocks(self, parent: XmlElement) -> None:
        for child in parent:
            match local(child):
                case "p":
                    self._paragraph(child)
                case "tbl":
                    self._table(child)
                case name if name in _WRAPPERS:
                    self._blocks(child)

    def _paragraph(self, element: XmlElement) -> None:
        text = self._plain(element)
        style = next((attribute(each, "val") for each in named(element, "pStyle")), "")
        outline = next((attribute(each, "val") for each in named(element, "outlineLvl")), "")
        level = self._levels.get(style)
        if level is None and outline.isdecimal() and int(outline) < 9:  # noqa: PLR2004
            level = int(outline) + 1
        if level is not None and text:
            if not self._title and (level == 0 or self._text.blank):
                self._title = text
            self._text.heading(text, max(level, 1), text)
        elif text and next(named(element, "numPr"), None) is not None:
            self._text.line(f"- {text}")
        else:
            self._text.paragraph(text)
        self._add_notes(element)
        self._add_pictures(element)
        self._boxes(element)

    def _add_pictures(self, element: XmlElement) -> None:
        """Add the texts of pictures, which older programs name `imagedata`."""
        for each in outermost(element, "blip", "imagedata", closed=_NO_PICTURES):
            identity = attribute(each, "embed") or attribute(each, "id")
            _, path = self._related.get(identity, ("", ""))
            self._text.recognised(self._pictures.text(path))

    def _boxes(self, element: XmlElement) -> None:
        """Add the texts in text boxes, which are written twice for older programs."""
        for box in outermost(element, "txbxContent", closed=_FALLBACK):
            self._blocks(box)

    def _add_notes(self, element: XmlElement) -> None:
        for reference in named(element, *_NOTES):
            note = self._notes.pop((local(reference), attribute(reference, "id")), "")
            self._text.line(note)

    def _table(self, table: XmlElement) -> None:
        rows: list[list[str]] = []
        own_rows = [list(_unwrapped(row, "tc")) for row in _unwrapped(table, "tr")]
        for row in own_rows:
            cells = []
            for cell in row:
                texts = [self._plain(p) for p in outermost(cell, "p")]
                cells.append(" ".join(filter(None, texts)))
            rows.append(cells)
        if lays_out_page(rows):
            for cell in chain.from_iterable(own_rows):
                self._blocks(cell)
            return
        self._text.lines(row_lines(rows, MIN_HEADED_COLUMNS))
        self._add_notes(table)
        self._add_pictures(table)
        self._boxes(table)

    def _plain(self, paragraph: XmlElement) -> str:
        return "".join(_runs(paragraph)).strip()

    def _leftovers(self) -> None:
        """Add notes without a reference, headers and footers, and pictures outside of the body."""
        self._text.lines(self._notes.values())
        seen: dict[str, None] = {}
        for kind, path in self._related.values():
            if (
                kind in {"header", "footer"}
                and (root := self._members.xml_if_any(path)) is not None
            ):
                for paragraph in named(root, "p"):
                    seen[self._plain(paragraph)] = None
        seen.pop("", None)
        if seen:
            self._text.heading("Header and footer")
            self._text.lines(seen)
        media = posixpath.join(posixpath.dirname(self._main), "media/")
        self._text.other_pictures(self._pictures.rest(media))


def _unwrapped(parent: XmlElement, name: str) -> Iterator[XmlElement]:
    """Yield the children with a name, also those in content controls and insertions."""
    for child in parent:
        if local(child) == name:
            yield child
        elif local(child) in _WRAPPERS:
            yield from _unwrapped(child, name)


def _runs(element: XmlElement) -> Iterator[str]:
    """Yield the text of a paragraph as it is shown, without deletions and nested paragraphs."""
    for child in element:
        name = local(child)
        if name in {"t", "text"} or (name == "r" and not len(child)):
            yield child.text or ""
        elif name in {"tab", "ptab"}:
            yield "\t"
        elif name in {"br", "cr"}:
            yield "\n"
        elif name == "noBreakHyphen":
            yield "-"
        elif name not in _LEFT_OUT and name != "txbxContent":
            yield from _runs(child)
