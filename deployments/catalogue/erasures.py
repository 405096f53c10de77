"""Erasures: requests to remove everything of an owner, or of a document, without a trace.

Jobs does the work, and goes on with it after an interruption. Until an erasure of an owner is
finished, nothing new of that owner is accepted.
"""

from __future__ import annotations

import secrets
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from deployments.catalogue.backups import is_held
from deployments.catalogue.clock import now_ms
from deployments.catalogue.entries import ErasureEntry, Removed
from deployments.catalogue.tables import ERASURES
from deployments.catalogue.usage import change_usage, check_not_being_erased
from deployments.document_ids import check_document_id
from deployments.errors import NotFound, Overloaded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.catalogue.database import Database

_UNFINISHED = 100  # of the documents of an owner
_KEPT = 1000  # finished ones, of the documents of an owner
_COUNTS = tuple(each.name for each in fields(Removed))


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
                created_ms=now_ms(),
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
        several callers at once, one gets each; nobody does while a backup holds removals.
        """
        now = now_ms()
        pending = (
            ERASURES.select()
            .where(
                ERASURES.c.finished_ms.is_(None),
                ERASURES.c.claimed_ms <= now - int(age_s * 1000),
            )
            .order_by(ERASURES.c.claimed_ms, ERASURES.c.created_ms)
            .limit(limit)
        )
        locked = pending.with_for_update(skip_locked=True)

        def claim(connection: sa.Connection) -> list[ErasureEntry]:
            claimed = list(map(_entry, connection.execute(locked).all()))
            connection.execute(_update(claimed).values(claimed_ms=now))
            return claimed

        # Read first: on SQLite, a write transaction would wait for all others.
        found = await self._database.read(
            lambda connection: not is_held(connection) and connection.execute(pending).first()
        )
        return await self._database.write(claim) if found else []

    async def any_since(self, time_ms: int) -> bool:
        """Return whether an erasure is under way, or was finished after a time."""
        finished = ERASURES.c.finished_ms
        select = sa.select(ERASURES.c.id).where(sa.or_(finished.is_(None), finished >= time_ms))
        found = await self._database.read(
            lambda connection: connection.execute(select.limit(1)).first()
        )
        return found is not None

    async def renew(self, erasures: Sequence[ErasureEntry]) -> None:
        """Keep the claims."""
        update = _update(erasures).values(claimed_ms=now_ms())
        await self._database.write(lambda connection: connection.execute(update))

    async def count(self, erasure: ErasureEntry, **removed: int) -> None:
        """Add to the numbers of what was removed."""
        await self._database.write(lambda connection: count_removed(connection, erasure, **removed))

    async def finish(self, erasure: ErasureEntry) -> None:
        """Record that everything is removed: the owner is free to add new things.

        Of the erasures of documents, the newest are kept.
        """
        update = _update([erasure]).values(finished_ms=now_ms())
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


def count_removed(connection: sa.Connection, erasure: ErasureEntry, **removed: int) -> None:
    """Add to the numbers of what an erasure has removed, and renew its claim."""
    values: dict[str, Any] = {name: ERASURES.c[name] + number for name, number in removed.items()}
    values["claimed_ms"] = now_ms()
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
    return f"era_{now_ms():012x}{secrets.token_hex(10)}"
