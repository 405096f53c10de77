"""Detect the format of a file by its content and, where that is ambiguous, its name."""

from __future__ import annotations

import codecs
import re
from enum import StrEnum
from pathlib import PurePath

from deployments.errors import Unprocessable, UnsupportedMedia

READ = "Files that are read: PDF, plain text, Markdown and HTML; images as PNG, JPEG, TIFF or WebP."

_PDF_MAGIC = b"%PDF-"
_PDF_HEADER_BYTES = 1024
_MAGIC = (
    (b"PK\x03\x04", "a Zip archive or an Office document"),
    (b"PK\x05\x06", "a Zip archive or an Office document"),
    (b"\xd0\xcf\x11\xe0", "an old Office document"),
    (b"{\\rtf", "an RTF document"),
    (b"GIF8", "an image"),
    (b"RIFF", "a sound or a film"),
    (b"\x1f\x8b", "a compressed file"),
    (b"BZh", "a compressed file"),
    (b"7z\xbc\xaf", "a compressed file"),
    (b"\xfd7zXZ", "a compressed file"),
    (b"\x7fELF", "a program"),
)
# UTF-32 first: its little-endian byte order mark begins with that of UTF-16.
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MARKDOWN = {".md", ".markdown"}
_HTML = {".html", ".htm", ".xhtml"}
_TEXT = {".txt", ".text", *_MARKDOWN, *_HTML}
_HTML_LOOK = re.compile(r"\s*(?:<\?xml[^>]{0,200}>\s*)?<(?:!doctype\s+html|html)\b", re.IGNORECASE)
_CONTROLS = re.compile("[\x01-\x08\x0e-\x1a\x1c-\x1f\x7f-\x84\x86-\x9f\ufffd]")
_MAX_CONTROL_SHARE = 0.02
_SAMPLE_BYTES = 4096


class Format(StrEnum):
    """A supported format; its value is the media type."""

    PDF = "application/pdf"
    TEXT = "text/plain"
    MARKDOWN = "text/markdown"
    HTML = "text/html"
    PNG = "image/png"
    JPEG = "image/jpeg"
    TIFF = "image/tiff"
    WEBP = "image/webp"


IMAGES = frozenset((Format.PNG, Format.JPEG, Format.TIFF, Format.WEBP))
_IMAGE_MAGIC = (
    (b"\x89PNG", Format.PNG),
    (b"\xff\xd8\xff", Format.JPEG),
    (b"II*\x00", Format.TIFF),
    (b"MM\x00*", Format.TIFF),
)


def detect(data: bytes, filename: str) -> Format:
    """Return the format of a file.

    Raises:
        Unprocessable: the file is empty (`empty_file`).
        UnsupportedMedia: the format is not supported, or the file is named .pdf but is none.
    """
    if not data:
        msg = "The file is empty (0 bytes)."
        raise Unprocessable(msg, code="empty_file")
    suffix = PurePath(filename).suffix.lower()
    if _is_pdf(data, suffix):
        return Format.PDF
    image = _image(data)
    if image and suffix != ".pdf":
        return image
    kind = "an image" if image else _name_of(data)
    if suffix == ".pdf":
        looks = f"it looks like {kind}" if kind else "its content does not begin like one"
        msg = f"This is not a PDF: {looks}, whatever its name says."
        raise UnsupportedMedia(msg)
    if kind:
        msg = f"This looks like {kind}, which is not read. {READ}"
        raise UnsupportedMedia(msg)
    if suffix in _MARKDOWN:
        return Format.MARKDOWN
    sample = data[:_SAMPLE_BYTES].decode(encoding_of(data), errors="replace")
    if suffix in _HTML or _HTML_LOOK.match(sample):
        return Format.HTML
    return Format.TEXT


def encoding_of(data: bytes) -> str:
    """Return the encoding of a text: by byte order mark, by NULs, else UTF-8 or cp1252."""
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return encoding
    sample = data[:_SAMPLE_BYTES]
    # UTF-16 without a mark: mostly-Latin text has NULs in nearly every second byte.
    nulls = sample.count(0)
    if nulls > len(sample) * 0.3:
        in_odd = sample[1::2].count(0)
        if in_odd in (0, nulls):
            return "utf-16-le" if in_odd else "utf-16-be"
    try:
        data.decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def decode(data: bytes) -> str:
    """Decode a text file; raise UnsupportedMedia if it is binary."""
    text = data.decode(encoding_of(data), errors="replace").removeprefix("\ufeff")
    controls = sum(1 for _ in _CONTROLS.finditer(text))
    if "\0" in text or controls > len(text) * _MAX_CONTROL_SHARE:
        raise not_text()
    return text


def not_text() -> UnsupportedMedia:
    """Return the error for a binary file or an unknown encoding."""
    msg = f"This is not a text file, or not in UTF-8. {READ}"
    return UnsupportedMedia(msg)


def _name_of(data: bytes) -> str | None:
    return next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)


def _image(data: bytes) -> Format | None:
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return Format.WEBP
    return next((kind for magic, kind in _IMAGE_MAGIC if data.startswith(magic)), None)


def _is_pdf(data: bytes, suffix: str) -> bool:
    """Look for the header, which may follow some rubbish, but not the name of it in a text."""
    at = data.find(_PDF_MAGIC, 0, _PDF_HEADER_BYTES)
    return at == 0 or (at > 0 and suffix not in _TEXT)
