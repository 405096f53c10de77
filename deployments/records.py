"""Stored records as dataclasses: what a newer version added to a record does no harm."""

from __future__ import annotations

from dataclasses import fields, replace
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from deployments.types import Document, DocumentWarning

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

T = TypeVar("T")


def from_record(kind: type[T], record: Mapping[str, Any]) -> T:
    """Build a dataclass from a stored record and ignore the fields that it does not have.

    A newer version may have written them, before a rollback or during a rolling update. Code
    that changes a record and writes it back must start from the record itself, so that they
    survive. Raises TypeError if a field without a default is missing.
    """
    known = _names(kind)  # type: ignore[arg-type]  # any class is hashable
    return kind(**{name: value for name, value in record.items() if name in known})


def document_from(record: Mapping[str, Any]) -> Document:
    """Build a document from a stored record."""
    return replace(
        from_record(Document, record), warnings=warnings_from(record.get("warnings") or ())
    )


def warnings_from(records: Iterable[Mapping[str, Any]]) -> tuple[DocumentWarning, ...]:
    """Build the warnings of a document from stored records."""
    made = (from_record(DocumentWarning, record) for record in records)
    return tuple(replace(each, pages=tuple(each.pages)) for each in made)


@cache
def _names(kind: type) -> frozenset[str]:
    return frozenset(field.name for field in fields(kind))
