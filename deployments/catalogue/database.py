"""Transactions of the catalogue, run in a thread pool."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import sqlalchemy as sa
import stamina
from loguru import logger

from deployments.databases import create_engine, is_sqlite
from deployments.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from sqlalchemy.engine.interfaces import DBAPICursor

T = TypeVar("T")

_CONNECTIONS = 4
_SQLITE_TIMEOUT_S = 5.0
_RETRIES_S = 15.0  # a restart of PostgreSQL
_OUTAGES = (sa.exc.OperationalError, sa.exc.InterfaceError)
_MAX_WAIT_S = 1.0
_LOCK_POLL_S = 0.5
_EXCLUSIVE_LOCK = 1785684597  # any number that nothing else in the database uses
_WRITES = "genserve_writes"  # an execution option


class Database:
    """Runs transactions; each is repeated after a lost connection, and so must be repeatable.

    Methods raise Unavailable if the database does not answer.
    """

    def __init__(self, url: str, *, retries_s: float = _RETRIES_S) -> None:
        """Open a database; `url` as of `deployments.databases`."""
        in_memory = url == "sqlite://"
        threads = 1 if in_memory else _CONNECTIONS
        self._engine = create_engine(url, connections=threads, sqlite_timeout_s=_SQLITE_TIMEOUT_S)
        self._retries_s = retries_s
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="catalogue")
        if is_sqlite(url):
            sa.event.listen(self._engine, "connect", _configure_sqlite)
            sa.event.listen(self._engine, "begin", _begin_sqlite)

    async def read(self, query: Callable[[sa.Connection], T]) -> T:
        """Run a read-only transaction."""
        return await self._in_thread(lambda: self._run(query, writes=False))

    async def write(self, change: Callable[[sa.Connection], T]) -> T:
        """Run a transaction; what it changed is durable on return."""
        return await self._in_thread(lambda: self._run(change, writes=True))

    def write_now(self, change: Callable[[sa.Connection], T]) -> T:
        """Run a transaction in this thread."""
        try:
            for attempt in stamina.retry_context(
                on=_OUTAGES, attempts=None, timeout=self._retries_s, wait_max=_MAX_WAIT_S
            ):
                with attempt:
                    return self._run(change, writes=True)
        except _OUTAGES as error:
            raise _unavailable(error) from error
        raise AssertionError  # the last attempt raises

    async def purge(self, max_bytes: int) -> bool:
        """Remove from the files of SQLite what was deleted; other transactions wait meanwhile.

        SQLite overwrites what it deletes, but not the copies that it leaves when it moves rows, so
        the file is rewritten. Returns False if it has more bytes than this, or for PostgreSQL,
        which reuses the space after its own VACUUM.
        """
        if self._engine.dialect.name != "sqlite":
            return False
        rewritten = await self._in_thread(lambda: self._rewrite_sqlite(max_bytes))
        await self._in_thread(self._truncate_log)  # repeated alone while readers keep the log
        return rewritten

    def _rewrite_sqlite(self, max_bytes: int) -> bool:
        with self._sqlite_cursor() as cursor:
            cursor.execute("SELECT page_count * page_size FROM pragma_page_count, pragma_page_size")
            (size_bytes,) = cursor.fetchone() or (0,)
            if size_bytes > max_bytes:
                return False
            cursor.execute("VACUUM")
            return True

    def _truncate_log(self) -> None:
        with self._sqlite_cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            busy, *_ = cursor.fetchone() or (True,)
            if busy:
                msg = "the write-ahead log is being read"
                raise sqlite3.OperationalError(msg)

    @contextlib.contextmanager
    def _sqlite_cursor(self) -> Iterator[DBAPICursor]:
        connection = self._engine.raw_connection()
        try:
            yield connection.cursor()
        except sqlite3.OperationalError as error:
            raise sa.exc.OperationalError(None, None, error) from error
        finally:
            connection.close()

    @contextlib.asynccontextmanager
    async def exclusively(self) -> AsyncIterator[None]:
        """Hold a lock that one process at a time can hold; nothing to do on SQLite."""
        if self._engine.dialect.name != "postgresql":
            yield
            return
        loop = asyncio.get_running_loop()
        engine = self._engine.execution_options(isolation_level="AUTOCOMMIT")
        lock = sa.select(sa.func.pg_try_advisory_lock(_EXCLUSIVE_LOCK))
        try:
            connection = await loop.run_in_executor(self._threads, engine.connect)
        except _OUTAGES as error:
            raise _unavailable(error) from error
        try:
            # Another process has it.
            while not await loop.run_in_executor(self._threads, connection.scalar, lock):  # noqa: ASYNC110
                await asyncio.sleep(_LOCK_POLL_S)
            yield
        finally:
            # The lock ends with the session, so the connection must not return to the pool.
            connection.invalidate()
            connection.close()

    def close(self) -> None:
        """Close the connections; transactions that have begun end first, others never begin."""
        self._threads.shutdown(cancel_futures=True)
        self._engine.dispose()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            async for attempt in stamina.retry_context(
                on=_OUTAGES, attempts=None, timeout=self._retries_s, wait_max=_MAX_WAIT_S
            ):
                with attempt:
                    return await loop.run_in_executor(self._threads, work)
        except _OUTAGES as error:
            raise _unavailable(error) from error
        raise AssertionError  # the last attempt raises

    def _run(self, work: Callable[[sa.Connection], T], *, writes: bool) -> T:
        with self._engine.execution_options(**{_WRITES: writes}).begin() as connection:
            return work(connection)


def _unavailable(error: Exception) -> Unavailable:
    logger.warning("the database failed: {}", error)
    return Unavailable("the database does not answer")


def _configure_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - of any driver
    connection.isolation_level = None  # `_begin_sqlite` begins transactions
    for pragma in ("journal_mode=WAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: sa.Connection) -> None:
    # A transaction that reads first could not write any more once another one has written.
    writes = connection.get_execution_options().get(_WRITES, True)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
