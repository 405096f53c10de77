"""Access to PDF documents by pdfium: pages, and their characters with boxes.

Only functions of the C interface are used. pdfium is initialised by the process that opens a
document, after the fork.
"""

from __future__ import annotations

import ctypes
import sys
from array import array
from functools import cache, cached_property
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from deployments.parser.reading.blank_font import BlankFonts

if TYPE_CHECKING:
    from collections.abc import Sequence

_HIGH_HALVES, _LOW_HALVES = range(0xD800, 0xDC00), range(0xDC00, 0xE000)  # of UTF-16
_NOTHING: Final = "\u2060"  # is removed with other invisible characters
_CHARACTER_SAMPLES: Final = 200  # of a page
_PASSWORD_ERROR: Final = 4
_SECURITY_ERROR: Final = 5
_QUARTER_TURNS: Final = 4


_kept: list[BlankFonts] = []  # as long as pdfium


class Box(NamedTuple):
    """A rectangle on a page as it is shown, in points from the lower left corner."""

    left: float
    bottom: float
    right: float
    top: float


class Characters(NamedTuple):
    """The characters of a page in the order of its content, one box for each.

    `boxes` holds left, top, right and bottom of each. Characters that pdfium inserts, spaces and
    line ends, have boxes without a height.
    """

    text: str
    boxes: array[float]


class PdfiumError(Exception):
    """pdfium cannot open the document."""


class PasswordError(PdfiumError):
    """The document needs a password."""


@cache
def _library() -> Any:  # noqa: ANN401 - the bindings have no types
    """Return the bindings, initialised once in a process."""
    import pypdfium2_raw as raw

    raw.FPDF_InitLibrary()
    _kept.append(BlankFonts(raw))
    return raw


@cache
def _fast(name: str, result: Any, *arguments: Any) -> Any:  # noqa: ANN401 - ctypes
    """Return a function that takes plain addresses: the usual bindings check each argument."""
    pointer = ctypes.cast(getattr(_library(), name), ctypes.c_void_p)
    return ctypes.CFUNCTYPE(result, *arguments)(pointer.value or 0)


class PdfiumDocument:
    """An open document. `raw` and `handle` are for the functions of the C interface."""

    def __init__(self, data: bytes) -> None:
        """Open a document; raise PdfiumError if pdfium cannot, PasswordError for a password."""
        self.raw = _library()
        self._data = data  # pdfium reads from it
        self.handle = self.raw.FPDF_LoadMemDocument64(data, len(data), b"")
        if not self.handle:
            error = self.raw.FPDF_GetLastError()
            if error in (_PASSWORD_ERROR, _SECURITY_ERROR):
                raise PasswordError
            raise PdfiumError
        self.pages = self.raw.FPDF_GetPageCount(self.handle)

    def page(self, index: int) -> PdfiumPage | None:
        """Open a page, counted from 0; None if it is damaged."""
        handle = self.raw.FPDF_LoadPage(self.handle, index)
        return PdfiumPage(self.raw, handle) if handle else None

    def metadata(self, key: str) -> str:
        """Return an entry of the document's information, "" if there is none."""
        return utf16(self.raw.FPDF_GetMetaText, self.handle, key.encode())


class PdfiumPage:
    """An open page; close it after use."""

    def __init__(self, raw: Any, handle: Any) -> None:  # noqa: ANN401 - the bindings have no types
        self.raw, self.handle = raw, handle
        box = raw.FS_RECTF()
        raw.FPDF_GetPageBoundingBox(handle, box)
        self._turn: int = raw.FPDFPage_GetRotation(handle) % _QUARTER_TURNS
        self.visible = Box(box.left, box.bottom, box.right, box.top)
        self.width: float = raw.FPDF_GetPageWidthF(handle)
        self.height: float = raw.FPDF_GetPageHeightF(handle)

    def close(self) -> None:
        """Free the memory of the page."""
        self.raw.FPDF_ClosePage(self.handle)

    def count_objects(self) -> int:
        """Return how many objects are drawn on the page."""
        return int(self.raw.FPDFPage_CountObjects(self.handle))

    @property
    def is_turned(self) -> bool:
        """Whether the page is shown turned."""
        return self._turn != 0

    def text(self) -> TextPage:
        """Return the text of the page; close it after use."""
        return TextPage(self, self.raw, self.raw.FPDFText_LoadPage(self.handle))

    def turn_boxes(self, boxes: array[float]) -> None:
        """Turn the boxes as the page is turned, and count from its visible corner."""
        x, y = self.visible.left, self.visible.bottom
        width, height = self.visible.right - x, self.visible.top - y
        if self._turn == 0:
            if x or y:
                for place in range(0, len(boxes), 4):
                    boxes[place] -= x
                    boxes[place + 2] -= x
                    boxes[place + 1] -= y
                    boxes[place + 3] -= y
            return
        for place in range(0, len(boxes), 4):
            left, top, right, bottom = boxes[place : place + 4]
            left, right, top, bottom = left - x, right - x, top - y, bottom - y
            turned = self._turned(left, top, right, bottom, width, height)
            boxes[place : place + 4] = array("f", turned)

    def _turned(  # noqa: PLR0913, PLR0917 - a box and a page
        self, left: float, top: float, right: float, bottom: float, width: float, height: float
    ) -> tuple[float, float, float, float]:
        if self._turn == 1:
            return bottom, width - left, top, width - right
        if self._turn == 2:  # noqa: PLR2004 - half a turn
            return width - right, height - bottom, width - left, height - top
        return height - top, right, height - bottom, left

    def media_box(self) -> Box:
        """Return the sheet, which is larger than the page where a part of it is shown only."""
        left, bottom, right, top = (ctypes.c_float() for _ in range(4))
        if not self.raw.FPDFPage_GetMediaBox(self.handle, left, bottom, right, top):
            return Box(0.0, 0.0, self.width, self.height)
        return self.shown(left.value, bottom.value, right.value, top.value)

    def shown(self, left: float, bottom: float, right: float, top: float) -> Box:
        """Return a box of the content as it is shown on the page."""
        edges = array("f", (left, top, right, bottom))
        self.turn_boxes(edges)
        return Box(edges[0], edges[3], edges[2], edges[1])


class TextPage:
    """The text of an open page: `count` characters, with positions if they are asked for."""

    def __init__(self, page: PdfiumPage, raw: Any, handle: Any) -> None:  # noqa: ANN401
        self._page, self.raw, self.handle = page, raw, handle
        self._address = ctypes.cast(handle, ctypes.c_void_p).value
        self.count = max(raw.FPDFText_CountChars(handle), 0) if handle else 0

    def close(self) -> None:
        """Free the memory of the text."""
        if self.handle:
            self.raw.FPDFText_ClosePage(self.handle)

    @cached_property
    def text(self) -> str:
        """One character at each position, in the order of the content."""
        if not self.count:
            return ""
        buffer = (ctypes.c_ushort * (self.count + 1))()
        self.raw.FPDFText_GetText(self.handle, 0, self.count, buffer)
        text = bytes(buffer)[: 2 * self.count].decode("utf-16-le", "replace")
        if len(text) == self.count and "\0" not in text:
            return text
        # There are characters of more than 16 bits, or without a code.
        unicode = _fast("FPDFText_GetUnicode", ctypes.c_uint, ctypes.c_void_p, ctypes.c_int)
        return _text_of([unicode(self._address, index) for index in range(self.count)])

    def unmapped_share(self) -> float:
        """Return the share of characters without a Unicode mapping, from a sample of them."""
        failed = _fast("FPDFText_HasUnicodeMapError", ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
        sample = range(0, self.count, max(1, self.count // _CHARACTER_SAMPLES))
        unmapped: int = sum(failed(self._address, n) == 1 for n in sample)
        return unmapped / max(len(sample), 1)

    def height_at(self, index: int) -> float:
        """Return the height of the box of a character, in points."""
        box = self.raw.FS_RECTF()
        self.raw.FPDFText_GetLooseCharBox(self.handle, index, box)
        height: float = box.top - box.bottom
        return height

    def characters(self, start: int = 0, end: int | None = None) -> Characters:
        """Return a stretch of the text with the boxes of its characters."""
        box_of = _fast(
            "FPDFText_GetLooseCharBox", ctypes.c_int, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p
        )
        end = self.count if end is None else end
        boxes = array("f", bytes(16 * (end - start)))
        address = boxes.buffer_info()[0] - 16 * start
        for index in range(start, end):
            box_of(self._address, index, address + 16 * index)
        self._page.turn_boxes(boxes)
        return Characters(self.text[start:end], boxes)


def utf16(function: Any, *arguments: Any) -> str:  # noqa: ANN401 - the bindings have no types
    """Call a function that fills a buffer with UTF-16 after telling its size in bytes."""
    size = function(*arguments, None, 0)
    if size <= 2:  # noqa: PLR2004 - the final zero
        return ""
    buffer = ctypes.create_string_buffer(size)
    function(*arguments, ctypes.cast(buffer, _pointer_of(function)), size)
    return buffer.raw[: size - 2].decode("utf-16-le", "replace")


def _pointer_of(function: Any) -> Any:  # noqa: ANN401 - the bindings have no types
    """Return the type of the buffer, which is the argument before the last one."""
    return function.argtypes[-2]


def _text_of(codes: Sequence[int]) -> str:
    """Return one character for each code; pdfium gives characters of 17 bits and more as two."""
    letters = [chr(code) if code <= sys.maxunicode else "\ufffd" for code in codes]
    for place, (high, low) in enumerate(pairwise(codes)):
        if high in _HIGH_HALVES and low in _LOW_HALVES:
            pair = letters[place] + letters[place + 1]
            letters[place] = pair.encode("utf-16-le", "surrogatepass").decode("utf-16-le")
            letters[place + 1] = _NOTHING
    return "".join("\ufffd" if _is_half(letter) else letter for letter in letters)


def _is_half(letter: str) -> bool:
    return ord(letter) in _HIGH_HALVES or ord(letter) in _LOW_HALVES
