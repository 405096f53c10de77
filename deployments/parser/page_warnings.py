"""Warnings about pages of a document."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from deployments.types import DocumentWarning

if TYPE_CHECKING:
    from collections.abc import Collection

    from deployments.types import WarningCode

MAX_NAMED_PAGES: Final = 100
"""Of more pages, a warning names the first ones."""


def page_warning(code: WarningCode, message: str, pages: Collection[int]) -> DocumentWarning:
    """Return a warning that names the pages, which count from 1."""
    return DocumentWarning(code, message, tuple(sorted(pages)[:MAX_NAMED_PAGES]))
