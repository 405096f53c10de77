"""Repeat the head of a table that continues on the next page."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from deployments.parser.reading.flow import running_keys
from deployments.parser.reading.tables import CELL_JOINT

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deployments.parser.reading.tables import Columns, PageTable

_EDGE_LINES: Final = 2  # running headers or footers at each edge of a page
_ALIGNED: Final = 3.0  # points between edges of columns that count as aligned


class Continued(NamedTuple):
    """The lines of all pages, and the indexes of repeated heads by page; both count from 0."""

    pages: list[list[str]]
    heads: dict[int, set[int]]


def with_repeated_heads(
    pages: Sequence[Sequence[str]], tables: Sequence[Sequence[PageTable]]
) -> Continued:
    """Put the head of a table above its rows on further pages.

    A table continues the last one of the page before if it has the same columns and only running
    headers are above it. If it has no head of its own, the first of its rows was taken for one.
    """
    kept = [list(page) for page in pages]
    lines: dict[int, set[int]] = {}
    heads: dict[int, str] = {}  # of the tables at the end of pages
    for index in range(1, len(pages)):
        if not tables[index - 1] or not tables[index]:
            continue
        above, below = tables[index - 1][-1], tables[index][0]
        if not _same_columns(above.columns, below.columns):
            continue
        if not _at_edges(pages, index, above, below):
            continue
        head = heads.get(index - 1, pages[index - 1][above.start])
        first, dashes = pages[index][below.start : below.start + 2]
        if _continues(head, _rows(pages[index - 1], above), _rows(pages[index], below)):
            kept[index][below.start : below.start + 2] = [head, dashes, first]
        elif first != head:
            continue
        lines[index] = {below.start, below.start + 1}
        if len(tables[index]) == 1:
            heads[index] = head
    return Continued(kept, lines)


def _same_columns(one: Columns, other: Columns) -> bool:
    return len(one) == len(other) and all(
        min(abs(a[0] - b[0]), abs(a[1] - b[1]), abs(sum(a) - sum(b)) / 2) <= _ALIGNED
        and a[0] < b[1]
        and b[0] < a[1]
        for a, b in zip(one, other, strict=True)
    )


def _at_edges(
    pages: Sequence[Sequence[str]], index: int, above: PageTable, below: PageTable
) -> bool:
    """Return whether only running lines are between tables on consecutive pages."""
    after = _filled(pages[index - 1][above.start + above.length :])
    before = _filled(pages[index][: below.start])
    if max(len(after), len(before)) > _EDGE_LINES:
        return False
    footers = set(_edge_keys(pages, (index - 2, index), slice(-_EDGE_LINES, None)))
    headers = set(_edge_keys(pages, (index - 1, index + 1), slice(_EDGE_LINES)))
    return all(not footers.isdisjoint(running_keys(line, index - 1)) for line in after) and all(
        not headers.isdisjoint(running_keys(line, index)) for line in before
    )


def _edge_keys(
    pages: Sequence[Sequence[str]], numbers: Sequence[int], edge: slice
) -> Iterator[str]:
    for number in numbers:
        if 0 <= number < len(pages):
            for line in _filled(pages[number])[edge]:
                yield from running_keys(line, number)


def _filled(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if line.strip()]


def _rows(page: Sequence[str], table: PageTable) -> list[str]:
    """Return the rows below the line of dashes, and before them the row above it."""
    lines = page[table.start : table.start + table.length]
    return [*lines[:1], *lines[2:]]


def _continues(head: str, above: Sequence[str], below: Sequence[str]) -> bool:
    """Return whether the first row is not a head: it has figures in the columns of figures."""
    first = below[0]
    if first == head:
        return False
    rows = [_cells(row) for row in (*above[1:], *below[1:])]
    has_figures = [
        _has_digit(cell)
        for number, (name, cell) in enumerate(zip(_cells(head), _cells(first), strict=False))
        if cell and not _has_digit(name) and _is_of_figures([row[number:][:1] for row in rows])
    ]
    return 2 * sum(has_figures) >= len(has_figures)


def _is_of_figures(cells: Sequence[Sequence[str]]) -> bool:
    filled = [cell[0] for cell in cells if cell and cell[0]]
    return 2 * sum(map(_has_digit, filled)) > len(filled)


def _cells(row: str) -> list[str]:
    return [cell.strip() for cell in f" {row} ".split(CELL_JOINT)]


def _has_digit(cell: str) -> bool:
    return any(map(str.isdigit, cell))
