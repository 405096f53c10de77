"""Executor leases: rows by which the replicas of Jobs see which of them are alive.

DBOS keeps the running jobs of an executor under its id and runs them again when it is asked to.
So an id must never belong to two replicas, and nobody may take over the jobs of a live one. A
lease row has an expiry that its replica moves forward with a heartbeat, and a fencing number and a
random token that make up the executor id, so that none is ever used again: an executor without a
row is dead for good, even if its process still runs.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from dataclasses import dataclass

import sqlalchemy as sa
import stamina
from loguru import logger

from deployments.databases import CONNECT_TIMEOUT_S, create_engine, is_sqlite

_LONGEST_S = 3600.0
_WAIT_POLL_S = 0.1

_TABLE = sa.Table(
    "genserve_executor_leases",
    sa.MetaData(),
    sa.Column("fence", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    # A failover may lose the newest rows, and then give their numbers to others.
    sa.Column("token", sa.String(32), nullable=False),
    sa.Column("expires_at", sa.Double, nullable=False),  # seconds since the epoch
    sqlite_autoincrement=True,  # else the number of a deleted row is used again
)


# Version 0.1 held advisory locks on PostgreSQL, with the number of the executor. Its replicas live
# on while a rolling update replaces them.
_LOCKS_OF_0_1 = sa.text(
    "SELECT objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 2 AND granted "
    "AND classid = 1785684595 "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """When a lease is renewed and when it ends.

    The replica begins no step from `deadline_s` after the start of its last successful renewal. It
    then tries for 5 s to renew once more, and stops the steps under way within 3 s; others may
    take over `expiry_s` after that start.
    """

    heartbeat_s: float
    deadline_s: float
    expiry_s: float


LEASE_TIMES = LeaseTimes(heartbeat_s=3.0, deadline_s=15.0, expiry_s=24.0)
"""A replica should survive a restart of PostgreSQL, and a heartbeat that a busy machine delays by
several seconds."""


class Lease:
    """The lease of this process, renewed by a thread, so that a slow event loop does not end it."""

    def __init__(self, database_url: str, times: LeaseTimes = LEASE_TIMES) -> None:
        """Choose the database, SQLite or PostgreSQL, and the times."""
        self._sqlite = is_sqlite(database_url)
        self._times = times
        self._engine = create_engine(
            database_url, connections=2, sqlite_timeout_s=CONNECT_TIMEOUT_S
        )
        self._clock = _clock_of(self._engine)
        self._expired = _expired(self._clock)
        self._fence = 0
        self._token = uuid.uuid4().hex
        self._valid_until = 0.0
        self._released = threading.Event()
        self._heartbeat = threading.Thread(target=self._renew_repeatedly, daemon=True)
        self.lost = False

    @property
    def executor_id(self) -> str:
        """Return the id under which DBOS keeps the jobs of this replica."""
        return _executor_id(self._fence, self._token)

    @property
    def valid(self) -> bool:
        """Whether no other replica can take this one for dead."""
        return not self.lost and _now() < self._valid_until

    def acquire(self) -> None:
        """Insert the row, with the next fencing number, and begin to renew it."""
        began = _now()
        if self._sqlite:
            self._write_ahead()
        self._create_table()
        with self._engine.begin() as connection:
            connection.execute(_TABLE.delete().where(self._expired))
            row = connection.execute(
                _TABLE.insert()
                .values(token=self._token, expires_at=self._expiry())
                .returning(_TABLE.c.fence)
            )
            self._fence = row.scalar_one()
        self._valid_until = began + self._times.deadline_s
        self._heartbeat.start()

    def renew(self) -> None:
        """Move the expiry forward; the lease is lost if another replica has deleted the row.

        A renewal that comes too late still proves that nobody has taken over.
        """
        began = _now()
        with self._engine.begin() as connection:
            renewed = connection.execute(
                _TABLE.update().where(self._own()).values(expires_at=self._expiry())
            )
        if renewed.rowcount:
            self._valid_until = began + self._times.deadline_s
        else:
            self.lost = True

    async def wait_until_valid(self) -> None:
        """Wait while the renewal is overdue; if the lease is lost, until the job is cancelled."""
        while not self.valid:  # noqa: ASYNC110 - time makes it invalid, a thread valid
            await asyncio.sleep(_WAIT_POLL_S)

    def live_executors(self) -> frozenset[str]:
        """Delete the rows that have expired; return the ids of the executors that are left.

        Whoever is not among them never will be again.
        """
        with self._engine.begin() as connection:
            connection.execute(_TABLE.delete().where(self._expired, ~self._own()))
            rows = connection.execute(sa.select(_TABLE.c.fence, _TABLE.c.token)).all()
            old = [] if self._sqlite else connection.scalars(_LOCKS_OF_0_1).all()
        return frozenset([_executor_id(*row) for row in rows] + [f"jobs-{slot}" for slot in old])

    def release(self) -> None:
        """Delete the row, for another replica to take over at once; the work must have stopped."""
        self._released.set()
        if self._heartbeat.is_alive():
            self._heartbeat.join(CONNECT_TIMEOUT_S)
        if not self.lost:
            try:
                with self._engine.begin() as connection:
                    connection.execute(_TABLE.delete().where(self._own()))
            except sa.exc.SQLAlchemyError as error:
                logger.warning("the executor lease is left to expire: {}", error)
        self.lost = True
        self._engine.dispose()

    def _write_ahead(self) -> None:
        """Let readers of the file go on beside a writer; the file keeps this, for DBOS too."""
        with self._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA journal_mode=WAL")

    @stamina.retry(on=sa.exc.DBAPIError, attempts=3)
    def _create_table(self) -> None:
        # PostgreSQL reports a conflict if two replicas do this at the same moment.
        with self._engine.begin() as connection:
            connection.execute(sa.schema.CreateTable(_TABLE, if_not_exists=True))

    def _own(self) -> sa.ColumnElement[bool]:
        return sa.and_(_TABLE.c.fence == self._fence, _TABLE.c.token == self._token)

    def _expiry(self) -> sa.ColumnElement[float]:
        return self._clock + self._times.expiry_s

    def _renew_repeatedly(self) -> None:
        while not self.lost and not self._released.wait(self._times.heartbeat_s):
            try:
                self.renew()
            except sa.exc.SQLAlchemyError as error:
                logger.warning("the executor lease could not be renewed: {}", error)


def has_live_executor(database_url: str) -> bool:
    """Return whether a replica of Jobs holds a lease in this database."""
    engine = create_engine(database_url, connections=1, sqlite_timeout_s=CONNECT_TIMEOUT_S)
    try:
        if not sa.inspect(engine).has_table(_TABLE.name):
            return False
        live = _TABLE.select().where(sa.not_(_expired(_clock_of(engine)))).limit(1)
        with engine.connect() as connection:
            return connection.execute(live).first() is not None
    finally:
        engine.dispose()


def forget_leases(connection: sa.Connection) -> None:
    """Delete the leases of a database that was copied: no replica that holds one uses the copy."""
    if sa.inspect(connection).has_table(_TABLE.name):
        connection.execute(_TABLE.delete())


def _clock_of(engine: sa.Engine) -> sa.ColumnElement[float]:
    """Return the time of the database, in seconds since the epoch."""
    if engine.dialect.name == "sqlite":
        return (sa.func.julianday("now") - 2440587.5) * 86400.0
    return sa.cast(sa.extract("epoch", sa.func.clock_timestamp()), sa.Double)


def _expired(clock: sa.ColumnElement[float]) -> sa.ColumnElement[bool]:
    return sa.or_(
        _TABLE.c.expires_at <= clock,
        _TABLE.c.expires_at > clock + _LONGEST_S,  # written before the clock was set back
    )


def _executor_id(fence: int, token: str) -> str:
    # Version 0.1 takes over the jobs of every `jobs-NUMBER` whose advisory lock is free: it must
    # not be able to read these ids.
    return f"jobs-{fence}-{token[:8]}"


def _now() -> float:
    """Return seconds of a clock that nobody sets and, on Linux, that runs while it sleeps."""
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))
