"""Lines of plain PDF pages, one column without tables, at a fraction of the usual time.

pdfium's own lines are taken as they are if the boxes of their parts show that nothing is gained
by looking at each character.
"""

from __future__ import annotations

import ctypes
import re
from typing import TYPE_CHECKING, Any, Final

from deployments.parser.reading.pdf_lines import CELL_GAP, Segment, Word, segments_of
from deployments.parser.reading.tables import may_hold_table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployments.parser.reading.pdfium import Box, PdfiumPage, TextPage

_MAX_PARTS: Final = 40  # of a line; more are letters that were placed one by one
_MAX_CHARACTER_WIDTH: Final = 0.58  # of its height, on average: a line with gaps has more
_MIN_CHARACTERS: Final = 12
_MAX_UNEVEN_LINES: Final = 8
_MAX_JUMPS: Final = 3  # to headers, footers and notes
_MIN_OVERLAP: Final = 0.4  # of the lower of two heights on one line

_LINE = re.compile(r"[^\r\n\x02\ufffe]+[\x02\ufffe]?|[\x02\ufffe]")
# Letters drawn twice or apart, and scripts whose lines do not run from left to right.
_SPECIAL = re.compile(
    r"([A-Za-z])\1([A-Za-z])\2|(?<!\S)[b-zB-HJ-Z](?: [^\W\d_]{1,3}){3}(?!\S)|"
    r"[\u0590-\u08ff\u2e80-\ufffd]|[\x00\x01\x03-\x08\x0b\x0c\x0e-\x1f]"
)


def plain_segments(text_page: TextPage, page: PdfiumPage) -> list[Segment] | None:
    """Return the lines of a page in the order of its content.

    Lines with gaps are examined by characters. None is returned if there are many, or lines beside
    each other, so that all have to be.
    """
    if page.is_turned or _SPECIAL.search(text_page.text):
        return None
    sheet = page.media_box()
    corner = page.visible
    found: list[Segment] = []
    uneven = jumps = 0
    for match in _LINE.finditer(text_page.text):
        start, text = match.start(), match[0]
        if not text.strip():
            continue
        segment = _segment(text_page, start, text, corner)
        if segment is not None and _is_inside(segment, sheet):
            segments = [segment]
        else:
            uneven += 1
            segments = segments_of(text_page.characters(start, match.end()), sheet)
        for segment in segments:
            jumps += bool(found) and _is_jump(found[-1], segment)
            segment.order = len(found)
            found.append(segment)
        if uneven > _MAX_UNEVEN_LINES or jumps > _MAX_JUMPS:
            return None
    return None if may_hold_table(found) else found


def _is_inside(segment: Segment, sheet: Box) -> bool:
    return (
        sheet.left <= segment.left <= segment.right <= sheet.right
        and sheet.bottom <= segment.bottom <= segment.top <= sheet.top
    )


def _is_jump(above: Segment, segment: Segment) -> bool:
    """Tell whether a line is not below the one before it."""
    shared = min(above.top, segment.top) - max(above.bottom, segment.bottom)
    return shared > _MIN_OVERLAP * min(above.size, segment.size) or segment.bottom > above.top


def _segment(page: TextPage, start: int, text: str, corner: Box) -> Segment | None:
    """Return a line as a segment, None if it has gaps or parts at several heights."""
    size = page.height_at(start + len(text) - len(text.lstrip()))
    parts = list(_parts(page, start, len(text)))
    if size <= 0 or not 0 < len(parts) <= _MAX_PARTS:
        return None
    left, bottom, right, top = parts[0]
    for part in parts[1:]:
        shared = min(top, part[3]) - max(bottom, part[1])
        height = min(top - bottom, part[3] - part[1])
        # Dashes are lower than letters, and beside their middle; commas are at their foot.
        level = shared >= _MIN_OVERLAP * height or bottom - size / 2 < part[1] < top
        if not level or not -size < part[0] - right < size * CELL_GAP:
            return None
        bottom, right, top = min(bottom, part[1]), max(right, part[2]), max(top, part[3])
    wide = len(text) >= _MIN_CHARACTERS and right - left > len(text) * size * _MAX_CHARACTER_WIDTH
    if wide or top - bottom > 2 * size:
        return None
    if text.endswith(("\x02", "\ufffe")):
        text = text[:-1] + "-"
    text = " ".join(text.split())
    word = Word(text, left - corner.left, bottom - corner.bottom, right - corner.left,
                top - corner.bottom)  # fmt: skip
    return Segment([word], *word[1:], order=0, text=text, size=size)


def _parts(page: TextPage, start: int, count: int) -> Iterator[tuple[float, ...]]:
    """Yield the boxes of the texts that a line is drawn as: left, bottom, right, top."""
    raw: Any = page.raw
    left, bottom, right, top = edges = [ctypes.c_double() for _ in range(4)]
    for index in range(min(raw.FPDFText_CountRects(page.handle, start, count), _MAX_PARTS + 1)):
        raw.FPDFText_GetRect(page.handle, index, left, top, right, bottom)
        yield tuple(edge.value for edge in edges)
