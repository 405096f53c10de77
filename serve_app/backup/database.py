"""Copies of the SQL database: by SQLite itself, or by PostgreSQL's own programs."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic.script import ScriptDirectory

from deployments.catalogue.attribute_changes import add_changes
from deployments.catalogue.backups import forget_backup
from deployments.catalogue.migrate import config, revision_of
from deployments.databases import create_engine, is_sqlite, sqlite_path
from deployments.jobs.leases import forget_leases
from serve_app.launch.progress import StartError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

SQLITE_COPY, POSTGRES_COPY = "database.sqlite", "database.dump"
_SQLITE_TIMEOUT_S = 30.0


def kind_of(url: str) -> str:
    """Return the kind of a database, as the manifest names it."""
    return "sqlite" if is_sqlite(url) else "postgresql"


def schema_of(url: str) -> str:
    """Return the revision of the catalogue's schema."""
    engine = create_engine(url, connections=1, sqlite_timeout_s=_SQLITE_TIMEOUT_S)
    try:
        with engine.connect() as connection:
            return revision_of(connection) or ""
    finally:
        engine.dispose()


def is_known_schema(revision: str) -> bool:
    """Return whether this version knows a revision: else a newer version has written it."""
    known = ScriptDirectory.from_config(config()).walk_revisions()
    return revision in {each.revision for each in known}


def copy_database(url: str, folder: Path) -> Path:
    """Copy the database as it is at one moment, while it is used; return the path of the copy."""
    if is_sqlite(url):
        target = folder / SQLITE_COPY
        # One read transaction: others write meanwhile, and do not make it begin again.
        with closing(sqlite3.connect(sqlite_path(url), timeout=_SQLITE_TIMEOUT_S)) as connection:
            connection.execute("VACUUM INTO ?", [str(target)])
        return target
    target = folder / POSTGRES_COPY
    _run("pg_dump", url, "--format=custom", "--no-owner", "--no-privileges", f"--file={target}")
    return target


def is_empty(url: str) -> bool:
    """Return whether a database has no tables of GenServe."""
    if is_sqlite(url) and not sqlite_path(url).exists():
        return True
    engine = create_engine(url, connections=1, sqlite_timeout_s=_SQLITE_TIMEOUT_S)
    try:
        inspector = sa.inspect(engine)
        own = [name for name in inspector.get_table_names() if name.startswith("genserve_")]
        return not own and (is_sqlite(url) or "dbos" not in inspector.get_schema_names())
    except sa.exc.SQLAlchemyError as error:
        msg = f"the database does not answer: {type(error).__name__}"
        raise StartError(msg) from error
    finally:
        engine.dispose()


def restore_database(copy: Path, url: str, changed_attributes: Iterable[tuple[str, str]]) -> None:
    """Put a copy in place of an empty database.

    Jobs of the copy are taken over at the next start. `changed_attributes` are documents, by
    collection and id, whose vectors may have others than the database.
    """
    if is_sqlite(url):
        target = sqlite_path(url)
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(f".{target.name}.restored")
        shutil.copyfile(copy, unfinished)
        _prepare(f"sqlite:///{unfinished}", changed_attributes)
        unfinished.replace(target)
        return
    options = "--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction"
    _run("pg_restore", url, *options, str(copy))
    _prepare(url, changed_attributes)


def _prepare(url: str, changed_attributes: Iterable[tuple[str, str]]) -> None:
    """Remove the traces of the installation that ran, and add what Jobs has to do."""
    engine = create_engine(url, connections=1, sqlite_timeout_s=_SQLITE_TIMEOUT_S)
    try:
        with engine.begin() as connection:
            forget_backup(connection)
            forget_leases(connection)
            add_changes(connection, changed_attributes)
    finally:
        engine.dispose()


def _run(program: str, url: str, *options: str) -> None:
    """Run a program of PostgreSQL on a database; raise StartError if it fails."""
    found = shutil.which(program)
    if found is None:
        msg = f"{program} is not on the PATH: install the client programs of PostgreSQL"
        raise StartError(msg)
    parsed = sa.make_url(url)
    address = sa.URL.create(
        "postgresql",
        username=parsed.username,
        host=parsed.host,
        port=parsed.port,
        database=parsed.database,
        query=parsed.query,
    ).render_as_string()
    environment = dict(os.environ)
    if parsed.password:
        environment["PGPASSWORD"] = str(parsed.password)  # arguments are visible to other users
    try:
        subprocess.run(  # noqa: S603 - a program of the operator's machine
            [found, f"--dbname={address}", *options],
            check=True,
            capture_output=True,
            text=True,
            env=environment,
        )
    except subprocess.CalledProcessError as error:
        msg = f"{program} failed: {error.stderr.strip()}"
        raise StartError(msg) from None
