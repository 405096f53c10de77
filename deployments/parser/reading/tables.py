"""Detect rows of tables on laid-out pages and mark their cells."""

from __future__ import annotations

import re
from collections import Counter
from itertools import groupby
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CELL_JOINT: Final = " | "
"""Separator of the cells of a row."""

_GAP = re.compile(r"\s{2,}")
_DIGIT = re.compile(r"[0-9]")
_MIN_LINES = 4
_MIN_ROWS = 2
_MAX_CELLS = 24
_MAX_SHORT_SHARE = 0.7


def may_hold_table(lines: Sequence[str]) -> bool:
    """Tell whether consecutive lines look tabular: short or with digits, without a full stop."""
    longest = max(map(len, lines), default=0)
    consecutive = 0
    for line in lines:
        short = len(line) <= longest * _MAX_SHORT_SHARE
        ended = line.rstrip().endswith((".", ",", "-"))
        consecutive = consecutive + 1 if not ended and (short or _DIGIT.search(line)) else 0
        if consecutive == _MIN_LINES:
            return True
    return False


def with_cells(lines: Sequence[str], layout: Sequence[str]) -> list[str]:
    """Mark the cells in the rows of tables.

    Args:
        lines: the lines of a page in reading order. A row is one of them, its cells separated
            by at most a space, or one line per cell.
        layout: the lines as laid out, with more than a space between cells. Text in two
            columns side by side is one line here.

    Returns:
        `lines`, with `CELL_JOINT` between the cells of rows.
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
    """Return how many lines the row at `place` has, and its cells; 1 and none for no row."""
    text = ""
    for taken, line in enumerate(lines[place : place + _MAX_CELLS], 1):
        text += _squeezed(line)
        if text in rows:
            return taken, rows[text]
    return 1, []


def _squeezed(line: str) -> str:
    return "".join(line.split())


def _is_even(cells: Sequence[int]) -> bool:
    """Tell whether at least half of the rows, and two, have the same number of cells."""
    common = Counter(cells).most_common(1)[0][1]
    return common >= _MIN_ROWS and common * 2 >= len(cells)
