"""Changes of attributes that the vector store may not have yet: an outbox."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from deployments.catalogue.backups import is_held
from deployments.catalogue.clock import now_ms
from deployments.catalogue.document_rows import is_document
from deployments.catalogue.tables import ATTRIBUTE_CHANGES, DOCUMENTS
from deployments.filters import same_attributes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from deployments.catalogue.database import Database
    from deployments.filters import Attributes


@dataclass(frozen=True, slots=True)
class AttributeChange:
    """A document whose attributes must be written to its vectors, as they are then."""

    id: str
    collection: str
    document_id: str


class AttributeChanges:
    """The changes of all owners.

    Each has an id of its own: one that is being written does not end another that came meanwhile.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of_document(self, collection: str, document_id: str) -> list[AttributeChange]:
        """List the changes of a document."""
        select = ATTRIBUTE_CHANGES.select().where(
            ATTRIBUTE_CHANGES.c.collection == collection,
            ATTRIBUTE_CHANGES.c.document_id == document_id,
        )
        rows = await self._database.read(lambda connection: connection.execute(select).all())
        return [AttributeChange(row.id, row.collection, row.document_id) for row in rows]

    async def claim(self, age_s: float) -> AttributeChange | None:
        """Claim a change that was added, or last claimed, at least this long ago.

        Of several callers at once, one gets it.
        """
        now = now_ms()
        pending = (
            ATTRIBUTE_CHANGES.select()
            .where(ATTRIBUTE_CHANGES.c.created_ms <= now - int(age_s * 1000))
            .order_by(ATTRIBUTE_CHANGES.c.created_ms)
            .limit(1)
            .with_for_update(skip_locked=True)
        )

        def claim(connection: sa.Connection) -> AttributeChange | None:
            row = connection.execute(pending).first()
            if row is None:
                return None
            claimed = ATTRIBUTE_CHANGES.update().where(ATTRIBUTE_CHANGES.c.id == row.id)
            connection.execute(claimed.values(created_ms=now))
            return AttributeChange(row.id, row.collection, row.document_id)

        return await self._database.write(claim)

    async def done(self, changes: Sequence[AttributeChange]) -> None:
        """Forget changes: the vectors have them, or do not exist any more.

        While a backup is taken they stay, and are written again: it needs them, as its vectors may
        have attributes that are newer than its database.
        """
        ids = [change.id for change in changes]
        delete = ATTRIBUTE_CHANGES.delete().where(ATTRIBUTE_CHANGES.c.id.in_(ids))

        def done(connection: sa.Connection) -> None:
            if not is_held(connection):
                connection.execute(delete)

        await self._database.write(done)

    async def all(self) -> list[tuple[str, str]]:
        """List the collections and ids of all documents with changes."""
        select = sa.select(ATTRIBUTE_CHANGES.c.collection, ATTRIBUTE_CHANGES.c.document_id)
        rows = await self._database.read(
            lambda connection: connection.execute(select.distinct()).all()
        )
        return [(row.collection, row.document_id) for row in rows]


def add_changes(connection: sa.Connection, documents: Iterable[tuple[str, str]]) -> None:
    """Add changes of documents, by collection and id, whose vectors may have other attributes.

    Jobs writes them at its start.
    """
    for collection, document_id in documents:
        _add_change(connection, collection, document_id, created_ms=0)


def set_attributes(
    connection: sa.Connection, collection: str, document_id: str, attributes: Attributes
) -> None:
    """Set the attributes of a document in a locked collection, and add the change if it is one."""
    where = is_document(collection, document_id)
    before = connection.scalar(sa.select(DOCUMENTS.c.attributes).where(where))
    if before is None or same_attributes(before, attributes):
        return
    connection.execute(DOCUMENTS.update().where(where).values(attributes=dict(attributes)))
    _add_change(connection, collection, document_id, created_ms=now_ms())


def _add_change(
    connection: sa.Connection, collection: str, document_id: str, *, created_ms: int
) -> None:
    connection.execute(
        ATTRIBUTE_CHANGES.insert().values(
            id=uuid.uuid4().hex,
            collection=collection,
            document_id=document_id,
            created_ms=created_ms,
        )
    )
