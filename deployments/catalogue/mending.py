"""Changes by which the doctor mends the catalogue; each is one transaction and may be repeated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from deployments.catalogue.collections import lock_collection
from deployments.catalogue.document_rows import (
    find_document,
    find_version,
    is_version,
    show_version,
)
from deployments.catalogue.entries import DocumentStatus, VersionStatus
from deployments.catalogue.recounts import COUNTED, real_counts, real_usage
from deployments.catalogue.removals import Removal, add_removal
from deployments.catalogue.second_indexes import _ONLY as ONLY_SECOND
from deployments.catalogue.second_indexes import INDEXES
from deployments.catalogue.statements import insert_missing
from deployments.catalogue.tables import COLLECTIONS, CURRENT, DOCUMENTS, USAGE, VERSIONS
from deployments.catalogue.usage import USED

if TYPE_CHECKING:
    from collections.abc import Collection

    from deployments.catalogue.database import Database
    from deployments.types import Document


class Mending:
    """Mends the rows of all owners."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def recount(self, collection: str) -> None:
        """Count the documents of a collection again."""
        select = (
            sa.select(*real_counts())
            .select_from(DOCUMENTS)
            .join(VERSIONS, CURRENT)
            .where(DOCUMENTS.c.collection == collection)
        )

        def recount(connection: sa.Connection) -> None:
            if not lock_collection(connection, collection):
                return
            found = connection.execute(select).one()
            connection.execute(
                COLLECTIONS.update()
                .where(COLLECTIONS.c.id == collection)
                .values({name: getattr(found, f"{name}_real") for name in COUNTED})
            )

        await self._database.write(recount)

    async def recount_usage(self, owner: str) -> None:
        """Count what an owner has again."""

        def recount(connection: sa.Connection) -> None:
            insert_missing(connection, USAGE, owner=owner)
            # A transaction that has changed something waits for this lock before it commits, and
            # adds its change to the new counts.
            lock = sa.select(USAGE.c.owner).where(USAGE.c.owner == owner).with_for_update()
            connection.execute(lock)
            found = connection.execute(real_usage(owner)).one()
            connection.execute(
                USAGE.update()
                .where(USAGE.c.owner == owner)
                .values({name: getattr(found, name) for name in USED})
            )

        await self._database.write(recount)

    async def fail(self, document: Document, code: str, message: str) -> bool:
        """End the current version of a document as failed; return whether it still was current.

        Then the same file can be uploaded again.
        """

        def fail(connection: sa.Connection) -> bool:
            if not lock_collection(connection, document.collection):
                return False
            found = find_document(connection, DOCUMENTS.c.id == document.id, document.collection)
            version = found and find_version(connection, document)
            if not version or version.status != VersionStatus.COMPLETED.value:
                return False
            connection.execute(
                VERSIONS.update()
                .where(is_version(document))
                .values(status=VersionStatus.FAILED.value, error_code=code, error_message=message)
            )
            show_version(connection, found, document.version, DocumentStatus.FAILED)
            return True

        return await self._database.write(fail)

    async def correct_pair(self, document: Document, whole_in: Collection[str]) -> bool:
        """Mark a version as being in those indexes of its collection that have it whole.

        The change of the embedding model copies it into the other one. Return whether one has it.
        """

        def correct(connection: sa.Connection) -> bool:
            if not lock_collection(connection, document.collection):
                return False
            select = sa.select(*INDEXES).where(COLLECTIONS.c.id == document.collection)
            row = connection.execute(select).one()
            in_first = row.index_name in whole_in
            in_second = row.pair is not None and row.other_index_name in whole_in
            mark = None
            if in_second:
                mark = row.pair if in_first else row.pair + ONLY_SECOND
            if in_first or in_second:
                connection.execute(VERSIONS.update().where(is_version(document)).values(pair=mark))
            return in_first or in_second

        return await self._database.write(correct)

    async def begin_removal(self, collection: str, document_id: str | None) -> bool:
        """Add a removal of what the catalogue does not know; return False if it knows it.

        Until the removal is done, nothing new of this name is accepted.
        """

        def begin(connection: sa.Connection) -> bool:
            select = sa.select(COLLECTIONS.c.id).where(COLLECTIONS.c.id == collection)
            known = connection.scalar(select.with_for_update())
            if document_id is not None and known is not None:
                of_document = DOCUMENTS.c.id == document_id
                known = find_document(connection, of_document, collection)
            if known is not None:
                return False
            add_removal(connection, Removal(collection, document_id))
            return True

        return await self._database.write(begin)
