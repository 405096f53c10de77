"""Documents of collections: find, list, rename and remove them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from deployments.catalogue.attribute_changes import set_attributes
from deployments.catalogue.collections import lock_collection
from deployments.catalogue.document_rows import (
    ENTRIES,
    change_counts,
    completed_bytes,
    entry_of,
    find_document,
    is_document,
    name_taken,
    unknown_document,
)
from deployments.catalogue.entries import CurrentVersion, DocumentEntry, DocumentStatus, EntryPage
from deployments.catalogue.removals import Removal, add_removal
from deployments.catalogue.statements import page_of
from deployments.catalogue.tables import COLLECTIONS, DOCUMENTS
from deployments.catalogue.usage import change_usage
from deployments.catalogue.waiting_files import cancel_waiting, set_waiting_attributes
from deployments.collection_names import owner_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.catalogue.database import Database
    from deployments.catalogue.entries import PageQuery
    from deployments.filters import Attributes


class Documents:
    """The documents of all collections, each shown in its current version.

    `Versions` adds them.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, collection: str, document_id: str) -> DocumentEntry:
        """Find a document of any status; raise NotFound."""
        select = ENTRIES.where(is_document(collection, document_id))
        row = await self._database.read(lambda connection: connection.execute(select).first())
        if row is None:
            raise unknown_document()
        return entry_of(row)

    async def with_name(self, collection: str, name: str) -> DocumentEntry | None:
        """Return the document with a name, of any status; None if there is none."""
        select = ENTRIES.where(DOCUMENTS.c.collection == collection, DOCUMENTS.c.name == name)
        row = await self._database.read(lambda connection: connection.execute(select).first())
        return None if row is None else entry_of(row)

    async def page(
        self, collection: str, query: PageQuery, status: DocumentStatus | None = None
    ) -> EntryPage[DocumentEntry]:
        """List the documents of a collection; there are none in an unknown one."""
        select = ENTRIES.where(DOCUMENTS.c.collection == collection)
        if status is not None:
            select = select.where(DOCUMENTS.c.status == status.value)
        after = None if query.after is None else (query.after,)
        rows, more = await self._database.read(
            lambda connection: page_of(connection, select, (DOCUMENTS.c.id,), after, query)
        )
        return EntryPage(tuple(map(entry_of, rows)), more)

    async def current(
        self, collection: str, document_ids: Sequence[str]
    ) -> dict[str, CurrentVersion]:
        """Return the current versions of completed documents, by id; others are left out."""
        select = ENTRIES.where(
            DOCUMENTS.c.collection == collection,
            DOCUMENTS.c.id.in_(document_ids),
            DOCUMENTS.c.status == DocumentStatus.COMPLETED.value,
        )
        rows = await self._database.read(lambda connection: connection.execute(select).all())
        return {
            row.id: CurrentVersion(row.number, row.document_name or row.filename, row.attributes)
            for row in rows
        }

    async def attributes(self, collection: str, document_id: str) -> Attributes | None:
        """Return the attributes of a document of any status; None if it does not exist."""
        select = sa.select(DOCUMENTS.c.attributes).where(is_document(collection, document_id))
        return await self._database.read(lambda connection: connection.scalar(select))

    async def collections_of(self, owner: str, document_id: str) -> list[str]:
        """Name the collections of an owner that have a document with this id."""
        select = (
            sa.select(DOCUMENTS.c.collection)
            .join(COLLECTIONS, COLLECTIONS.c.id == DOCUMENTS.c.collection)
            .where(DOCUMENTS.c.id == document_id, COLLECTIONS.c.owner == owner)
        )
        return await self._database.read(lambda connection: list(connection.scalars(select).all()))

    async def rename(self, collection: str, document_id: str, name: str) -> DocumentEntry:
        """Give a document another name; raise NotFound, or Conflict if another one has it."""

        def rename(connection: sa.Connection) -> DocumentEntry:
            lock_collection(connection, collection)
            named = find_document(connection, DOCUMENTS.c.name == name, collection)
            if named is not None and named.id != document_id:
                raise name_taken(name)
            connection.execute(
                DOCUMENTS.update().where(is_document(collection, document_id)).values(name=name)
            )
            row = connection.execute(ENTRIES.where(is_document(collection, document_id))).first()
            if row is None:
                raise unknown_document()
            return entry_of(row)

        return await self._database.write(rename)

    async def set_attributes(
        self, collection: str, document_id: str, attributes: Attributes
    ) -> DocumentEntry:
        """Replace the attributes of a document; raise NotFound.

        `Catalogue.attribute_changes` has the change until its vectors have it.
        """

        def change(connection: sa.Connection) -> DocumentEntry:
            lock_collection(connection, collection)
            set_waiting_attributes(connection, collection, document_id, attributes)
            set_attributes(connection, collection, document_id, attributes)
            row = connection.execute(ENTRIES.where(is_document(collection, document_id))).first()
            if row is None:
                raise unknown_document()
            return entry_of(row)

        return await self._database.write(change)

    async def remove(self, collection: str, document_id: str) -> bool:
        """Remove a document with all its versions and return whether it existed.

        Files of batches that wait to become it are cancelled.

        `Catalogue.removals` has it until its vectors are deleted.
        """

        def remove(connection: sa.Connection) -> bool:
            if not lock_collection(connection, collection):
                return False
            row = connection.execute(ENTRIES.where(is_document(collection, document_id))).first()
            if row is None:
                return False
            connection.execute(DOCUMENTS.delete().where(is_document(collection, document_id)))
            cancel_waiting(connection, collection, document_id)
            change_counts(connection, collection, {row.document_status: -1}, -completed_bytes(row))
            owner = owner_of(collection)
            change_usage(connection, owner, documents=-1, size_bytes=-row.size_bytes)
            add_removal(connection, Removal(collection, document_id))
            return True

        return await self._database.write(remove)
