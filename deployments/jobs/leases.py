"""Who is alive: a numbered slot that a replica holds, and that its death lets go of.

DBOS keeps the work of an executor by its name. A replica takes the name of the slot it holds, so
that whoever can hold a slot knows that the work under its name is nobody's.
"""

from __future__ import annotations

import fcntl
from pathlib import Path
from typing import IO, Protocol

_PREFIX = "jobs-"
_LOCK_SPACE = 0x6A6F6273  # ours among the advisory locks of a database
_MOST = 1024


class Slots(Protocol):
    """Locks by number; each is held by one process, until it lets go or dies."""

    def hold(self, slot: int) -> bool:
        """Try to; whether it worked. Not for a slot that is held here already."""
        ...

    def let_go(self, slot: int) -> None:
        """Give a slot that is held here back."""
        ...

    def close(self) -> None:
        """Give all back."""
        ...


def slots_of(database_url: str) -> Slots:
    """Find where replicas that share a database meet: beside its file, or in the server."""
    if database_url.startswith("sqlite:///"):
        return FileSlots(Path(database_url.removeprefix("sqlite:///")))
    return ServerSlots(database_url)


def take(slots: Slots) -> int:
    """Hold the lowest free slot."""
    return next(slot for slot in range(_MOST) if slots.hold(slot))


def executor_of(slot: int) -> str:
    """Give the name under which DBOS keeps the work of a slot."""
    return f"{_PREFIX}{slot}"


def slot_of(executor: str) -> int:
    """Read such a name."""
    return int(executor.removeprefix(_PREFIX))


class FileSlots:
    """Locked files beside the database's own, for replicas on one machine."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self._held: dict[int, IO[bytes]] = {}

    def hold(self, slot: int) -> bool:
        self._database.parent.mkdir(parents=True, exist_ok=True)
        file = Path(f"{self._database}.slot-{slot}").open("ab")  # noqa: SIM115 - the lock's life
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return False
        self._held[slot] = file
        return True

    def let_go(self, slot: int) -> None:
        self._held.pop(slot).close()

    def close(self) -> None:
        for slot in tuple(self._held):
            self.let_go(slot)


class ServerSlots:
    """PostgreSQL's advisory locks, which end with the session."""

    def __init__(self, url: str) -> None:
        import psycopg

        self._session = psycopg.connect(url, autocommit=True, application_name="genserve-slot")

    def hold(self, slot: int) -> bool:
        return self._ask("SELECT pg_try_advisory_lock(%s, %s)", slot)

    def let_go(self, slot: int) -> None:
        self._ask("SELECT pg_advisory_unlock(%s, %s)", slot)

    def close(self) -> None:
        self._session.close()

    def _ask(self, query: str, slot: int) -> bool:
        row = self._session.execute(query.encode(), (_LOCK_SPACE, slot)).fetchone()
        return bool(row and row[0])
