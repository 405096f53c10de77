"""Rows that erasures remove: documents, files, collections, and what else names an owner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from deployments.catalogue.collections import lock_collection
from deployments.catalogue.conversations import remove_conversations
from deployments.catalogue.document_rows import (
    ENTRIES,
    change_counts,
    completed_bytes,
)
from deployments.catalogue.erasures import count_removed
from deployments.catalogue.removals import of_kept_files
from deployments.catalogue.response_rows import remove_responses
from deployments.catalogue.tables import (
    ATTRIBUTE_CHANGES,
    BATCH_FILES,
    COLLECTIONS,
    CONVERSATIONS,
    DOCUMENTS,
    ERASURES,
    FILES,
    REMOVALS,
    RESPONSES,
    USAGE,
    VERSIONS,
)
from deployments.catalogue.usage import change_usage
from deployments.catalogue.waiting_files import IS_WAITING
from deployments.collection_names import full_name, owner_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.catalogue.database import Database
    from deployments.catalogue.entries import ErasureEntry


class ErasedRows:
    """Removes rows, a limited number in each transaction, and counts them in the erasure."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def remove_document(self, erasure: ErasureEntry) -> bool:
        """Remove the document with all its versions, also from file batches.

        Return whether it existed, or was in a batch.
        """
        collection, document_id = erasure.collection, erasure.document_id
        assert collection is not None  # noqa: S101 - of a document
        assert document_id is not None  # noqa: S101

        def remove(connection: sa.Connection) -> bool:
            if not lock_collection(connection, collection):
                return False
            in_batches = connection.execute(
                BATCH_FILES.delete().where(
                    BATCH_FILES.c.collection == collection,
                    BATCH_FILES.c.document_id == document_id,
                )
            ).rowcount
            return _remove(connection, erasure, collection, [document_id]) + in_batches > 0

        return await self._database.write(remove)

    async def is_in_use(self, owner: str, document_id: str) -> bool:
        """Return whether a collection has the document, or waits for it in a file batch."""
        stored = (
            sa.select(DOCUMENTS.c.id)
            .join(COLLECTIONS, COLLECTIONS.c.id == DOCUMENTS.c.collection)
            .where(DOCUMENTS.c.id == document_id, COLLECTIONS.c.owner == owner)
        )
        waiting = sa.select(BATCH_FILES.c.document_id).where(
            IS_WAITING, BATCH_FILES.c.owner == owner, BATCH_FILES.c.document_id == document_id
        )
        select = sa.select(sa.or_(stored.exists(), waiting.exists()))
        return bool(await self._database.read(lambda connection: connection.scalar(select)))

    async def remove_file(self, erasure: ErasureEntry, file_id: str) -> bool:
        """Remove the entry of a kept file; return whether it existed."""
        which = FILES.c.owner == erasure.owner, FILES.c.id == file_id
        return await self._database.write(
            lambda connection: _remove_files(connection, erasure, sa.and_(*which))
        )

    async def remove_some(self, erasure: ErasureEntry, limit: int) -> bool:
        """Remove some of the owner's data; return whether any existed."""
        collections = (
            sa.select(COLLECTIONS.c.id)
            .where(COLLECTIONS.c.owner == erasure.owner)
            .order_by(COLLECTIONS.c.id)
            .limit(1)
        )

        def remove(connection: sa.Connection) -> bool:
            collection = connection.scalar(collections)
            if collection is None:
                ids = sa.select(FILES.c.id).where(FILES.c.owner == erasure.owner).limit(limit)
                return _remove_files(connection, erasure, FILES.c.id.in_(ids)) or _remove_responses(
                    connection, erasure, limit
                )
            # Also a hidden one, whose removal goes on at the same time.
            lock = sa.select(COLLECTIONS.c.id).where(COLLECTIONS.c.id == collection)
            if connection.execute(lock.with_for_update()).first() is None:
                return True  # another transaction has removed it meanwhile
            select = sa.select(DOCUMENTS.c.id).where(DOCUMENTS.c.collection == collection)
            documents = connection.scalars(select.limit(limit)).all()
            if not _remove(connection, erasure, collection, documents):
                connection.execute(COLLECTIONS.delete().where(COLLECTIONS.c.id == collection))
                change_usage(connection, erasure.owner, collections=-1)
                count_removed(connection, erasure, collections=1)
            return True

        return await self._database.write(remove)

    async def forget(self, erasure: ErasureEntry) -> None:
        """Remove what else is known of the owner: counts, removals and other erasures."""
        own, changes = (
            of_owner(table.c.collection, erasure.owner) for table in (REMOVALS, ATTRIBUTE_CHANGES)
        )
        zero = {each.name: 0 for each in USAGE.c if not each.primary_key}
        others = ERASURES.c.owner == erasure.owner, ERASURES.c.id != erasure.id

        def forget(connection: sa.Connection) -> None:
            connection.execute(USAGE.update().where(USAGE.c.owner == erasure.owner).values(zero))
            connection.execute(REMOVALS.delete().where(own, REMOVALS.c.collection != ""))
            connection.execute(REMOVALS.delete().where(of_kept_files(erasure.owner)))
            connection.execute(ATTRIBUTE_CHANGES.delete().where(changes))
            connection.execute(ERASURES.delete().where(*others))  # they name collections

        await self._database.write(forget)


def of_owner(collection: sa.ColumnElement[str], owner: str) -> sa.ColumnElement[bool]:
    """Match the collections of an owner."""
    if not owner:
        return collection.not_like("%.%")
    return collection.startswith(full_name(owner, ""), autoescape=True)


def _remove(
    connection: sa.Connection, erasure: ErasureEntry, collection: str, ids: Sequence[str]
) -> int:
    """Remove documents of a locked collection, and count them; return how many existed."""
    which = DOCUMENTS.c.collection == collection, DOCUMENTS.c.id.in_(ids)
    rows = connection.execute(ENTRIES.where(*which)).all()
    if not rows:
        return 0
    versions = connection.scalar(
        sa.select(sa.func.count()).where(
            VERSIONS.c.collection == collection, VERSIONS.c.document_id.in_(ids)
        )
    )
    connection.execute(DOCUMENTS.delete().where(*which))
    moved: dict[str, int] = {}
    for row in rows:
        moved[row.document_status] = moved.get(row.document_status, 0) - 1
    change_counts(connection, collection, moved, -sum(map(completed_bytes, rows)))
    size_bytes = sum(row.size_bytes for row in rows)
    change_usage(connection, owner_of(collection), documents=-len(rows), size_bytes=-size_bytes)
    count_removed(
        connection, erasure, documents=len(rows), versions=versions or 0, size_bytes=size_bytes
    )
    return len(rows)


def _remove_files(
    connection: sa.Connection, erasure: ErasureEntry, which: sa.ColumnElement[bool]
) -> bool:
    """Remove the entries of kept files, and count them; return whether there were any."""
    sizes = connection.scalars(FILES.delete().where(which).returning(FILES.c.size_bytes)).all()
    if not sizes:
        return False
    size_bytes = sum(sizes)
    change_usage(connection, erasure.owner, files=-len(sizes), size_bytes=-size_bytes)
    count_removed(connection, erasure, files=len(sizes), size_bytes=size_bytes)
    return True


def _remove_responses(connection: sa.Connection, erasure: ErasureEntry, limit: int) -> bool:
    """Remove some responses and conversations, and count them; return whether any existed."""
    responses, conversations = (
        table.c.id.in_(sa.select(table.c.id).where(table.c.owner == erasure.owner).limit(limit))
        for table in (RESPONSES, CONVERSATIONS)
    )
    removed = remove_responses(connection, responses)
    removed_conversations = remove_conversations(connection, conversations)
    if not removed and not removed_conversations:
        return False
    count_removed(connection, erasure, responses=removed, conversations=removed_conversations)
    return True
