"""Writers of one SQLite file take turns; SQLite itself would refuse them at once here."""

from __future__ import annotations

import gc
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal

import pytest

from deployments.sqlite_connections import Connection

if TYPE_CHECKING:
    from pathlib import Path

_THREADS, _ROWS = 8, 40


def connected(path: Path, isolation_level: Literal["IMMEDIATE"] | None) -> Connection:
    return sqlite3.connect(
        path,
        factory=Connection,
        timeout=0,
        isolation_level=isolation_level,
        check_same_thread=False,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "a.sqlite"
    connection = connected(path, None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("CREATE TABLE numbers (number INTEGER)")
    connection.close()
    return path


def write(path: Path, isolation_level: Literal["IMMEDIATE"] | None) -> None:
    connection = connected(path, isolation_level)
    for number in range(_ROWS):
        if isolation_level is None:
            connection.execute("BEGIN IMMEDIATE")
        connection.execute("INSERT INTO numbers VALUES (?)", (number,))
        assert connection.in_transaction
        connection.execute("SELECT count(*) FROM numbers").fetchone()
        connection.executemany("INSERT INTO numbers VALUES (?)", [(number,)])
        if number % 10 == 0:
            connection.rollback()
        else:
            connection.commit()
    connection.close()


def test_many_threads_write_without_being_refused(path: Path) -> None:
    with ThreadPoolExecutor(_THREADS) as threads:
        levels: list[Literal["IMMEDIATE"] | None] = ["IMMEDIATE", None]
        writers = [threads.submit(write, path, levels[n % 2]) for n in range(_THREADS)]
        for writer in writers:
            writer.result()
    count = connected(path, None).execute("SELECT count(*) FROM numbers").fetchone()[0]
    assert count == _THREADS * (_ROWS - _ROWS // 10) * 2


def test_a_reader_does_not_wait_for_a_writer(path: Path) -> None:
    writer, reader = connected(path, None), connected(path, None)
    writer.execute("BEGIN IMMEDIATE")
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM numbers").fetchone() == (0,)
    reader.commit()
    with pytest.raises(sqlite3.OperationalError, match="no such table"):
        reader.execute("SELECT * FROM missing")
    writer.rollback()


@pytest.mark.parametrize("end", ["error", "autocommit", "close", "lost"])
def test_the_lock_is_released_however_a_writer_ends(path: Path, end: str) -> None:
    writer = connected(path, None)
    match end:
        case "error":
            with pytest.raises(sqlite3.OperationalError, match="no such table"):
                writer.execute("INSERT INTO missing VALUES (1)")
        case "autocommit":
            writer.execute("INSERT INTO numbers VALUES (1)")
        case "close":
            writer.execute("BEGIN IMMEDIATE")
            writer.close()
        case "lost":
            writer.execute("BEGIN IMMEDIATE")
            del writer
            gc.collect()
    other = connected(path, None)
    assert not other._lock.locked()
    other.execute("BEGIN IMMEDIATE")
    assert other._lock.locked()
    other.commit()
