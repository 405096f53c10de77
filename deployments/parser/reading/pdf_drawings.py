"""Pictures, ruling lines and lost texts among the objects that are drawn on a PDF page."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, Final

from deployments.parser.reading.pdfium import Box

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployments.parser.reading.pdfium import PdfiumPage

_MAX_OBJECTS: Final = 20_000  # on a page
_OBJECT_SAMPLES: Final = 60
_MIN_TEXTS: Final = 10
_EMPTY: Final = 0.01  # points
_MAX_PATH_POINTS: Final = 400
_MAX_RULE_THICKNESS: Final = 2.5  # points
_MIN_RULE_LENGTH: Final = 6.0  # points


def image_share(page: PdfiumPage) -> float:
    """Return the share of the page that its largest image covers."""
    raw, area = page.raw, max(page.width * page.height, 1.0)
    kinds = (raw.FPDF_PAGEOBJ_IMAGE, raw.FPDF_PAGEOBJ_FORM)
    return max(
        (
            max(0.0, box.right - box.left) * max(0.0, box.top - box.bottom) / area
            for kind, box in _objects(page)
            if kind in kinds
        ),
        default=0.0,
    )


def _objects(page: PdfiumPage) -> Iterator[tuple[int, Box]]:
    raw = page.raw
    left, bottom, right, top = (ctypes.c_float() for _ in range(4))
    for index in range(min(page.count_objects(), _MAX_OBJECTS)):
        item = raw.FPDFPage_GetObject(page.handle, index)
        kind = raw.FPDFPageObj_GetType(item)
        if kind != raw.FPDF_PAGEOBJ_TEXT and raw.FPDFPageObj_GetBounds(
            item, left, bottom, right, top
        ):
            yield kind, Box(left.value, bottom.value, right.value, top.value)


def lost_share(page: PdfiumPage) -> float:
    """Return the share of the texts on the page that pdfium may have passed over.

    It does so if a text's box is empty, as that of a single letter is if its font is neither
    in the document nor on this machine.
    """
    raw = page.raw
    left, bottom, right, top = (ctypes.c_float() for _ in range(4))
    texts = empty = 0
    count = page.count_objects()
    for index in range(0, count, max(1, count // _OBJECT_SAMPLES)):
        item = raw.FPDFPage_GetObject(page.handle, index)
        if raw.FPDFPageObj_GetType(item) == raw.FPDF_PAGEOBJ_TEXT:
            texts += 1
            raw.FPDFPageObj_GetBounds(item, left, bottom, right, top)
            if right.value - left.value < _EMPTY or top.value - bottom.value < _EMPTY:
                # Of a space, too.
                empty += raw.FPDFFont_GetIsEmbedded(raw.FPDFTextObj_GetFont(item)) == 0
    return empty / max(texts, _MIN_TEXTS)


def rules(page: PdfiumPage) -> tuple[list[Box], list[Box]]:
    """Return the horizontal and the vertical ruling lines, edges of rectangles among them."""
    raw = page.raw
    across: list[Box] = []
    down: list[Box] = []
    for index in range(min(page.count_objects(), _MAX_OBJECTS)):
        item = raw.FPDFPage_GetObject(page.handle, index)
        if raw.FPDFPageObj_GetType(item) == raw.FPDF_PAGEOBJ_PATH:
            for line in _lines_of(page, item):
                thick, long = line.top - line.bottom, line.right - line.left
                if thick <= _MAX_RULE_THICKNESS and long >= _MIN_RULE_LENGTH:
                    across.append(line)
                elif long <= _MAX_RULE_THICKNESS and thick >= _MIN_RULE_LENGTH:
                    down.append(line)
    return across, down


def _lines_of(page: PdfiumPage, item: Any) -> Iterator[Box]:  # noqa: ANN401 - a handle
    """Yield the straight lines of a path, with the page's turn applied."""
    raw = page.raw
    count = raw.FPDFPath_CountSegments(item)
    if not 1 < count <= _MAX_PATH_POINTS:
        return
    matrix = raw.FS_MATRIX()
    raw.FPDFPageObj_GetMatrix(item, matrix)
    x, y = ctypes.c_float(), ctypes.c_float()
    first = last = None
    for index in range(count):
        segment = raw.FPDFPath_GetPathSegment(item, index)
        raw.FPDFPathSegment_GetPoint(segment, x, y)
        point = (
            matrix.a * x.value + matrix.c * y.value + matrix.e,
            matrix.b * x.value + matrix.d * y.value + matrix.f,
        )
        kind = raw.FPDFPathSegment_GetType(segment)
        if kind == raw.FPDF_SEGMENT_MOVETO:
            first = point
        elif kind == raw.FPDF_SEGMENT_LINETO and last is not None:
            yield _box_between(page, last, point)
        last = point
        if raw.FPDFPathSegment_GetClose(segment) and first is not None:
            yield _box_between(page, last, first)
            last = first


def _box_between(page: PdfiumPage, a: tuple[float, float], b: tuple[float, float]) -> Box:
    return page.shown(min(a[0], b[0]), min(a[1], b[1]), max(a[0], b[0]), max(a[1], b[1]))
