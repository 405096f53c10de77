"""How far a change of all documents is."""

from __future__ import annotations

import sqlalchemy as sa

from deployments.catalogue.entries import DocumentStatus
from deployments.catalogue.expiry import NOT_REMOVED
from deployments.catalogue.tables import COLLECTIONS, CURRENT, DOCUMENTS, VERSIONS


def count_done(
    connection: sa.Connection, done: sa.ColumnElement[bool], *which: sa.ColumnElement[bool]
) -> tuple[int, int, int, int]:
    """Count completed documents and those that are `done`, then the chunks of both."""
    is_done = sa.case((done, 1), else_=0)
    counts = (
        sa.select(
            sa.func.count(),
            sa.func.sum(is_done),
            sa.func.sum(VERSIONS.c.chunks),
            sa.func.sum(is_done * VERSIONS.c.chunks),
        )
        .select_from(DOCUMENTS)
        .join(VERSIONS, CURRENT)
        .join(COLLECTIONS, COLLECTIONS.c.id == DOCUMENTS.c.collection)
        .where(DOCUMENTS.c.status == DocumentStatus.COMPLETED.value, NOT_REMOVED, *which)
    )
    documents, done_documents, chunks, done_chunks = connection.execute(counts).one()
    return documents, done_documents or 0, chunks or 0, done_chunks or 0
