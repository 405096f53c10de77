"""Outbox of deletions: of vectors and contents of what was removed, and of files.

A removal is added in the transaction that removes the rows, so an interruption cannot lose it.
While a backup is taken, all removals wait here. The time of one that was deferred for a backup is
negative until it is claimed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import sqlalchemy as sa

from deployments.catalogue.backups import is_held
from deployments.catalogue.clock import now_ms
from deployments.catalogue.statements import insert_missing
from deployments.catalogue.tables import REMOVALS
from deployments.errors import Conflict
from deployments.file_store import KEPT, folder_of

if TYPE_CHECKING:
    from deployments.catalogue.database import Database

_WHOLE_COLLECTION = ""
_NO_COLLECTION = ""  # of the path of a file
_OF_VERSION = "@"  # between the id of a document and a version

_REMOVALS_OF = sa.select(REMOVALS.c.collection).where(
    REMOVALS.c.collection == sa.bindparam("of"),
    sa.or_(
        REMOVALS.c.document_id == _WHOLE_COLLECTION,
        REMOVALS.c.document_id == sa.bindparam("document"),
    ),
)


@dataclass(frozen=True, slots=True)
class Removal:
    """A document to be deleted, one version of it, or a whole collection if `document_id` is None.

    Or the file, or folder, at a `path` of the file store. Version 0 stands for the contents of
    earlier versions that are not kept any more.
    """

    collection: str
    document_id: str | None = None
    version: int | None = None
    path: str | None = None

    @classmethod
    def of_path(cls, path: str) -> Self:
        """Return the removal of a file, of at most 100 characters."""
        return cls(_NO_COLLECTION, path=path)


class Removals:
    """The removals of all owners."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, age_s: float) -> Removal | None:
        """Claim a removal that was added, or last claimed, at least this long ago.

        Of several callers at once, one gets it; nobody does while a backup holds them.
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
            row = None if is_held(connection) else connection.execute(pending).first()
            if row is None:
                return None
            removal = removal_of(row.collection, row.document_id)
            update = REMOVALS.update().where(_is(removal)).values(created_ms=now)
            connection.execute(update)
            return removal

        return await self._database.write(claim)

    async def done(self, removal: Removal) -> None:
        """Forget a removal that was carried out; a backup that has begun meanwhile may hold it.

        One that was deferred since it was claimed stays, also if the backup has ended.
        """

        def done(connection: sa.Connection) -> None:
            if not is_held(connection):
                carried_out = REMOVALS.c.created_ms >= 0
                connection.execute(REMOVALS.delete().where(_is(removal), carried_out))

        await self._database.write(done)

    async def begin(self, removal: Removal) -> bool:
        """Claim a removal, however old it is; return False while a backup holds it."""
        update = REMOVALS.update().where(_is(removal)).values(created_ms=now_ms())

        def begin(connection: sa.Connection) -> bool:
            if is_held(connection):
                return False
            connection.execute(update)
            return True

        return await self._database.write(begin)

    async def held(self) -> bool:
        """Return whether a backup holds removals: what can be removed another time must wait."""
        return await self._database.read(is_held)

    async def deferred(self, *removals: Removal) -> bool:
        """Add removals if a backup holds them, for Jobs to carry out; return whether it does."""
        if not await self.held():
            return False

        def add(connection: sa.Connection) -> None:
            for removal in removals:
                add_removal(connection, removal)
                update = REMOVALS.update().where(_is(removal))
                connection.execute(update.values(created_ms=-now_ms()))

        await self._database.write(add)
        return True


def add_removal(connection: sa.Connection, removal: Removal) -> None:
    """Add a removal to a transaction."""
    insert_missing(
        connection,
        REMOVALS,
        collection=removal.collection,
        document_id=_key(removal),
        created_ms=now_ms(),
    )


def check_not_being_removed(
    connection: sa.Connection, collection: str, document_id: str | None
) -> None:
    """Raise Conflict while vectors are being deleted that would be those of a new document."""
    new = {"of": collection, "document": document_id or _WHOLE_COLLECTION}
    if connection.execute(_REMOVALS_OF, new).first() is not None:
        raise being_deleted()


def of_versions(collection: str, document_id: str) -> sa.Select[str]:
    """Select the keys of the removals of versions of a document; see `removal_of`."""
    return sa.select(REMOVALS.c.document_id).where(
        REMOVALS.c.collection == collection,
        REMOVALS.c.document_id.startswith(f"{document_id}{_OF_VERSION}", autoescape=True),
    )


def of_kept_files(owner: str) -> sa.ColumnElement[bool]:
    """Match the removals of the kept files of an owner."""
    below = folder_of(KEPT, owner) + "/"
    return sa.and_(
        REMOVALS.c.collection == _NO_COLLECTION,
        REMOVALS.c.document_id.startswith(below, autoescape=True),
    )


def being_deleted() -> Conflict:
    """Return the error for what is new and has the name of something that is being deleted."""
    msg = "a document or collection of this name is still being deleted: try again in a minute"
    return Conflict(msg, code="being_deleted")


def _is(removal: Removal) -> sa.ColumnElement[bool]:
    return sa.and_(
        REMOVALS.c.collection == removal.collection,
        REMOVALS.c.document_id == _key(removal),
    )


def _key(removal: Removal) -> str:
    """Return what stands in the column of the document."""
    if removal.path is not None:
        return removal.path
    if removal.version is not None:
        return f"{removal.document_id}{_OF_VERSION}{removal.version}"
    return removal.document_id or _WHOLE_COLLECTION


def removal_of(collection: str, key: str) -> Removal:
    """Return the removal of a row: `key` is what stands in the column of the document."""
    if collection == _NO_COLLECTION:
        return Removal.of_path(key)
    document_id, _, version = key.partition(_OF_VERSION)
    return Removal(collection, document_id or None, int(version) if version else None)
