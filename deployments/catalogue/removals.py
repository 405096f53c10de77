"""Outbox of vector deletions for removed collections and documents.

A removal is added in the transaction that removes the rows, so an interruption cannot lose it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from deployments.catalogue.clock import now_ms
from deployments.catalogue.statements import insert_missing
from deployments.catalogue.tables import REMOVALS
from deployments.errors import Conflict

if TYPE_CHECKING:
    from deployments.catalogue.database import Database

_WHOLE_COLLECTION = ""

_REMOVALS_OF = sa.select(REMOVALS.c.collection).where(
    REMOVALS.c.collection == sa.bindparam("of"),
    sa.or_(
        REMOVALS.c.document_id == _WHOLE_COLLECTION,
        REMOVALS.c.document_id == sa.bindparam("document"),
    ),
)


@dataclass(frozen=True, slots=True)
class Removal:
    """A document whose vectors must be deleted, or a whole collection if `document_id` is None."""

    collection: str
    document_id: str | None = None


class Removals:
    """The removals of all owners."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, age_s: float) -> Removal | None:
        """Claim a removal that was added, or last claimed, at least this long ago.

        Of several callers at once, one gets it.
        """
        now = now_ms()
        pending = (
            sa.select(REMOVALS)
            .where(REMOVALS.c.created_ms <= now - int(age_s * 1000))
            .order_by(REMOVALS.c.created_ms)
            .limit(1)
            .with_for_update(skip_locked=True)
        )

        def claim(connection: sa.Connection) -> Removal | None:
            row = connection.execute(pending).first()
            if row is None:
                return None
            removal = Removal(row.collection, row.document_id or None)
            update = REMOVALS.update().where(_is(removal)).values(created_ms=now)
            connection.execute(update)
            return removal

        return await self._database.write(claim)

    async def done(self, removal: Removal) -> None:
        """Forget a removal: the vectors are deleted."""
        delete = REMOVALS.delete().where(_is(removal))
        await self._database.write(lambda connection: connection.execute(delete))


def add_removal(connection: sa.Connection, removal: Removal) -> None:
    """Add a removal to a transaction."""
    insert_missing(
        connection,
        REMOVALS,
        collection=removal.collection,
        document_id=removal.document_id or _WHOLE_COLLECTION,
        created_ms=now_ms(),
    )


def check_not_being_removed(
    connection: sa.Connection, collection: str, document_id: str | None
) -> None:
    """Raise Conflict while vectors are being deleted that would be those of a new document."""
    new = {"of": collection, "document": document_id or _WHOLE_COLLECTION}
    if connection.execute(_REMOVALS_OF, new).first() is not None:
        raise being_deleted()


def being_deleted() -> Conflict:
    """Return the error for what is new and has the name of something that is being deleted."""
    msg = "a document or collection of this name is still being deleted: try again in a minute"
    return Conflict(msg, code="being_deleted")


def _is(removal: Removal) -> sa.ColumnElement[bool]:
    return sa.and_(
        REMOVALS.c.collection == removal.collection,
        REMOVALS.c.document_id == (removal.document_id or _WHOLE_COLLECTION),
    )
