"""The size of a regular expression, by a linear scan that compiles nothing."""

from __future__ import annotations

import re
from typing import NamedTuple

_COUNT = re.compile(r"\{(\d{1,9})(?:,(\d{0,9}))?\}")
# A token: an escape, a character class, the opening of a group, a count, or one character.
_TOKEN = re.compile(
    r"\\.?|\[\^?\]?(?:[^\]\\]|\\.)*+\]?|\(\?[:=!]|\(\?<[=!]|\{\d[\d,]*\}|.", re.DOTALL
)


class PatternSize(NamedTuple):
    """What decides how long an expression takes to compile.

    `repetitions` is the largest count in `{m,n}`; `states` is the number of characters and
    classes once every count is written out, so that nested counts multiply.
    """

    repetitions: int = 0
    states: int = 0


def pattern_size(pattern: str) -> PatternSize:
    """Measure an expression; never raises, whatever the text is."""
    largest = 0
    groups = [0]  # states of each open group
    atom = 0  # states of what a count would repeat
    for match in _TOKEN.finditer(pattern):
        part = match[0]
        if part[0] == "(":
            groups.append(0)
            atom = 0
        elif part == ")":
            atom = groups.pop() if len(groups) > 1 else 1
            groups[-1] += atom
        elif (count := _COUNT.fullmatch(part)) is not None:
            times = max(int(count[1]), int(count[2] or 0))
            largest = max(largest, times)
            groups[-1] += atom * (max(times, 1) - 1)
            atom *= max(times, 1)
        elif part == "|":
            atom = 0
        elif part not in {"*", "+", "?"}:
            atom = 1
            groups[-1] += 1
    return PatternSize(largest, sum(groups))
