"""SQLite connections whose writers take turns within a process.

SQLite lets one connection write at a time. The others poll for its lock, up to 100 ms apart and
in no order: with twenty threads that write, some wait for seconds. Here they wait for a lock of
the process, which wakes the next one up.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from typing import Any, Self

_MAX_WAIT_S = 5.0
"""After which a statement leaves it to SQLite to wait, and to fail."""
_READS = ("SELECT", "PRAGMA", "EXPLAIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE")
_READ_TRANSACTIONS = {"BEGIN", "BEGIN DEFERRED"}

_locks: dict[str, threading.Lock] = {}


class Connection(sqlite3.Connection):
    """Hold the lock of the file from the first statement that writes to the end of its transaction.

    It is for `factory` of `sqlite3.connect`. Other processes still poll.
    """

    def __init__(self, database: str, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(database, *args, **kwargs)
        self._lock = _locks.setdefault(str(Path(database).resolve()), threading.Lock())
        self._holds = False

    def cursor(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as sqlite3 has it
        return super().cursor(*args, **{"factory": _Cursor, **kwargs})

    def execute(self, statement: str, parameters: Any = (), /) -> sqlite3.Cursor:  # noqa: ANN401
        cursor: sqlite3.Cursor = self.cursor()
        return cursor.execute(statement, parameters)

    def executemany(self, statement: str, parameters: Any, /) -> sqlite3.Cursor:  # noqa: ANN401
        cursor: sqlite3.Cursor = self.cursor()
        return cursor.executemany(statement, parameters)

    def commit(self) -> None:
        try:
            super().commit()
        finally:
            self.release_after_transaction()

    def rollback(self) -> None:
        try:
            super().rollback()
        finally:
            self.release_after_transaction()

    def close(self) -> None:
        try:
            super().close()
        finally:
            self._release()

    def acquire_before(self, statement: str) -> None:
        """Acquire the lock if a statement writes."""
        if not self._holds and _writes(statement):
            self._holds = self._lock.acquire(timeout=_MAX_WAIT_S)

    def release_after_transaction(self) -> None:
        """Release the lock unless a transaction is open."""
        if not self.in_transaction:
            self._release()

    def __del__(self) -> None:
        if hasattr(self, "_holds"):  # else it could not be opened
            self._release()

    def _release(self) -> None:
        if self._holds:
            self._holds = False
            self._lock.release()


class _Cursor(sqlite3.Cursor):
    connection: Connection

    def execute(self, statement: str, parameters: Any = (), /) -> Self:  # noqa: ANN401
        self.connection.acquire_before(statement)
        try:
            return super().execute(statement, parameters)
        finally:
            self.connection.release_after_transaction()

    def executemany(self, statement: str, parameters: Any, /) -> Self:  # noqa: ANN401
        self.connection.acquire_before(statement)
        try:
            return super().executemany(statement, parameters)
        finally:
            self.connection.release_after_transaction()


def _writes(statement: str) -> bool:
    """Return whether a statement may write; one that is not known does."""
    words = statement.strip().upper()
    return not words.startswith(_READS) and words not in _READ_TRANSACTIONS
