"""Detect the format of a file by its content and, where that is ambiguous, its name."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Final

from deployments.errors import Unprocessable, UnsupportedMedia
from deployments.media_types import IMAGES, READ, SUFFIXES, Format
from deployments.parser.reading.refused_formats import (
    MAGIC,
    OLD_OFFICE,
    PACKAGES,
    REFUSED_SUFFIXES,
)
from deployments.text.decoding import decode_sample, decode_text

__all__ = (
    "IMAGES",
    "READ",
    "SUFFIXES",
    "Format",
    "check_decoded",
    "check_head",
    "decode",
    "detect",
    "image_format",
    "not_text",
)

_PDF_MAGIC: Final = b"%PDF-"
_PDF_HEADER_BYTES: Final = 1024
_ZIP_MAGIC: Final = (b"PK\x03\x04", b"PK\x05\x06")
_OLE_MAGIC: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_RTF_MAGIC: Final = b"{\\rtf"
_ZIP_NAME: Final = re.compile(rb"PK\x03\x04.{22}(..)..", re.DOTALL)
_ZIP_DIRECTORY_NAME: Final = re.compile(rb"PK\x01\x02.{24}(..)..", re.DOTALL)
_LOCAL_HEADER_BYTES: Final = 30
_DIRECTORY_HEADER_BYTES: Final = 46
_MAX_NAMES: Final = 2000  # of a ZIP file, looked at to tell what it is
_CONTROLS: Final = re.compile("[\x01-\x08\x0e-\x1a\x1c-\x1f\x7f-\x84\x86-\x9f\ufffd]")
_CONTROLS_OF_HEAD: Final = re.compile("[\x01-\x08\x0e-\x1a\x1c-\x1f\x7f]")  # in all encodings
_MAX_CONTROL_SHARE: Final = 0.02
_MAX_CONTROL_SHARE_OF_HEAD: Final = 0.2  # the rest may have few
_SPACED: Final = re.compile("[\x80-\u0dff\u2000-\u2dff]")  # scripts with spaces, and signs
_MIN_GIBBERISH_CHARS: Final = 50
_MIN_GIBBERISH_SIGNS: Final = 10
_MAX_WORD_CHARS: Final = 60  # on average
_SAMPLE_BYTES: Final = 4096
_HTML_LOOK: Final = re.compile(
    r"\s*(?:<\?xml[^>]{0,200}>\s*)?<(?:!doctype\s+html|html)\b", re.IGNORECASE
)
_XML_LOOK: Final = re.compile(r"\s*<\?xml\s")
_MAIL_FIELD: Final = re.compile(
    r"(?:[A-Z][A-Za-z-]{1,60}:[ \t].*(?:\r?\n[ \t].*)*\r?\n){2,}", re.ASCII
)
_MAIL_FIELDS: Final = ("\nfrom:", "\ndate:")
_MIME: Final = "\nmime-version:"
_ARCHIVE_TYPE: Final = re.compile(
    r"^content-type:\s*multipart/related", re.IGNORECASE | re.MULTILINE
)


_OF_SUFFIX: Final = {each: kind for kind, some in SUFFIXES.items() for each in some.split()}
BINARY: Final = frozenset(
    (
        *(Format.PDF, Format.DOCX, Format.PPTX, Format.XLSX, Format.XLSB, Format.XLS),
        *(Format.ODT, Format.ODS, Format.ODP, Format.EPUB, Format.MSG, Format.ZIP),
        *(Format.EML, Format.MHTML, Format.RTF),  # parts of them have encodings of their own
        *IMAGES,
    )
)
"""Formats that are not decoded as one text."""
_IMAGE_MAGIC: Final = (
    (b"\x89PNG", Format.PNG),
    (b"\xff\xd8\xff", Format.JPEG),
    (b"II*\x00", Format.TIFF),
    (b"MM\x00*", Format.TIFF),
)
_OFFICE_FOLDERS: Final = ((b"word/", Format.DOCX), (b"ppt/", Format.PPTX), (b"xl/", Format.XLSX))
_OFFICE: Final = frozenset((Format.DOCX, Format.PPTX, Format.XLSX, Format.XLSB))
_PACKAGED: Final = _OFFICE | {Format.EPUB, Format.ODT, Format.ODS, Format.ODP}
_MAX_STATED_BYTES: Final = 100


def detect(data: bytes, filename: str) -> Format:
    """Return the format of a file; its first 64 KiB are enough to refuse it.

    In an Office document without an extension, the names that tell its kind may follow later.

    Raises:
        Unprocessable: the file is empty (`empty_file`) or protected by a password.
        UnsupportedMedia: the format is not supported, or the content does not fit the name.
    """
    if not data:
        msg = "The file is empty (0 bytes)."
        raise Unprocessable(msg, code="empty_file")
    suffix = PurePath(filename).suffix.lower()
    named = _OF_SUFFIX.get(suffix)
    if _is_pdf(data, named):
        return Format.PDF
    image = image_format(data)
    if image and named is not Format.PDF:
        return image
    magic = "an image" if image else _magic(data)
    if named is Format.PDF:
        raise _no_pdf(data, magic)
    if data.startswith(_ZIP_MAGIC):
        return _kind_of_package(data, suffix)
    if data.startswith(_OLE_MAGIC):
        return _kind_of_compound_file(data, suffix)
    if data.startswith(_RTF_MAGIC):
        return Format.RTF
    if magic:
        stated = magic if "not read" in magic else f"{magic}, which is not read"
        msg = f"This looks like {stated}. {READ}"
        raise UnsupportedMedia(msg)
    if advice := REFUSED_SUFFIXES.get(suffix):
        raise UnsupportedMedia(advice)
    return _kind_of_text(data, suffix, named)


def decode(data: bytes) -> str:
    """Decode a text file; raise UnsupportedMedia if it is binary."""
    text = decode_text(data).removeprefix("\ufeff")
    check_decoded(text)
    return text


def check_decoded(text: str) -> None:
    """Raise UnsupportedMedia if the decoded text shows a binary file or an unknown encoding."""
    # One wrong byte costs one character, also in a short text.
    controls = sum(1 for _ in _CONTROLS.finditer(text)) - 1
    if "\0" in text or controls > len(text) * _MAX_CONTROL_SHARE or not text.strip("\ufffd"):
        raise not_text()
    if _is_gibberish(text[:_SAMPLE_BYTES]):
        raise not_text()


def _is_gibberish(text: str) -> bool:
    """Tell whether letters beyond ASCII follow each other without a space, as in EBCDIC.

    East Asian scripts, and some of South East Asia, are written without spaces.
    """
    beyond = [sign for sign in text if _SPACED.match(sign)]
    spaces = sum(sign.isspace() for sign in text)
    is_long = len(beyond) > _MIN_GIBBERISH_CHARS and len(set(beyond)) > _MIN_GIBBERISH_SIGNS
    return is_long and spaces * _MAX_WORD_CHARS < len(beyond)


def check_head(head: bytes) -> None:
    """Raise UnsupportedMedia if the beginning of a text shows for certain that it is none.

    Its encoding is guessed only if it has no space, as in EBCDIC.
    """
    text = decode_sample(head)
    controls = sum(1 for _ in _CONTROLS_OF_HEAD.finditer(text))
    if "\0" in text or controls > len(text) * _MAX_CONTROL_SHARE_OF_HEAD:
        raise not_text()
    if " " not in text and "\n" not in text and _is_gibberish(decode_text(head)):
        raise not_text()


def not_text() -> UnsupportedMedia:
    """Return the error for a binary file or an unknown encoding."""
    msg = f"This is not a text file, or its encoding is unknown. {READ}"
    return UnsupportedMedia(msg)


def image_format(data: bytes) -> Format | None:
    """Return the format of an image by its first bytes; None for what is no image that is read."""
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return Format.WEBP
    return next((kind for magic, kind in _IMAGE_MAGIC if data.startswith(magic)), None)


def _magic(data: bytes) -> str | None:
    """Return what a file looks like that is not read; see `MAGIC`."""
    return next((kind for magic, kind in MAGIC if data.startswith(magic)), None)


def _no_pdf(data: bytes, magic: str | None) -> UnsupportedMedia:
    kind = "a Zip archive or an Office document" if _is_package(data) else magic
    looks = "its content does not begin like one"
    if kind:
        looks = f"it looks like {kind.partition(', which')[0]}"
    return UnsupportedMedia(f"This is not a PDF: {looks}, whatever its name says.")


def _is_pdf(data: bytes, named: Format | None) -> bool:
    """Look for the header, which may follow some rubbish, but not the name of it in a text."""
    at = data.find(_PDF_MAGIC, 0, _PDF_HEADER_BYTES)
    return at == 0 or (at > 0 and named in {None, Format.PDF} and not _is_package(data))


def _is_package(data: bytes) -> bool:
    return data.startswith((*_ZIP_MAGIC, _OLE_MAGIC))


def _kind_of_package(data: bytes, suffix: str) -> Format:
    """Tell what a ZIP file holds, by its member `mimetype` or the names of others."""
    names = _zip_names(data)
    if names[:1] == [b"mimetype"] and (stated := _stated_kind(data)):
        return stated
    for part, advice in PACKAGES:
        if any(name.startswith(part) for name in names):
            raise UnsupportedMedia(advice)
    named = _OF_SUFFIX.get(suffix)
    if named in _OFFICE or b"[Content_Types].xml" in names or b"_rels/.rels" in names:
        if b"xl/workbook.bin" in names or suffix == ".xlsb":
            return Format.XLSB
        for folder, kind in _OFFICE_FOLDERS:
            if any(name.startswith(folder) for name in names):
                return kind
    return named if named in _PACKAGED else Format.ZIP


def _stated_kind(data: bytes) -> Format | None:
    """Return the format that the first member of a ZIP file states."""
    start = _LOCAL_HEADER_BYTES + len(b"mimetype")
    stated = data[start : start + _MAX_STATED_BYTES]
    for kind in (Format.EPUB, Format.ODT, Format.ODS, Format.ODP):
        if stated.startswith(kind.encode()):
            return kind
    if stated.startswith(b"application/vnd.oasis"):
        msg = f"This kind of OpenDocument file is not read: save it as PDF. {READ}"
        raise UnsupportedMedia(msg)
    return None


def _zip_names(data: bytes) -> list[bytes]:
    """Return the first names in the headers of members, and in the directory if that is there."""
    names: list[bytes] = []
    for pattern, size in (
        (_ZIP_NAME, _LOCAL_HEADER_BYTES),
        (_ZIP_DIRECTORY_NAME, _DIRECTORY_HEADER_BYTES),
    ):
        for number, found in enumerate(pattern.finditer(data)):
            if number == _MAX_NAMES:
                break
            length = int.from_bytes(found[1], "little")
            names.append(data[found.start() + size : found.start() + size + length])
    return names


def _kind_of_compound_file(data: bytes, suffix: str) -> Format:
    """Tell what an OLE compound file holds, by the names of its streams."""
    if "EncryptedPackage".encode("utf-16-le") in data:
        msg = "This document is protected by a password. Save it without one and try again."
        raise Unprocessable(msg, code="encrypted_document")
    named = _OF_SUFFIX.get(suffix)
    if named is Format.XLS or named is Format.MSG:
        return named
    for stream, advice in OLD_OFFICE:
        if stream.encode("utf-16-le") in data:
            raise UnsupportedMedia(advice)
    if "__substg1.0_".encode("utf-16-le") in data:
        return Format.MSG
    if any(name.encode("utf-16-le") in data for name in ("Workbook", "Book\0")):
        return Format.XLS
    advice = REFUSED_SUFFIXES.get(suffix) or f"This looks like an old Office document. {READ}"
    raise UnsupportedMedia(advice)


def _kind_of_text(data: bytes, suffix: str, named: Format | None) -> Format:
    sample = decode_sample(data[:_SAMPLE_BYTES])
    if named in BINARY - {Format.EML, Format.MHTML}:
        # Programs also save pages and tables as text under these names.
        if looks := _looks_of(sample):
            return looks
        if named is Format.XLS and "\t" in sample.partition("\n")[0]:
            return Format.TSV
        msg = f"This is not a {suffix[1:].upper()} file, whatever its name says. {READ}"
        raise UnsupportedMedia(msg)
    if named is Format.XML and _HTML_LOOK.match(sample):
        return Format.HTML
    if named not in {None, Format.TEXT}:
        return named
    return _looks_of(sample) or Format.TEXT


def _looks_of(sample: str) -> Format | None:
    """Return the format that the beginning of a text shows; None for plain text."""
    if _HTML_LOOK.match(sample):
        return Format.HTML
    if _XML_LOOK.match(sample):
        return Format.XML
    if sample.startswith("WEBVTT"):
        return Format.SUBTITLES
    found = _MAIL_FIELD.match(sample)
    fields = f"\n{found[0].lower()}" if found else ""
    if _MIME not in fields:
        return None
    if _ARCHIVE_TYPE.search(fields) and "\nsnapshot" in fields:
        return Format.MHTML
    return Format.EML if all(field in fields for field in _MAIL_FIELDS) else None
