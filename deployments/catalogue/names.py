"""Numbered names: `report (2).pdf` is free where `report.pdf` is taken."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence


def free_name(filename: str, taken: Container[str]) -> str:
    """Return the file name with the first number, from 2, that is not taken."""
    return next(name for name in _numbered(filename) if name not in taken)


def unique_names(filenames: Sequence[str]) -> list[str]:
    """Return the file names, those that occurred before with the first free number."""
    taken: set[str] = set()
    # Each goes on behind its last number: thousands of equal names would take long otherwise.
    numbered: dict[str, Iterator[str]] = {}
    unique = []
    for filename in filenames:
        name = filename
        while name in taken:
            if filename not in numbered:
                numbered[filename] = _numbered(filename)
            name = next(numbered[filename])
        taken.add(name)
        unique.append(name)
    return unique


def _numbered(filename: str) -> Iterator[str]:
    start, ending = start_of_numbered(filename), _parts(filename)[1]
    return (f"{start}{number}){ending}" for number in count(2))


def start_of_numbered(filename: str) -> str:
    """Return what a file name with a number begins with, such as `report (`."""
    return f"{_parts(filename)[0]} ("


def is_numbered(name: str, filename: str) -> bool:
    """Return whether a name is a file name with a number."""
    stem, ending = map(re.escape, _parts(filename))
    return re.fullmatch(rf"{stem} \(\d+\){ending}", name) is not None


def _parts(filename: str) -> tuple[str, str]:
    """Return the stem and the ending with its dot, which may be empty."""
    stem, dot, ending = filename.rpartition(".")
    return (stem, dot + ending) if stem else (filename, "")
