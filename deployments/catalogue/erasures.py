"""Erasures: requests to remove everything of an owner, or of a document, without a trace.

Jobs does the work, and goes on with it after an interruption. Until an erasure of an owner is
finished, nothing new of that owner is accepted.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from deployments.catalogue.collections import lock_collection
from deployments.catalogue.document_rows import (
    ENTRIES,
    change_counts,
    completed_bytes,
)
from deployments.catalogue.entries import ErasureEntry, Removed
from deployments.catalogue.tables import (
    ATTRIBUTE_CHANGES,
    BATCH_FILES,
    COLLECTIONS,
    DOCUMENTS,
    ERASURES,
    FILES,
    REMOVALS,
    USAGE,
    VERSIONS,
)
from deployments.catalogue.usage import change_usage, check_not_being_erased
from deployments.catalogue.waiting_files import IS_WAITING
from deployments.collection_names import full_name, owner_of
from deployments.document_ids import check_document_id
from deployments.errors import NotFound, Overloaded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.catalogue.database import Database

_UNFINISHED = 100  # of the documents of an owner
_KEPT = 1000  # finished ones, of the documents of an owner
_COUNTS = ("collections", "documents", "versions", "files", "jobs", "size_bytes")


class Erasures:
    """The erasures of all owners; collections by their full names."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def request(
        self, owner: str, collection: str | None = None, document_id: str | None = None
    ) -> ErasureEntry:
        """Ask for the erasure of a document, or of everything of the owner, and return it.

        An unfinished one of the same is returned. Raises, for a document, InvalidRequest if that is
        not the id of one, Conflict while everything of its owner is being erased, and Overloaded if
        many others are.
        """
        if document_id is not None:
            check_document_id(document_id)
        same = sa.and_(
            ERASURES.c.owner == owner,
            ERASURES.c.finished_ms.is_(None),
            ERASURES.c.collection.is_not_distinct_from(collection),
            ERASURES.c.document_id.is_not_distinct_from(document_id),
        )

        def request(connection: sa.Connection) -> ErasureEntry:
            change_usage(connection, owner)  # locks the row: see `check_not_being_erased`
            row = connection.execute(ERASURES.select().where(same)).first()
            if row is not None:
                return _entry(row)
            if document_id is not None:
                check_not_being_erased(connection, owner)
                _check_room(connection, owner)
            insert = ERASURES.insert().values(
                id=_new_id(),
                owner=owner,
                collection=collection,
                document_id=document_id,
                created_ms=time.time_ns() // 1_000_000,
                claimed_ms=0,
            )
            return _entry(connection.execute(insert.returning(*ERASURES.c)).one())

        return await self._database.write(request)

    async def get(self, owner: str, erasure_id: str) -> ErasureEntry:
        """Find an erasure; raise NotFound."""
        select = ERASURES.select().where(ERASURES.c.id == erasure_id, ERASURES.c.owner == owner)
        row = await self._database.read(lambda connection: connection.execute(select).first())
        if row is None:
            msg = "there is no such erasure"
            raise NotFound(msg, param="erasure_id")
        return _entry(row)

    async def check_accepted(self, owner: str) -> None:
        """Raise Conflict while everything of an owner is being erased."""
        await self._database.read(lambda connection: check_not_being_erased(connection, owner))

    async def claim(self, age_s: float, limit: int) -> list[ErasureEntry]:
        """Claim unfinished erasures that were last claimed at least this long ago.

        Those that were never claimed come first, so that failing ones cannot keep them waiting. Of
        several callers at once, one gets each.
        """
        now_ms = time.time_ns() // 1_000_000
        pending = (
            ERASURES.select()
            .where(
                ERASURES.c.finished_ms.is_(None),
                ERASURES.c.claimed_ms <= now_ms - int(age_s * 1000),
            )
            .order_by(ERASURES.c.claimed_ms, ERASURES.c.created_ms)
            .limit(limit)
        )
        locked = pending.with_for_update(skip_locked=True)

        def claim(connection: sa.Connection) -> list[ErasureEntry]:
            claimed = list(map(_entry, connection.execute(locked).all()))
            connection.execute(_update(claimed).values(claimed_ms=now_ms))
            return claimed

        # Read first: on SQLite, a transaction that writes would wait for all others.
        found = await self._database.read(lambda connection: connection.execute(pending).first())
        return [] if found is None else await self._database.write(claim)

    async def renew(self, erasures: Sequence[ErasureEntry]) -> None:
        """Keep the claims."""
        update = _update(erasures).values(claimed_ms=time.time_ns() // 1_000_000)
        await self._database.write(lambda connection: connection.execute(update))

    async def count(self, erasure: ErasureEntry, **removed: int) -> None:
        """Add to the numbers of what was removed."""
        await self._database.write(lambda connection: _count(connection, erasure, **removed))

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
        """Remove some documents, files or a collection of the owner; return whether any existed."""
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
                return _remove_files(connection, erasure, FILES.c.id.in_(ids))
            # Also a hidden one, whose removal goes on at the same time.
            lock = sa.select(COLLECTIONS.c.id).where(COLLECTIONS.c.id == collection)
            if connection.execute(lock.with_for_update()).first() is None:
                return True  # another transaction has removed it meanwhile
            select = sa.select(DOCUMENTS.c.id).where(DOCUMENTS.c.collection == collection)
            documents = connection.scalars(select.limit(limit)).all()
            if not _remove(connection, erasure, collection, documents):
                connection.execute(COLLECTIONS.delete().where(COLLECTIONS.c.id == collection))
                change_usage(connection, erasure.owner, collections=-1)
                _count(connection, erasure, collections=1)
            return True

        return await self._database.write(remove)

    async def forget(self, erasure: ErasureEntry) -> None:
        """Remove what else is known of the owner: counts, removals and other erasures."""
        own, changes = (
            table.c.collection.startswith(full_name(erasure.owner, ""), autoescape=True)
            if erasure.owner
            else table.c.collection.not_like("%.%")
            for table in (REMOVALS, ATTRIBUTE_CHANGES)
        )
        zero = {each.name: 0 for each in USAGE.c if not each.primary_key}
        others = ERASURES.c.owner == erasure.owner, ERASURES.c.id != erasure.id

        def forget(connection: sa.Connection) -> None:
            connection.execute(USAGE.update().where(USAGE.c.owner == erasure.owner).values(zero))
            connection.execute(REMOVALS.delete().where(own))
            connection.execute(ATTRIBUTE_CHANGES.delete().where(changes))
            connection.execute(ERASURES.delete().where(*others))  # they name collections

        await self._database.write(forget)

    async def finish(self, erasure: ErasureEntry) -> None:
        """Record that everything is removed: the owner is free to add new things.

        Of the erasures of documents, the newest are kept.
        """
        update = _update([erasure]).values(finished_ms=time.time_ns() // 1_000_000)
        of_documents = sa.and_(
            ERASURES.c.owner == erasure.owner,
            ERASURES.c.document_id.is_not(None),
            ERASURES.c.finished_ms.is_not(None),
        )
        oldest = (
            sa.select(ERASURES.c.id)
            .where(of_documents)
            .order_by(ERASURES.c.id.desc())
            .offset(_KEPT)
            .limit(1)
            .scalar_subquery()
        )
        delete = ERASURES.delete().where(of_documents, ERASURES.c.id <= oldest)

        def finish(connection: sa.Connection) -> None:
            connection.execute(update)
            connection.execute(delete)

        await self._database.write(finish)


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
    _count(connection, erasure, documents=len(rows), versions=versions or 0, size_bytes=size_bytes)
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
    _count(connection, erasure, files=len(sizes), size_bytes=size_bytes)
    return True


def _count(connection: sa.Connection, erasure: ErasureEntry, **removed: int) -> None:
    values: dict[str, Any] = {name: ERASURES.c[name] + number for name, number in removed.items()}
    values["claimed_ms"] = time.time_ns() // 1_000_000
    connection.execute(_update([erasure]).values(values))


def _update(erasures: Sequence[ErasureEntry]) -> sa.Update:
    return ERASURES.update().where(ERASURES.c.id.in_([erasure.id for erasure in erasures]))


def _check_room(connection: sa.Connection, owner: str) -> None:
    select = sa.select(sa.func.count()).where(
        ERASURES.c.owner == owner, ERASURES.c.finished_ms.is_(None)
    )
    if (connection.scalar(select) or 0) >= _UNFINISHED:
        msg = f"{_UNFINISHED} documents are being erased already: try again in a minute"
        raise Overloaded(msg)


def _entry(row: Any) -> ErasureEntry:  # noqa: ANN401 - a row of the table
    return ErasureEntry(
        row.id,
        row.owner,
        row.created_ms / 1000,
        row.collection,
        row.document_id,
        None if row.finished_ms is None else row.finished_ms / 1000,
        Removed(*(getattr(row, name) for name in _COUNTS)),
    )


def _new_id() -> str:
    return f"era_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"
