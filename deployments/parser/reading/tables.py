"""Rows of tables on laid-out pages, their cells kept apart."""

from __future__ import annotations

import re
from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CELL_JOINT: Final = " | "
"""What stands between the cells of a row."""

_GAP = re.compile(r"\s{2,}")
_DIGIT = re.compile(r"[0-9]")
_MIN_LINES = 4
_MIN_ROWS = 2
_MAX_CELLS = 24
_MAX_SHORT_SHARE = 0.7


def may_hold_table(lines: Sequence[str]) -> bool:
    """Tell whether some lines on end are no prose: short, or with figures, and not ended."""
    longest = max(map(len, lines), default=0)
    on_end = 0
    for line in lines:
        short = len(line) <= longest * _MAX_SHORT_SHARE
        ended = line.rstrip().endswith((".", ",", "-"))
        on_end = on_end + 1 if not ended and (short or _DIGIT.search(line)) else 0
        if on_end == _MIN_LINES:
            return True
    return False


def with_cells(lines: Sequence[str], layout: Sequence[str]) -> list[str]:
    """Mark the cells in the rows of tables.

    Args:
        lines: those of a page, in reading order. A row may be one, its cells with no more
            than a space between, or as many as it has cells.
        layout: the lines as they stand on the page, with more than a space between cells.
            Lines of text in two columns side by side are one line here.

    Returns:
        `lines`, in which the rows have `CELL_JOINT` between their cells.
    """
    rows: dict[str, list[str]] = {}
    for line in layout:
        cells = _GAP.split(line.strip())
        if 1 < len(cells) <= _MAX_CELLS:
            rows[_squeezed(line)] = cells
    if not rows:
        return list(lines)
    found: list[tuple[list[str], list[str]]] = []
    place = 0
    while place < len(lines):
        taken, cells = _row_at(lines, place, rows)
        found.append((list(lines[place : place + taken]), cells))
        place += taken
    marked: list[str] = []
    for is_table, group in groupby(found, key=lambda pair: bool(pair[1])):
        pairs = list(group)
        if is_table and _is_even([len(cells) for _, cells in pairs]):
            marked += [CELL_JOINT.join(cells) for _, cells in pairs]
        else:
            marked += [line for own, _ in pairs for line in own]
    return marked


def _row_at(
    lines: Sequence[str], place: int, rows: Mapping[str, list[str]]
) -> tuple[int, list[str]]:
    """Give the cells of the row that begins at a line and how many lines it is; or 1 and none."""
    text = ""
    for taken, line in enumerate(lines[place : place + _MAX_CELLS], 1):
        text += _squeezed(line)
        if text in rows:
            return taken, rows[text]
    return 1, []


def _squeezed(line: str) -> str:
    return "".join(line.split())


def _is_even(cells: Sequence[int]) -> bool:
    """Tell from how many cells each row has whether they make a table."""
    common = Counter(cells).most_common(1)[0][1]
    return common >= _MIN_ROWS and common * 2 >= len(cells)
