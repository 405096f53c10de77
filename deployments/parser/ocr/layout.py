"""Put recognised lines into reading order: columns, rows and paragraphs."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from deployments.parser.reading.tables import CELL_JOINT

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_MIN_COLUMN_LINES = 4
_MIN_COLUMN_WIDTH = 8  # of its lines, in their heights: less is a column of a table
_MIN_COLUMN_FILL = 0.75  # median of its lines, of its width: labels of a form vary more
_MAX_CROSSING = 0.3
_MAX_COLUMNS = 4
_SAME_ROW = 0.5  # overlap of two lines, of the lower one's height
_CELL_GAP = 1.5  # heights
_PARAGRAPH_GAP = 0.7  # heights
_PARAGRAPH_GAPS = 1.6  # usual gaps


class Box(NamedTuple):
    """A recognised line, and its four corners from the top left one clockwise."""

    text: str
    corners: Any


class _Line(NamedTuple):
    text: str
    left: float
    top: float
    right: float
    bottom: float

    @property
    def height(self) -> float:
        return self.bottom - self.top


def page_text(boxes: Sequence[Box]) -> str:
    """Return the text of a page: a line for each row, an empty one between paragraphs."""
    lines = _straightened(boxes)
    return "\n\n".join(_block_text(block) for block in _blocks(lines, _MAX_COLUMNS) if block)


def _straightened(boxes: Sequence[Box]) -> list[_Line]:
    """Turn the lines of a skewed page about the origin, so that they are level."""
    angles = []
    for _, corners in boxes:
        (left, top), (right, high), _, (_, low) = (tuple(map(float, xy)) for xy in corners)
        if right - left > 2 * abs(low - top):
            angles.append(math.atan2(high - top, right - left))
    angle = median(angles) if angles else 0.0
    sine, cosine = math.sin(-angle), math.cos(-angle)
    lines = []
    for text, corners in boxes:
        points = [
            (float(x) * cosine - float(y) * sine, float(x) * sine + float(y) * cosine)
            for x, y in corners
        ]
        across, down = zip(*points, strict=True)
        lines.append(_Line(text.strip(), min(across), min(down), max(across), max(down)))
    return sorted(lines, key=lambda line: (line.top, line.left))


def _blocks(lines: list[_Line], columns: int) -> Iterable[list[_Line]]:
    """Yield lines that belong together; of columns, the left one first.

    Lines that cross the gutter, such as headings, divide the columns above from those below.
    """
    gutter = _gutter(lines) if columns > 1 else None
    if gutter is None:
        yield lines
        return
    left: list[_Line] = []
    right: list[_Line] = []
    for line in lines:
        if line.right <= gutter:
            left.append(line)
        elif line.left >= gutter:
            right.append(line)
        else:
            yield from _blocks(left, columns - 1)
            yield from _blocks(right, columns - 1)
            left, right = [], []
            yield [line]
    yield from _blocks(left, columns - 1)
    yield from _blocks(right, columns - 1)


def _gutter(lines: Sequence[_Line]) -> float | None:
    """Return where a vertical gutter between columns of text lies, if there is one."""
    best: tuple[int, float] | None = None
    for place in sorted({line.left for line in lines}):
        x = place - 1
        left = [line for line in lines if line.right <= x]
        right = [line for line in lines if line.left >= x]
        crossing = len(lines) - len(left) - len(right)
        if crossing > _MAX_CROSSING * len(lines) or not (_column(left) and _column(right)):
            continue
        if _beside(left, right) and (best is None or crossing < best[0]):
            best = (crossing, x)
    return None if best is None else best[1]


def _column(lines: Sequence[_Line]) -> bool:
    """Tell whether lines are text rather than cells of a table."""
    if len(lines) < _MIN_COLUMN_LINES:
        return False
    height = median(line.height for line in lines)
    width = median(line.right - line.left for line in lines)
    whole = max(line.right for line in lines) - min(line.left for line in lines)
    return width >= _MIN_COLUMN_WIDTH * height and width >= _MIN_COLUMN_FILL * whole


def _beside(left: Sequence[_Line], right: Sequence[_Line]) -> bool:
    """Tell whether most of the shorter one of two columns lies beside the other one."""
    top = max(min(line.top for line in column) for column in (left, right))
    bottom = min(max(line.bottom for line in column) for column in (left, right))
    shorter = min(
        max(line.bottom for line in column) - min(line.top for line in column)
        for column in (left, right)
    )
    return bottom - top > shorter / 2


def _block_text(lines: Sequence[_Line]) -> str:
    rows: list[list[_Line]] = []
    for line in sorted(lines, key=lambda line: line.top + line.bottom):
        if rows and _same_row(rows[-1][-1], line):
            rows[-1].append(line)
        else:
            rows.append([line])
    gaps = [
        min(line.top for line in below) - max(line.bottom for line in above)
        for above, below in pairwise(rows)
    ]
    usual = max(median(gaps), 0.0) if gaps else 0.0
    parts = [_row_text(rows[0])]
    for row, gap in zip(rows[1:], gaps, strict=True):
        height = median(line.height for line in row)
        ends = gap > max(_PARAGRAPH_GAP * height, _PARAGRAPH_GAPS * usual)
        parts += ["\n\n" if ends else "\n", _row_text(row)]
    return "".join(parts)


def _same_row(one: _Line, other: _Line) -> bool:
    overlap = min(one.bottom, other.bottom) - max(one.top, other.top)
    return overlap > _SAME_ROW * min(one.height, other.height)


def _row_text(row: list[_Line]) -> str:
    row = sorted(row, key=lambda line: line.left)
    text = row[0].text
    for before, line in pairwise(row):
        apart = line.left - before.right > _CELL_GAP * line.height
        text += (CELL_JOINT if apart else " ") + line.text
    return text
