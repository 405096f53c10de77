"""Read RTF documents: text with footnotes, comments, headers and footers."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from deployments.errors import Unprocessable
from deployments.parser.reading.content import clean, title_of_filename
from deployments.parser.reading.formats import Format
from deployments.parser.reading.outlined_text import OutlinedText
from deployments.parser.reading.tables import CELL_JOINT
from deployments.parser.reading.titles import tidy_title
from deployments.types import DocumentWarning, WarningCode

if TYPE_CHECKING:
    from deployments.parser.reading.content import Content

MAX_RTF_BYTES: Final = 20 * 1024**2
"""Without its pictures; a MB takes about a second."""
_MAX_FONT_TABLE_BYTES: Final = 256 * 1024
# Pictures and other data in hexadecimal digits: possessive, for linear time.
_HEX_DATA: Final = re.compile(rb"(?:[0-9a-fA-F]{2}[\r\n \t]*+){500,}+")
_PICTURE: Final = re.compile(rb"\\pict(?![a-z])")
_BINARY: Final = re.compile(rb"\\bin([0-9]{1,9}) ?")
_NOTES: Final = re.compile(
    r"\{(?:\\\*)?\\(?:footnote|annotation|header[lrf]?|footer[lrf]?)(?![a-z])", re.ASCII
)
_TITLE: Final = re.compile(r"\{\\title ([^{}]{1,500})\}")


def read_rtf(data: bytes, filename: str, *, max_chars: int) -> Content:
    """Read an RTF document; objects in it are left alone, and pictures, with a warning.

    Raises Unprocessable if it is larger than `MAX_RTF_BYTES` without them (`too_complex`).
    """
    from striprtf.striprtf import rtf_to_text

    warnings = []
    if _PICTURE.search(data):
        message = "Pictures in this document were not read: save it as DOCX to have them read."
        warnings.append(DocumentWarning(WarningCode.PICTURES_NOT_READ, message))
    data = _HEX_DATA.sub(b"", _without_binary(data))
    fonts = data.find(b"\\fonttbl")
    if len(data) > MAX_RTF_BYTES or (
        fonts >= 0
        and data.find(b"}}", fonts, fonts + _MAX_FONT_TABLE_BYTES) < 0 < len(data) - fonts
        and len(data) - fonts > _MAX_FONT_TABLE_BYTES
    ):
        msg = "This RTF document is too large to read: save it as DOCX."
        raise Unprocessable(msg, code="too_complex")
    source = data.decode("latin-1")
    found = _TITLE.search(source)
    # striprtf leaves out notes, headers and footers; a field is shown by its result.
    source = _NOTES.sub(r"{\\par ", source.replace("\\fldinst", "\\fldunread"))
    plain: str = rtf_to_text(source, encoding="cp1252", errors="replace")  # type: ignore[no-untyped-call]
    text = OutlinedText(max_chars)
    text.lines(_row(line) for line in clean(plain).split("\n"))
    title = tidy_title(_unescaped(found[1])) if found else ""
    return text.content(title or title_of_filename(filename), Format.RTF, warnings)


def _row(line: str) -> str:
    """Put the usual joint between the cells of a row."""
    if not line.endswith("|"):
        return line
    return CELL_JOINT.join(cell.strip() for cell in line.split("|") if cell.strip())


def _without_binary(data: bytes) -> bytes:
    parts = []
    start = 0
    while found := _BINARY.search(data, start):
        parts.append(data[start : found.start()])
        start = found.end() + int(found[1])
    parts.append(data[start:])
    return b"".join(parts)


def _unescaped(title: str) -> str:
    def sign(found: re.Match[str]) -> str:
        return bytes.fromhex(found[1]).decode("cp1252", "replace")

    return re.sub(r"\\'([0-9a-fA-F]{2})", sign, title)
