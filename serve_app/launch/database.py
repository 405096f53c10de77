"""The database of a service, for commands: whether it exists, and whether a service uses it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from deployments.databases import is_sqlite, sqlite_path
from deployments.jobs.leases import has_live_executor
from deployments.settings import Secrets, database_url
from serve_app.launch.progress import StartError

if TYPE_CHECKING:
    from serve_app.settings import AppSettings


def existing_database(found: AppSettings) -> str:
    """Return the URL of the database; raise StartError if it is a file that does not exist."""
    url = database_url(found.database_url, Secrets())
    path = sqlite_path(url)
    if is_sqlite(url) and not path.exists():
        msg = f"{path}: no service has stored anything here"
        raise StartError(msg)
    return url


async def is_running(url: str) -> bool:
    """Return whether a service runs; raise StartError if the database does not answer."""
    try:
        return await asyncio.to_thread(has_live_executor, url)
    except SQLAlchemyError as error:
        msg = f"the database does not answer: {type(error).__name__}"
        raise StartError(msg) from error
