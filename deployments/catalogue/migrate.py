"""Migrations of the catalogue's schema, run at start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from loguru import logger

if TYPE_CHECKING:
    from deployments.catalogue.database import Database

VERSION_TABLE = "genserve_schema"
_LOCK = 1785684596  # any number, as long as nothing else in the database uses it


def migrate(database: Database) -> None:
    """Bring the schema to the newest revision; leave that of a newer version as it is.

    Processes that start together do this one after the other.
    """
    database.write_now(_migrate)


def config() -> Config:
    """Return the configuration of Alembic; it names no database."""
    made = Config()
    made.set_main_option("script_location", "deployments.catalogue:migrations")
    made.set_main_option("path_separator", "os")
    return made


def revision_of(connection: sa.Connection) -> str | None:
    """Return the revision of the schema; None if there is none yet."""
    return MigrationContext.configure(
        connection, opts={"version_table": VERSION_TABLE}
    ).get_current_revision()


def _migrate(connection: sa.Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK)))
    # On SQLite the transaction itself is the lock.
    alembic = config()
    current = revision_of(connection)
    known = {each.revision for each in ScriptDirectory.from_config(alembic).walk_revisions()}
    if current is not None and current not in known:
        logger.info("the schema of the catalogue is of a newer version: {}", current)
        return
    alembic.attributes["connection"] = connection
    command.upgrade(alembic, "head")
