"""Heads of Markdown tables, to be repeated in each chunk that holds rows of a table."""

from __future__ import annotations

from bisect import bisect_right

_RULE_CHARACTERS = frozenset("|-: ")
_BAR, _DASHES = "|", "---"


class TableHeads:
    """Finds the tables of a text once: a row, a line of dashes, and the rows below them."""

    def __init__(self, text: str) -> None:
        """Find the tables, with outer bars or without."""
        self._starts: list[int] = []  # of the rows below heads
        self._tables: list[tuple[int, str]] = []  # the end of the rows, and the head
        if _DASHES not in text:
            return
        offset, head, above = 0, "", ""
        for line in text.split("\n"):
            end = offset + len(line) + 1
            if head and _BAR in line:
                self._tables[-1] = (end, head)
            elif _BAR in above and _is_rule(line):
                head = f"{above}\n{line}\n"
                self._starts.append(end)
                self._tables.append((end, head))
            else:
                head = ""
            offset, above = end, line

    def above(self, start: int) -> str:
        """Return the head of the table that a row at `start` is in, with its line ends, or ""."""
        place = bisect_right(self._starts, start) - 1
        if place < 0:
            return ""
        end, head = self._tables[place]
        return head if start < end else ""


def _is_rule(line: str) -> bool:
    return _DASHES in line and _BAR in line and set(line.strip()) <= _RULE_CHARACTERS
