"""Engines for the SQL database: a SQLite file or PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import StaticPool

from deployments import sqlite_connections

CONNECT_TIMEOUT_S = 3
_POSTGRES_OPTIONS = {  # a server that cannot be reached any more is noticed within some 10 s
    "connect_timeout": CONNECT_TIMEOUT_S,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 2,
    "tcp_user_timeout": 9000,  # ms
}


def is_sqlite(url: str) -> bool:
    """Return whether a database URL names a SQLite file."""
    return url.startswith("sqlite")


def sqlite_path(url: str) -> Path:
    """Return the path of the file of a SQLite database."""
    return Path(url.removeprefix("sqlite:///"))


def create_engine(url: str, *, connections: int, sqlite_timeout_s: float) -> sa.Engine:
    """Create an engine with at most this many connections, and the folder of a SQLite file.

    Args:
        url: `sqlite:///PATH`, `sqlite://` (in memory, with a single connection) or
            `postgresql://…`.
        connections: the size of the pool.
        sqlite_timeout_s: how long a connection waits for another one's transaction.

    Errors of the engine, which are logged, do not show the parameters of statements: some are names
    of files. SQLite overwrites what it deletes.
    """
    parsed = sa.make_url(url)
    if not is_sqlite(url):
        return sa.create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            pool_size=connections,
            max_overflow=0,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args=_POSTGRES_OPTIONS,
        )
    options: dict[str, Any] = {
        "connect_args": {"timeout": sqlite_timeout_s},
        "hide_parameters": True,
    }
    if parsed.database:
        options["connect_args"]["factory"] = sqlite_connections.Connection
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
        options |= {"pool_size": connections, "max_overflow": 0}
    else:
        options["poolclass"] = StaticPool
        options["connect_args"]["check_same_thread"] = False
    engine = sa.create_engine(parsed, **options)
    overwrite_deleted(engine)
    return engine


def overwrite_deleted(engine: sa.Engine) -> None:
    """Have SQLite overwrite what it deletes, in connections that are opened from now on."""

    @sa.event.listens_for(engine, "connect")
    def configure(connection: Any, _record: object) -> None:  # noqa: ANN401 - of any driver
        connection.execute("PRAGMA secure_delete=ON").close()
