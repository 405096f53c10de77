"""Checks of an upload that need no parser: size, digest, format, blank, encrypted."""

from __future__ import annotations

import hashlib
import os
from typing import BinaryIO, NamedTuple

from deployments.errors import TooLarge
from deployments.parser.reading.content import check_text, clean
from deployments.parser.reading.formats import (
    BINARY,
    Format,
    check_decoded,
    check_head,
    detect,
)
from deployments.text.decoding import decode_html, decode_text
from serve_app.http.bounds import too_large

_BLOCK_BYTES = 1 << 20
HEAD_BYTES = 1 << 16  # decoded in some milliseconds
_TAIL_BYTES = 1 << 16  # Where a PDF says whether it is encrypted.
_ZIP_DIRECTORY_BYTES = 1 << 20  # of some 10,000 files
_FILENAME_CHARS = 200


class FileInspection(NamedTuple):
    """`digest` is the SHA-256 in hexadecimal, `head` what the file begins with."""

    size_bytes: int
    digest: str
    head: bytes
    blank: bool
    encrypted: bool


def check_format(head: bytes, size_bytes: int, filename: str) -> None:
    """Refuse what the parser would refuse for the first `HEAD_BYTES` of a file.

    A text of that length or less is decoded as the parser does. The encoding of a longer one is
    not guessed: only NUL characters, and a beginning full of others that no text has, tell that
    it is binary.

    Raises:
        UnsupportedMedia: the format is not supported, or a text is binary.
        Unprocessable: the file is empty (`empty_file`) or blank (`no_text`).
    """
    kind = detect(head, filename)
    if kind in BINARY:
        return
    if len(head) < size_bytes:
        check_head(head)
        return
    text = decode_html(head) if kind is Format.HTML else decode_text(head)
    check_decoded(text)
    text = clean(text)
    check_text(text, len(text))


def is_zip(file: BinaryIO, head: bytes, filename: str) -> bool:
    """Return whether a file is a ZIP file, and no document in one; rewind it.

    The names that tell an Office document may only be in the directory at its end.
    """
    if detect(head, filename) is not Format.ZIP:
        return False
    file.seek(max(0, file.seek(0, os.SEEK_END) - _ZIP_DIRECTORY_BYTES))
    directory = file.read()
    file.seek(0)
    return detect(head + directory, filename) is Format.ZIP


def inspect_file(file: BinaryIO, max_bytes: int) -> FileInspection:
    """Read a file once and rewind it; raises TooLarge at the bound."""
    hashed, head, size, blank = hashlib.sha256(), b"", 0, True
    file.seek(0)
    while block := file.read(_BLOCK_BYTES):
        size += len(block)
        if size > max_bytes:
            raise _too_large(max_bytes)
        hashed.update(block)
        head = head or block[:HEAD_BYTES]
        blank = blank and block.isspace()
    file.seek(max(0, size - _TAIL_BYTES))
    ends = head + file.read(_TAIL_BYTES)
    file.seek(0)
    return FileInspection(size, hashed.hexdigest(), head, blank, encrypted=b"/Encrypt" in ends)


def shown_name(filename: str | None) -> str:
    """The client's name for the file, to show and never to open: no folders, no control signs."""
    name = (filename or "").replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(sign for sign in name if sign.isprintable())[:_FILENAME_CHARS] or "unnamed"


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(too_large("file", max_bytes), param="file")
