"""Counts of collections and owners, computed from what there is."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from deployments.catalogue.document_rows import ENTRIES
from deployments.catalogue.tables import (
    COLLECTIONS,
    CONVERSATIONS,
    CURRENT,
    DOCUMENTS,
    FILES,
    RESPONSES,
    USAGE,
    VERSIONS,
)
from deployments.catalogue.usage import USED

_STATUSES = ("in_progress", "completed", "failed", "cancelled")
COUNTED = (*_STATUSES, "size_bytes")
"""The counts of a collection."""


def real_counts() -> list[sa.Label[Any]]:
    """Return what the counts of a collection should be, as columns of a grouped join."""
    completed = DOCUMENTS.c.status == "completed"
    return [
        *(
            sa.func.coalesce(
                sa.func.sum(sa.case((DOCUMENTS.c.status == status, 1), else_=0)), 0
            ).label(f"{status}_real")
            for status in _STATUSES
        ),
        sa.func.coalesce(
            sa.func.sum(sa.case((completed, VERSIONS.c.size_bytes), else_=0)), 0
        ).label("size_bytes_real"),
    ]


def counts_of(some: sa.Subquery) -> sa.Select[Any]:
    """Select the counts of some collections, as they are kept and as they should be (`_real`)."""
    kept = [some.c.id, *(some.c[name] for name in COUNTED)]
    return (
        sa.select(*kept, *real_counts())
        .select_from(some)
        .outerjoin(DOCUMENTS, DOCUMENTS.c.collection == some.c.id)
        .outerjoin(VERSIONS, CURRENT)
        .group_by(*kept)
    )


def real_usage(owner: str) -> sa.Select[Any]:
    """Select, in one row, what an owner has and what is counted (`_kept`)."""
    documents = ENTRIES.join(COLLECTIONS, COLLECTIONS.c.id == DOCUMENTS.c.collection)
    own = documents.where(COLLECTIONS.c.owner == owner)
    files = FILES.c.owner == owner
    responses, conversations = RESPONSES.c.owner == owner, CONVERSATIONS.c.owner == owner

    def one(column: Any, which: sa.ColumnElement[bool]) -> Any:  # noqa: ANN401 - expressions
        return sa.select(column).where(which).scalar_subquery()

    def total(of: sa.Select[Any]) -> Any:  # noqa: ANN401 - an expression
        return of.scalar_subquery()

    size = sa.func.coalesce(sa.func.sum(VERSIONS.c.size_bytes), 0)
    kept_size = sa.func.coalesce(sa.func.sum(FILES.c.size_bytes), 0)
    return sa.select(
        one(sa.func.count(), COLLECTIONS.c.owner == owner).label("collections"),
        total(own.with_only_columns(sa.func.count())).label("documents"),
        one(sa.func.count(), files).label("files"),
        (total(own.with_only_columns(size)) + one(kept_size, files)).label("size_bytes"),
        one(sa.func.count(), responses).label("responses"),
        one(sa.func.count(), conversations).label("conversations"),
        (
            one(sa.func.coalesce(sa.func.sum(RESPONSES.c.size_bytes), 0), responses)
            + one(sa.func.coalesce(sa.func.sum(CONVERSATIONS.c.size_bytes), 0), conversations)
        ).label("responses_bytes"),
        *(
            sa.func.coalesce(one(USAGE.c[name], USAGE.c.owner == owner), 0).label(f"{name}_kept")
            for name in USED
        ),
    )
