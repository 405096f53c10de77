"""Backups: a hold on removals while one is taken, and its request for the vectors.

Database, vectors and files cannot be copied in one moment. A backup sets the hold, then copies the
database, then vectors and files. Until it ends, whatever the copied database refers to must stay.
So code that removes something checks the hold after its transaction has been committed: if there
is no hold then, the transaction is in the copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa

from deployments.catalogue.clock import now_ms
from deployments.catalogue.statements import insert_missing
from deployments.catalogue.tables import BACKUPS
from deployments.errors import Conflict

if TYPE_CHECKING:
    from deployments.catalogue.database import Database

HOLD_S = 120.0
"""The hold of a backup that was killed ends after this time."""

_ONLY = 1  # the id of the row: there is one backup at a time
_UNTIL = sa.select(BACKUPS.c.held_until_ms)


class Backups:
    """At most one backup at a time; Jobs makes the copy of the vectors that it requests."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self) -> int:
        """Hold removals; return the token of the hold. Raise Conflict if another backup does."""
        until = now_ms() + int(HOLD_S * 1000)

        def begin(connection: sa.Connection) -> bool:
            connection.execute(BACKUPS.delete().where(BACKUPS.c.held_until_ms <= now_ms()))
            return insert_missing(connection, BACKUPS, id=_ONLY, held_until_ms=until)

        if not await self._database.write(begin):
            msg = f"another backup is under way, or was killed in the last {HOLD_S:.0f} s"
            raise Conflict(msg)
        return until

    async def renew(self, token: int) -> int:
        """Extend the hold; return its next token. Raise Conflict if it has expired."""
        until = now_ms() + int(HOLD_S * 1000)
        update = (
            BACKUPS.update()
            .where(BACKUPS.c.held_until_ms == token, BACKUPS.c.held_until_ms > now_ms())
            .values(held_until_ms=until)
        )
        if not await self._database.write(lambda connection: connection.execute(update).rowcount):
            msg = "the backup was interrupted for too long, and must be repeated"
            raise Conflict(msg)
        return until

    async def end(self, token: int) -> None:
        """End the hold, unless it has expired and another backup has begun."""
        delete = BACKUPS.delete().where(BACKUPS.c.held_until_ms == token)
        await self._database.write(lambda connection: connection.execute(delete))

    async def want_vectors(self) -> int:
        """Request a copy of the vectors; return the number of the request."""
        number = now_ms()
        update = BACKUPS.update().values(vectors_wanted=number, vectors_made=None)
        await self._database.write(lambda connection: connection.execute(update))
        return number

    async def wanted(self) -> int | None:
        """Return the number of the unanswered request; None if there is none."""
        select = sa.select(BACKUPS.c.vectors_wanted).where(
            BACKUPS.c.held_until_ms > now_ms(), BACKUPS.c.vectors_made.is_(None)
        )
        return await self._database.read(lambda connection: connection.scalar(select))

    async def set_made(self, number: int, *, made: bool) -> None:
        """Answer a request: the copy was made, or failed."""
        own = BACKUPS.update().where(BACKUPS.c.vectors_wanted == number)
        await self._database.write(
            lambda connection: connection.execute(own.values(vectors_made=made))
        )

    async def made(self, number: int) -> bool | None:
        """Return whether the requested copy was made; None until it is answered."""
        select = sa.select(BACKUPS.c.vectors_made).where(BACKUPS.c.vectors_wanted == number)
        return await self._database.read(lambda connection: connection.scalar(select))


def is_held(connection: sa.Connection) -> bool:
    """Return whether a backup holds removals."""
    until = connection.scalar(_UNTIL)
    return until is not None and until > now_ms()


def forget_backup(connection: sa.Connection) -> None:
    """Remove the row of the backup that a restored database was copied by."""
    connection.execute(BACKUPS.delete())
