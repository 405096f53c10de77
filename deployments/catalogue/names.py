"""Numbered names: `report (2).pdf` is free where `report.pdf` is taken."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Container


def free_name(filename: str, taken: Container[str]) -> str:
    """Return the file name with the first number, from 2, that is not taken."""
    ending = _parts(filename)[1]
    names = (f"{start_of_numbered(filename)}{number}){ending}" for number in count(2))
    return next(name for name in names if name not in taken)


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
