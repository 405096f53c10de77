"""Test titles: whether a candidate names a document."""

from __future__ import annotations

from deployments.parser.reading.content import one_line


def tidy_title(candidate: str) -> str:
    """Return a title on one line; "" for one that names no document."""
    return one_line(candidate)
