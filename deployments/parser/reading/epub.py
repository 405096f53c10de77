"""Read books (EPUB): chapters as sections, in the order of the spine."""

from __future__ import annotations

import posixpath
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote

from deployments.errors import Unprocessable
from deployments.parser.reading.content import title_of_filename
from deployments.parser.reading.embedded_pictures import MemberPictures
from deployments.parser.reading.formats import Format
from deployments.parser.reading.markup import add_markup
from deployments.parser.reading.outlined_text import OutlinedText
from deployments.parser.reading.titles import tidy_title
from deployments.parser.reading.xml_trees import attribute, named, text_of
from deployments.parser.reading.zip_members import ZipMembers
from deployments.text.decoding import decode_html
from deployments.types import DocumentWarning, WarningCode

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deployments.parser.reading.content import Content
    from deployments.parser.reading.embedded_pictures import Pictures
    from deployments.parser.reading.xml_trees import XmlElement

_WHAT: Final = "This book"
_FONTS: Final = ("obfuscation", "font")
_PAGES: Final = frozenset(("application/xhtml+xml", "text/html", "application/x-dtbook+xml"))


def read_epub(data: bytes, filename: str, *, max_chars: int, pictures: Pictures) -> Content:
    """Read all chapters, and the pictures in them.

    Raises Unprocessable for a book that is damaged, or encrypted (`encrypted_document`).
    """
    members = ZipMembers(data, _WHAT)
    _check_encryption(members)
    root = next(named(members.xml("META-INF/container.xml"), "rootfile"), None)
    package = attribute(root, "full-path") if root is not None else ""
    book = members.xml(package)
    folder = posixpath.dirname(package)
    items = {each.get("id"): each for each in named(book, "item")}
    labels = _labels(members, items.values(), folder)
    text = OutlinedText(max_chars)
    shown = MemberPictures(members, pictures)
    missing = 0
    seen: set[str] = set()
    for reference in named(book, "itemref"):
        item = items.get(reference.get("idref"))
        if item is None or item.get("media-type") not in _PAGES or item.get("properties") == "nav":
            continue
        path = _path(folder, item.get("href", ""))
        if path in seen:
            continue
        seen.add(path)
        try:
            markup = decode_html(members.read(path))
        except Unprocessable:
            missing += 1
            continue
        known = len(text.headings)
        chapter = OutlinedText(max_chars)
        base = posixpath.dirname(path)
        add_markup(chapter, markup, picture=partial(_picture_text, shown, base))
        if chapter.blank:
            continue
        if not chapter.headings and path in labels:
            text.heading(labels[path])
        text.append(chapter.content("", Format.EPUB), int(len(text.headings) > known))
    text.other_pictures(
        shown.text(_path(folder, item.get("href", "")))
        for item in items.values()
        if item.get("media-type", "").startswith("image/")
    )
    warnings = []
    if missing:
        message = f"{missing} parts of the book are missing or damaged."
        warnings.append(DocumentWarning(WarningCode.PARTLY_READ, message))
    stated = next((text_of(each) for each in named(book, "title")), "")
    return text.content(tidy_title(stated) or title_of_filename(filename), Format.EPUB, warnings)


def _check_encryption(members: ZipMembers) -> None:
    root = members.xml_if_any("META-INF/encryption.xml")
    for method in named(root, "EncryptionMethod") if root is not None else ():
        if not any(word in attribute(method, "Algorithm").lower() for word in _FONTS):
            msg = "This book is protected against copying (DRM), and cannot be read."
            raise Unprocessable(msg, code="encrypted_document")


def _labels(members: ZipMembers, items: Iterable[XmlElement], folder: str) -> dict[str, str]:
    """Return the names of chapters in the table of contents, by their paths."""
    labels: dict[str, str] = {}
    for item in items:
        path = _path(folder, item.get("href", ""))
        base = posixpath.dirname(path)
        if item.get("properties") == "nav":
            root = members.xml_if_any(path)
            pairs = [
                (each.get("href", ""), text_of(each))
                for each in (named(root, "a") if root is not None else ())
            ]
        elif item.get("media-type") == "application/x-dtbncx+xml":
            root = members.xml_if_any(path)
            pairs = []
            for point in named(root, "navPoint") if root is not None else ():
                label, content = (
                    next(named(point, "text"), None),
                    next(named(point, "content"), None),
                )
                if label is not None and content is not None:
                    pairs.append((content.get("src", ""), text_of(label)))
        else:
            continue
        for target, label in pairs:
            labels.setdefault(_path(base, target.partition("#")[0]), label)
    return labels


def _picture_text(pictures: MemberPictures, folder: str, reference: str) -> str:
    return pictures.text(_path(folder, reference))


def _path(folder: str, reference: str) -> str:
    return posixpath.normpath(posixpath.join(folder, unquote(reference)))
