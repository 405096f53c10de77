"""Backups: a hold on removals while one is taken, and its request for the vectors.

Database, vectors and files cannot be copied in one moment. A backup sets the hold, copies the
database first, and then vectors and files. What that database refers to must stay until then, so
whoever removes something asks for the hold after the transaction that lets go of it: without a
hold, that transaction came before the copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from deployments.catalogue.clock import now_ms
from deployments.catalogue.statements import insert_missing
from deployments.catalogue.tables import IMPORTS
from deployments.errors import Conflict

if TYPE_CHECKING:
    from deployments.catalogue.database import Database

HOLD_S = 120.0
"""The hold of a backup that was killed ends after this time."""

# Rows of a table that holds a number for a name.
_HOLD = "backup"  # until when, in ms
_WANTED = "backup vectors wanted"  # the number of the request
_MADE = "backup vectors made"  # the number of the request, negative if it failed

_UNTIL = sa.select(IMPORTS.c.finished_ms).where(IMPORTS.c.source == _HOLD)


class Backups:
    """At most one backup at a time; Jobs makes the copy of the vectors that it requests."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self) -> int:
        """Hold removals; return the token of the hold. Raise Conflict if another backup does."""
        until = now_ms() + int(HOLD_S * 1000)

        def begin(connection: sa.Connection) -> bool:
            expired = IMPORTS.c.finished_ms <= now_ms()
            connection.execute(IMPORTS.delete().where(IMPORTS.c.source == _HOLD, expired))
            connection.execute(IMPORTS.delete().where(IMPORTS.c.source.in_([_WANTED, _MADE])))
            return insert_missing(connection, IMPORTS, source=_HOLD, finished_ms=until)

        if not await self._database.write(begin):
            msg = f"another backup is under way, or was killed in the last {HOLD_S:.0f} s"
            raise Conflict(msg)
        return until

    async def renew(self, token: int) -> int:
        """Extend the hold; return its next token. Raise Conflict if it has expired."""
        until = now_ms() + int(HOLD_S * 1000)
        update = (
            IMPORTS.update()
            .where(IMPORTS.c.source == _HOLD, IMPORTS.c.finished_ms == token)
            .where(IMPORTS.c.finished_ms > now_ms())
            .values(finished_ms=until)
        )
        if not await self._database.write(lambda connection: connection.execute(update).rowcount):
            msg = "the backup was interrupted for too long, and must be repeated"
            raise Conflict(msg)
        return until

    async def end(self, token: int) -> None:
        """End the hold, unless it has expired and another backup has begun."""
        own = sa.and_(IMPORTS.c.source == _HOLD, IMPORTS.c.finished_ms == token)
        await self._database.write(
            lambda connection: connection.execute(IMPORTS.delete().where(own))
        )

    async def want_vectors(self) -> int:
        """Request a copy of the vectors; return the number of the request."""
        number = now_ms()
        await self._set(_WANTED, number)
        return number

    async def wanted(self) -> int | None:
        """Return the number of the request that nobody has answered; None if there is none."""

        def read(connection: sa.Connection) -> int | None:
            if not is_held(connection):
                return None
            number, made = _number(connection, _WANTED), _number(connection, _MADE)
            return number if number is not None and abs(made or 0) != number else None

        return await self._database.read(read)

    async def set_made(self, number: int, *, made: bool) -> None:
        """Answer a request: the copy is made, or failed."""
        await self._set(_MADE, number if made else -number)

    async def made(self, number: int) -> bool | None:
        """Return whether the requested copy is made; None while nobody has answered."""
        found = await self._database.read(lambda connection: _number(connection, _MADE))
        return None if found is None or abs(found) != number else found > 0

    async def _set(self, name: str, number: int) -> None:
        def write(connection: sa.Connection) -> None:
            connection.execute(IMPORTS.delete().where(IMPORTS.c.source == name))
            insert_missing(connection, IMPORTS, source=name, finished_ms=number)

        await self._database.write(write)


def is_held(connection: sa.Connection) -> bool:
    """Return whether a backup holds removals."""
    until = connection.scalar(_UNTIL)
    return until is not None and until > now_ms()


def forget_backup(connection: sa.Connection) -> None:
    """Remove the rows of the backup that a restored database was copied by."""
    rows = IMPORTS.c.source.in_([_HOLD, _WANTED, _MADE])
    connection.execute(IMPORTS.delete().where(rows))


def _number(connection: sa.Connection, name: str) -> int | None:
    select = sa.select(IMPORTS.c.finished_ms).where(IMPORTS.c.source == name)
    number: int | None = connection.scalar(select)
    return number
