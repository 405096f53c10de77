"""Tables on PDF pages, found by the positions of their cells or by ruling lines.

A table becomes Markdown without outer bars: cells are separated by `CELL_JOINT`, and the line of
dashes that Markdown wants follows the first row.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deployments.parser.reading.pdf_lines import Segment, Word
    from deployments.parser.reading.pdfium import Box

CELL_JOINT: Final = " | "
"""Separator of the cells of a row."""

Columns: TypeAlias = tuple[tuple[float, float], ...]
"""The left and right edge of each column of a table, in points."""
_DASHES: Final = "---"
_MIN_ROWS: Final = 3
_MIN_ROWS_OF_MANY: Final = 2  # of three columns or more
_MIN_COLUMNS_OF_MANY: Final = 3
_MAX_COLUMNS: Final = 24
_MAX_CELL_CHARS: Final = 45.0  # on average; longer ones are columns of prose
_MAX_RULED_CELL_CHARS: Final = 800  # a longer one is a frame around text
_MIN_ROW_OVERLAP: Final = 0.5  # of the lower of two heights
_MAX_RULES: Final = 600  # on a page, beyond which they are a drawing
_TOUCH: Final = 3.0  # points
_BULLET = re.compile(r"[^\w\s]{1,2}|[(\[]?\w{1,4}\s?[.)\]:\u2236]|o")


class PageTable(NamedTuple):
    """A table on a page: its first line, the number of its lines, and its columns."""

    start: int
    length: int
    columns: Columns


@dataclass(frozen=True, slots=True)
class Row:
    """Segments on one line, in reading order, or a table in their place."""

    segments: list[Segment]
    bottom: float
    top: float
    lines: list[str]
    is_table: bool = False
    columns: Columns = ()


def rows_of(segments: Sequence[Segment], *, right_to_left: bool = False) -> list[Row]:
    """Group segments into the rows of a column, from top to bottom."""
    rows: list[list[Segment]] = []
    low = high = 0.0
    for segment in sorted(segments, key=lambda s: -(s.bottom + s.top)):
        shared = min(high, segment.top) - max(low, segment.bottom)
        least = min(high - low, segment.top - segment.bottom)
        whole = bool(segment.rows) or bool(rows and rows[-1][0].rows)
        if rows and not whole and shared >= _MIN_ROW_OVERLAP * least:
            rows[-1].append(segment)
        else:
            rows.append([segment])
            low, high = segment.bottom, segment.top
    return [_row(row, right_to_left=right_to_left) for row in rows]


def _row(segments: list[Segment], *, right_to_left: bool) -> Row:
    segments.sort(key=lambda segment: -segment.right if right_to_left else segment.left)
    bottom, top = min(s.bottom for s in segments), max(s.top for s in segments)
    if segments[0].rows:
        table = segments[0]
        return Row(segments, bottom, top, table.rows, is_table=True, columns=table.columns)
    return Row(segments, bottom, top, [" ".join(segment.text for segment in segments)])


def with_tables(rows: Sequence[Row]) -> Iterator[Row]:
    """Yield the rows, those of each table without ruling lines as one."""
    for several, group in groupby(rows, key=lambda row: not row.is_table and len(row.segments) > 1):
        members = list(group)
        lines, columns = _table_of(members) if several else ([], ())
        if lines:
            segments = [segment for row in members for segment in row.segments]
            bottom, top = members[-1].bottom, members[0].top
            yield Row(segments, bottom, top, lines, is_table=True, columns=columns)
        else:
            yield from members


def _table_of(rows: Sequence[Row]) -> tuple[list[str], Columns]:
    """Return the lines of a table and its columns, none if the cells are not in columns."""
    counts = Counter(len(row.segments) for row in rows)
    usual, times = counts.most_common(1)[0]
    needed = _MIN_ROWS_OF_MANY if usual >= _MIN_COLUMNS_OF_MANY else _MIN_ROWS
    if times < needed or times * 2 < len(rows) or usual > _MAX_COLUMNS:
        return [], ()
    columns = _spans([s for row in rows if len(row.segments) == usual for s in row.segments])
    if len(columns) != usual:
        return [], ()
    cells = [_cells(row, columns) for row in rows]
    texts = [text for row in cells for text in row if text]
    if sum(map(len, texts)) > _MAX_CELL_CHARS * len(texts):
        return [], ()
    if usual == 2 and all(_BULLET.fullmatch(row[0]) for row in cells):  # noqa: PLR2004 - a list
        return [], ()
    return _markdown(cells), tuple(columns)


def _spans(segments: Sequence[Segment]) -> list[tuple[float, float]]:
    """Return the stretches of the x axis that segments cover."""
    spans: list[tuple[float, float]] = []
    for segment in sorted(segments, key=lambda s: s.left):
        if spans and segment.left < spans[-1][1]:
            spans[-1] = (spans[-1][0], max(spans[-1][1], segment.right))
        else:
            spans.append((segment.left, segment.right))
    return spans


def _cells(row: Row, columns: Sequence[tuple[float, float]]) -> list[str]:
    cells = [""] * len(columns)
    for segment in row.segments:
        middle = (segment.left + segment.right) / 2
        best = max(
            range(len(columns)),
            key=lambda n: (
                min(columns[n][1], segment.right) - max(columns[n][0], segment.left),
                -abs(sum(columns[n]) / 2 - middle),
            ),
        )
        cells[best] = f"{cells[best]} {segment.text}".strip()
    return cells


def _markdown(rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [CELL_JOINT.join(cell.replace(CELL_JOINT, " / ") for cell in row) for row in rows]
    return [lines[0], CELL_JOINT.join([_DASHES] * len(rows[0])), *lines[1:]]


def may_hold_table(segments: Sequence[Segment]) -> bool:
    """Tell whether some lines have cells, so that ruling lines are worth finding."""
    rows = rows_of(segments)
    return sum(len(row.segments) > 1 for row in rows) >= _MIN_ROWS_OF_MANY


def with_ruled_tables(
    segments: Sequence[Segment], across: Sequence[Box], down: Sequence[Box]
) -> list[Segment]:
    """Return the segments, those inside the grid of a table replaced by the table."""
    if not across or not down or len(across) + len(down) > _MAX_RULES:
        return list(segments)
    left = list(segments)
    for grid in _grids(across, down):
        upright = [line for line in grid if _is_upright(line)]
        level = [line for line in grid if not _is_upright(line)]
        # Outer lines may be missing.
        xs = _positions([
            *((line.left + line.right) / 2 for line in upright),
            *(edge for line in level for edge in (line.left, line.right)),
        ])  # fmt: skip
        ys = _positions([
            *((line.bottom + line.top) / 2 for line in level),
            *(edge for line in upright for edge in (line.bottom, line.top)),
        ])  # fmt: skip
        if not 3 <= len(xs) <= _MAX_COLUMNS + 1 or len(ys) < 3:  # noqa: PLR2004 - two cells
            continue
        inside = [s for s in left if _is_inside(s, xs, ys)]
        rows, columns = _grid_rows(inside, xs, ys)
        if rows:
            lines = _markdown(rows)
            first = min(segment.order for segment in inside)
            table = replace(
                inside[0], words=[], left=xs[0], right=xs[-1], bottom=ys[0], top=ys[-1],
                order=first, rows=lines, columns=columns, text="\n".join(lines),
            )  # fmt: skip
            left = [segment for segment in left if not _is_inside(segment, xs, ys)]
            left.append(table)
    return left


def _is_upright(line: Box) -> bool:
    return line.top - line.bottom > line.right - line.left


def _is_inside(segment: Segment, xs: Sequence[float], ys: Sequence[float]) -> bool:
    x, y = (segment.left + segment.right) / 2, (segment.bottom + segment.top) / 2
    return xs[0] < x < xs[-1] and ys[0] < y < ys[-1] and not segment.rows


def _positions(values: Sequence[float]) -> list[float]:
    """Return the values in order, those close to another one left out."""
    found: list[float] = []
    for value in sorted(values):
        if not found or value - found[-1] > _TOUCH:
            found.append(value)
    return found


def _grids(across: Sequence[Box], down: Sequence[Box]) -> Iterator[list[Box]]:
    """Yield the groups of lines that touch each other."""
    left = [*across, *down]
    while left:
        grid, frontier = [], [left.pop()]
        while frontier:
            line = frontier.pop()
            grid.append(line)
            near = [other for other in left if _touch(line, other)]
            if near:
                left = [other for other in left if not _touch(line, other)]
                frontier += near
        yield grid


def _touch(a: Box, b: Box) -> bool:
    return (
        a.left - _TOUCH <= b.right
        and b.left - _TOUCH <= a.right
        and a.bottom - _TOUCH <= b.top
        and b.bottom - _TOUCH <= a.top
    )


def _grid_rows(
    segments: Sequence[Segment], xs: Sequence[float], ys: Sequence[float]
) -> tuple[list[list[str]], Columns]:
    """Return the cells of each row, from the top, and the columns; none if it is no table."""
    count = len(xs) - 1
    rows: list[list[str]] = []
    bands: dict[int, list[Segment]] = {}
    for segment in segments:
        band = bisect_right(ys, (segment.bottom + segment.top) / 2)
        bands.setdefault(band, []).append(segment)
    for band in sorted(bands, reverse=True):
        cells: list[dict[int, list[Word]]] = [{} for _ in range(count)]  # the lines of each
        lines = rows_of(bands[band])
        for number, line in enumerate(lines):
            for word in (word for segment in line.segments for word in segment.words):
                cells[_column_at(xs, word)].setdefault(number, []).append(word)
        full = sum(len(cell) == len(lines) for cell in cells)
        if len(lines) >= _MIN_ROWS and full > 1:  # rows without lines between them
            rows += [[_joined([cell.get(n, [])]) for cell in cells] for n in range(len(lines))]
        else:
            rows.append([_joined(list(cell.values())) for cell in cells])
    longest = max((len(cell) for row in rows for cell in row), default=0)
    filled = sum(sum(map(bool, row)) > 1 for row in rows)
    used = [any(row[n] for row in rows) for n in range(count)]
    if filled < 2 or longest > _MAX_RULED_CELL_CHARS:  # noqa: PLR2004 - a head and a row
        return [], ()
    kept = [[cell for cell, keep in zip(row, used, strict=True) if keep] for row in rows]
    return kept, tuple(edges for edges, keep in zip(pairwise(xs), used, strict=True) if keep)


def _column_at(xs: Sequence[float], word: Word) -> int:
    place = bisect_right(xs, (word.left + word.right) / 2) - 1
    return min(max(place, 0), len(xs) - 2)


def _joined(lines: Sequence[Sequence[Word]]) -> str:
    """Return the text of a cell; a word that is broken at the end of a line is whole again."""
    text = " ".join(" ".join(word.text for word in line) for line in lines)
    return re.sub(r"(?<=[^\W\d_])- (?=[a-z])", "", text)
