"""Names of documents that are free in a collection."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container


def free_name(filename: str, taken: Container[str]) -> str:
    """Return the name with the first number, from 2, that makes it free: `report (2).pdf`."""
    stem, ending = _parts(filename)
    return next(
        name
        for number in count(2)
        if (name := f"{numbered(stem + ending, str(number))}){ending}") not in taken
    )


def numbered(filename: str, number: str) -> str:
    """Return the beginning of the names that `free_name` makes: `report (` and the number."""
    return f"{_parts(filename)[0]} ({number}"


def is_numbered(name: str, filename: str) -> bool:
    """Return whether a name is one that `free_name` makes of a file name."""
    stem, ending = map(re.escape, _parts(filename))
    return re.fullmatch(rf"{stem} \(\d+\){ending}", name) is not None


def _parts(filename: str) -> tuple[str, str]:
    """Return the stem and the ending with its dot, which may be empty."""
    stem, dot, ending = filename.rpartition(".")
    return (stem, dot + ending) if stem else (filename, "")
