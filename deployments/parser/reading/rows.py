"""Rows of tables as lines of text: each value with the header of its column."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from deployments.parser.reading.tables import CELL_JOINT

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

_MAX_HEADER_CHARS: Final = 80
_MAX_ROWS_ABOVE: Final = 10  # a title and notes above the headers
_VALUE: Final = re.compile(r"[\W\d_]*[0-9][\W\d_]*")
MIN_COLUMNS: Final = 2
MIN_HEADED_COLUMNS: Final = 3
"""The fewest columns of a table within a text whose rows are written with headers."""
_MAX_LONG_CELL_CHARS: Final = 300


def row_lines(rows: Iterable[Sequence[str]], min_columns: int = MIN_COLUMNS) -> Iterator[str]:
    """Yield "Header: value; Header: value" for each row that is not blank.

    The headers are the first row that looks like it, which is yielded with the joint of cells.
    Rows of a table without headers, or with fewer than `min_columns`, are yielded like that too.
    """
    above: list[list[str]] = []
    headers: list[str] | None = None
    searching = True
    for raw in rows:
        cells = [_one_line(cell) for cell in raw]
        if not any(cells):
            continue
        if searching:
            above.append(cells)
            if len(above) < _MAX_ROWS_ABOVE:
                continue
            headers = yield from _begin(above, min_columns)
            searching = False
        elif headers is not None:
            yield _row(headers, cells)
        else:
            yield CELL_JOINT.join(filter(None, cells))
    if searching:
        yield from _begin(above, min_columns)


def lays_out_page(rows: Sequence[Sequence[str]]) -> bool:
    """Tell whether a table only places parts of a page: it has long cells, or one column."""
    longest = max((len(cell) for row in rows for cell in row), default=0)
    return longest > _MAX_LONG_CELL_CHARS or max(map(len, rows), default=0) == 1


def _begin(above: list[list[str]], min_columns: int) -> Generator[str, None, list[str] | None]:
    """Yield the first rows; return the headers among them, if there are any."""
    width = max((sum(map(bool, cells)) for cells in above), default=0)
    at = None
    if width >= min_columns and len(above) > 1:
        at = next((n for n, cells in enumerate(above) if sum(map(bool, cells)) > width / 2), None)
        if at is not None and not _are_headers(above[at]):
            at = None
    headers = None if at is None else above[at]
    for number, cells in enumerate(above):
        if headers is not None and at is not None and number > at:
            yield _row(headers, cells)
        else:
            yield CELL_JOINT.join(filter(None, cells))
    return headers


def _are_headers(cells: Sequence[str]) -> bool:
    filled = [cell for cell in cells if cell]
    return len(set(filled)) == len(filled) and not any(
        len(cell) > _MAX_HEADER_CHARS or (_VALUE.fullmatch(cell) and not _is_year(cell))
        for cell in filled
    )


def _is_year(cell: str) -> bool:
    return len(cell) == len("2026") and cell[:2] in {"19", "20"}


def _row(headers: Sequence[str], cells: Sequence[str]) -> str:
    """Join the cells that are filled, each with its header."""
    return "; ".join(
        f"{headers[n]}: {cell}" if n < len(headers) and headers[n] else cell
        for n, cell in enumerate(cells)
        if cell
    )


def _one_line(cell: str) -> str:
    return " ".join(cell.split())
