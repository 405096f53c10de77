"""Reading order of a PDF page: columns one after the other, tables as rows."""

from __future__ import annotations

import re
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from deployments.parser.reading.pdfium import Box
from deployments.parser.reading.tables import PageTable, Row, rows_of, with_tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deployments.parser.reading.pdf_lines import Segment

_MIN_COLUMN_SEGMENTS: Final = 3
_MIN_COLUMN_CHARS: Final = 14.0  # a line of a column on average
_MIN_COLUMN_SHARE: Final = 0.15  # of the width
_MAX_SPANNING_SHARE: Final = 0.6  # of the height of the lower column
_MIN_GUTTER: Final = 0.5  # heights of a line
_MAX_COLUMNS: Final = 6
_PARAGRAPH_GAP: Final = 0.6  # heights of a line, beyond the usual gap
_BIN: Final = 2.0  # points
_MIN_UPRIGHT: Final = 1.8  # the height of a line to its width
_MAX_STACKED_CHARS: Final = 2

_WIDE = re.compile("[\u2e80-\uffef]")  # Chinese, Japanese and Korean


class PageLines(NamedTuple):
    """The lines of a page in reading order, and the tables among them."""

    lines: list[str]
    tables: list[PageTable]


def page_lines(segments: Sequence[Segment], *, right_to_left: bool = False) -> PageLines:
    """Return the lines of a page in reading order, with blank ones between paragraphs.

    Rows of tables have `CELL_JOINT` between their cells, and blank lines around the table.
    """
    lines: list[str] = []
    tables: list[PageTable] = []
    upright = _upright_lines(segments)
    if upright:
        return PageLines(upright, tables)
    for column in _columns(list(segments), right_to_left=right_to_left):
        rows = rows_of(column, right_to_left=right_to_left)
        usual = _usual_gap(rows)
        previous: Row | None = None
        for row in with_tables(rows):
            if previous is not None and _begins_paragraph(previous, row, usual):
                lines.append("")
            if row.is_table:
                tables.append(PageTable(len(lines), len(row.lines), row.columns))
            lines += row.lines
            previous = row
    return PageLines(lines, tables)


def _upright_lines(segments: Sequence[Segment]) -> list[str]:
    """Return lines that run from top to bottom, the right one first; none if few lines do."""
    wide = sum(len(_WIDE.findall(segment.text)) for segment in segments)
    total = sum(len(segment.text) for segment in segments)
    if wide * 2 <= total:
        return []
    joined: list[list[Segment]] = []
    for segment in sorted(segments, key=lambda s: s.order):
        last = joined[-1][-1] if joined else None
        if last is not None and _follows_below(last, segment):
            joined[-1].append(segment)
        else:
            joined.append([segment])
    lines = [Box(line[0].left, line[-1].bottom, line[0].right, line[0].top) for line in joined]
    upright = [
        sum(len(segment.text) for segment in line)
        for line, box in zip(joined, lines, strict=True)
        if box.top - box.bottom > _MIN_UPRIGHT * (box.right - box.left) and not line[0].rows
    ]
    if sum(upright) * 2 <= total:
        return []
    order = list(range(len(joined)))
    highest, lowest = max(box.top for box in lines), min(box.bottom for box in lines)
    if all(box.top > highest - (highest - lowest) / 3 for box in lines):  # one tier
        order.sort(key=lambda n: -lines[n].right)
    return ["".join(segment.text for segment in joined[n]) for n in order]


def _follows_below(above: Segment, segment: Segment) -> bool:
    """Tell whether a single letter stands below another one, or below a line of them."""
    size = segment.right - segment.left
    return (
        len(segment.text) <= _MAX_STACKED_CHARS
        and abs(above.left + above.right - segment.left - segment.right) < size
        and 0 < above.top - segment.top < (above.top - above.bottom) + size
    )


def _columns(
    segments: list[Segment], *, right_to_left: bool, depth: int = 0
) -> Iterator[list[Segment]]:
    """Yield the segments of each column, and of lines above, between and below columns."""
    gutter = None if depth >= _MAX_COLUMNS else _gutter(segments)
    if gutter is None:
        yield segments
        return
    # Lines across columns in a row are read as one piece.
    above: list[Segment] = []
    for across, *sides in _bands(segments, gutter):
        above += across
        if any(sides):
            if above:
                yield above
            above = []
            for side in reversed(sides) if right_to_left else sides:
                if side:
                    yield from _columns(side, right_to_left=right_to_left, depth=depth + 1)
    if above:
        yield above


def _bands(
    segments: Sequence[Segment], gutter: tuple[float, float]
) -> list[tuple[list[Segment], list[Segment], list[Segment]]]:
    """Return the segments across a gutter, and those left and right below them, from the top."""
    left, right, spanning = _sides(segments, gutter)
    heights = sorted({_middle(segment) for segment in spanning}, reverse=True)
    bands: list[tuple[list[Segment], list[Segment], list[Segment]]] = [
        ([], [], []) for _ in range(len(heights) + 1)
    ]
    for side, members in enumerate((spanning, left, right)):
        for segment in members:
            middle = _middle(segment)
            bands[sum(height > middle for height in heights) + (side == 0)][side].append(segment)
    return bands


def _middle(segment: Segment) -> float:
    return (segment.bottom + segment.top) / 2


def _sides(
    segments: Sequence[Segment], gutter: tuple[float, float]
) -> tuple[list[Segment], list[Segment], list[Segment]]:
    """Return the segments left and right of a gutter and those across it."""
    begin, end = gutter
    middle = (begin + end) / 2
    left, right, spanning = [], [], []
    for segment in segments:
        if segment.left < begin - 2 * _BIN and segment.right > end + 2 * _BIN:
            spanning.append(segment)
        elif (segment.left + segment.right) / 2 < middle:
            left.append(segment)
        else:
            right.append(segment)
    return left, right, spanning


def _gutter(segments: Sequence[Segment]) -> tuple[float, float] | None:
    """Return the left and right edge of the widest empty strip between columns of prose."""
    if len(segments) < 2 * _MIN_COLUMN_SEGMENTS:
        return None
    start = min(segment.left for segment in segments)
    width = max(segment.right for segment in segments) - start
    changes = [0.0] * (int(width / _BIN) + 3)
    for segment in segments:
        height = 0.0 if segment.rows else segment.top - segment.bottom
        changes[int((segment.left - start) / _BIN)] += height
        changes[int((segment.right - start) / _BIN) + 1] -= height
    covered = list(accumulate(changes))
    em = sorted(segment.size for segment in segments)[len(segments) // 2]
    strips = sorted(_strips(covered), key=lambda strip: strip[1] - strip[0], reverse=True)
    for begin, end in strips[: 2 * _MAX_COLUMNS]:
        if (end - begin) * _BIN < em * _MIN_GUTTER:
            break
        gutter = (start + begin * _BIN, start + end * _BIN)
        left, right, _ = _sides(segments, gutter)
        if all(_is_column(side, width) for side in (left, right)):
            return gutter
    return None


def _strips(covered: Sequence[float]) -> Iterator[tuple[int, int]]:
    """Yield the strips that few lines cross, compared with the text on both sides."""
    before = [0.0]
    for height in covered:
        before.append(max(before[-1], height))
    after = [0.0]
    for height in reversed(covered):
        after.append(max(after[-1], height))
    after.reverse()
    begin = None
    for place, height in enumerate(covered):
        most = min(before[place], after[place + 1]) * _MAX_SPANNING_SHARE
        if height < most:
            begin = place if begin is None else begin
        elif begin is not None:
            yield begin, place
            begin = None


def _is_column(segments: Sequence[Segment], width: float) -> bool:
    if len(segments) < _MIN_COLUMN_SEGMENTS:
        return False
    chars = sum(len(segment.text) for segment in segments) / len(segments)
    wide = max(s.right for s in segments) - min(s.left for s in segments)
    return chars >= _MIN_COLUMN_CHARS and wide >= width * _MIN_COLUMN_SHARE


def _usual_gap(rows: Sequence[Row]) -> float:
    """Return the median of the gaps between lines, in points."""
    gaps = sorted(a.bottom - b.top for a, b in pairwise(rows))
    return gaps[len(gaps) // 2] if gaps else 0.0


def _begins_paragraph(above: Row, row: Row, usual: float) -> bool:
    if above.is_table or row.is_table:
        return True
    height = min(above.top - above.bottom, row.top - row.bottom)
    return above.bottom - row.top > usual + height * _PARAGRAPH_GAP
