"""A font of one glyph, a box, for characters of fonts that documents do not hold.

pdfium takes the size of a character from its glyph, and passes over text without one. It has
glyphs of its own for Latin fonts only.
"""

from __future__ import annotations

import ctypes
import struct
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_UNITS: Final = 1000  # to the height of a line
_ASCENT, _DESCENT = 880, -120
_LAST_CODE: Final = 0x10FFFF
_HANDLE: Final = 1


class BlankFonts:
    """Gives pdfium the blank font for Chinese, Japanese and Korean ones, and no other.

    Without it, pdfium would look for fonts on this machine, and read less where there are none.
    """

    def __init__(self, raw: Any) -> None:  # noqa: ANN401 - the bindings have no types
        """Set the fonts of pdfium, which keeps references to this object."""
        self._font = blank_font()
        self._wide = {
            raw.FXFONT_SHIFTJIS_CHARSET, raw.FXFONT_HANGEUL_CHARSET,
            raw.FXFONT_GB2312_CHARSET, raw.FXFONT_CHINESEBIG5_CHARSET,
        }  # fmt: skip
        self._info = raw.FPDF_SYSFONTINFO(version=1)
        functions: dict[str, Callable[..., int | None]] = {
            "Release": lambda _: None,
            "EnumFonts": lambda *_: None,
            "MapFont": self._map,
            "GetFont": lambda *_: None,
            "GetFontData": self._data,
            "GetFaceName": lambda *_: 0,
            "GetFontCharset": lambda *_: 0,
            "DeleteFont": lambda *_: None,
        }
        types = dict(self._info._fields_)
        for name, function in functions.items():
            setattr(self._info, name, types[name](function))
        raw.FPDF_SetSystemFontInfo(self._info)

    def _map(self, *arguments: Any) -> int | None:  # noqa: ANN401 - ctypes
        return _HANDLE if arguments[3] in self._wide else None

    def _data(self, *arguments: Any) -> int:  # noqa: ANN401 - ctypes
        table, buffer, size = arguments[2:]
        if table:
            return 0
        if buffer and size >= len(self._font):
            ctypes.memmove(buffer, self._font, len(self._font))
        return len(self._font)


def blank_font() -> bytes:
    """Return a TrueType font in which each character is the same box."""
    left, right, bottom, top = 0, _UNITS, _DESCENT, _ASCENT
    glyph = struct.pack(">5h H H 4B", 1, left, bottom, right, top, 3, 0, 1, 1, 1, 1)
    glyph += struct.pack(">8h", left, right - left, 0, left - right, bottom, 0, top - bottom, 0)
    glyph += bytes(-len(glyph) % 4)
    many_to_one = struct.pack(">HHIIIIII", 13, 0, 28, 0, 1, 0x20, _LAST_CODE, 1)
    tables = {
        b"cmap": struct.pack(">HHHHI", 0, 1, 3, 10, 12) + many_to_one,
        b"glyf": glyph,
        b"head": struct.pack(
            ">IIIIHHqqhhhhHHhhh",
            0x10000, 0x10000, 0, 0x5F0F3CF5, 0, _UNITS, 0, 0,
            left, bottom, right, top, 0, 8, 2, 1, 0,
        ),
        b"hhea": struct.pack(
            ">IhhhHhhhhhhhhhhhH",
            0x10000, _ASCENT, _DESCENT, 0, _UNITS, 0, 0, right, 1, 0, 0, 0, 0, 0, 0, 0, 1,
        ),
        b"hmtx": struct.pack(">Hhh", _UNITS, 0, 0),
        b"loca": struct.pack(">III", 0, 0, len(glyph)),
        b"maxp": struct.pack(">IHHHHHHHHHHHHHH", 0x10000, 2, 4, 1, *[0] * 11),
    }  # fmt: skip
    offset = 12 + 16 * len(tables)
    head = struct.pack(">IHHHH", 0x10000, len(tables), 64, 2, len(tables) * 16 - 64)
    body = b""
    for tag, table in sorted(tables.items()):
        padded = table + bytes(-len(table) % 4)
        head += struct.pack(">4sIII", tag, 0, offset + len(body), len(table))
        body += padded
    return head + body
