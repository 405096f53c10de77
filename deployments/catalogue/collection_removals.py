"""Removals of collections: hidden at once, then removed in short transactions.

A large collection would otherwise hold the lock of the database for many seconds.
"""

from __future__ import annotations

import sqlalchemy as sa

from deployments.catalogue.expiry import REMOVED_MS
from deployments.catalogue.removals import Removal, add_removal
from deployments.catalogue.tables import BATCHES, COLLECTIONS, CURRENT, DOCUMENTS, VERSIONS
from deployments.catalogue.usage import change_usage
from deployments.collection_names import owner_of

_DOCUMENTS_AT_ONCE = 2000  # 40 ms on SQLite


def hide_collection(connection: sa.Connection, collection: str) -> None:
    """Make a locked collection look as if it were removed."""
    update = COLLECTIONS.update().where(COLLECTIONS.c.id == collection)
    connection.execute(update.values(expires_ms=REMOVED_MS))


def remove_some(connection: sa.Connection, collection: str) -> bool:
    """Remove some documents of a hidden collection, and with the last ones the collection.

    Return whether anything is left.
    """
    lock = sa.select(COLLECTIONS.c.id).where(COLLECTIONS.c.id == collection).with_for_update()
    if connection.execute(lock).first() is None:
        return False
    owner = owner_of(collection)
    # A batch has so many files that one is enough for a transaction.
    in_collection = sa.select(BATCHES.c.id).where(BATCHES.c.collection == collection)
    batches = connection.scalars(in_collection.limit(2)).all()
    connection.execute(BATCHES.delete().where(BATCHES.c.id.in_(batches[:1])))
    select = (
        sa.select(DOCUMENTS.c.id, VERSIONS.c.size_bytes)
        .join(VERSIONS, CURRENT)
        .where(DOCUMENTS.c.collection == collection)
        .limit(_DOCUMENTS_AT_ONCE)
    )
    rows = connection.execute(select).all()
    which = DOCUMENTS.c.collection == collection, DOCUMENTS.c.id.in_([row.id for row in rows])
    connection.execute(DOCUMENTS.delete().where(*which))
    size_bytes = sum(row.size_bytes for row in rows)
    change_usage(connection, owner, documents=-len(rows), size_bytes=-size_bytes)
    if len(rows) == _DOCUMENTS_AT_ONCE or len(batches) > 1:
        return True
    connection.execute(COLLECTIONS.delete().where(COLLECTIONS.c.id == collection))
    change_usage(connection, owner, collections=-1)
    add_removal(connection, Removal(collection))
    return False
