"""The catalogue over a database: a library in the processes that use it."""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import fields
from typing import TYPE_CHECKING

import sqlalchemy as sa
from loguru import logger

from deployments.catalogue.attribute_changes import AttributeChanges
from deployments.catalogue.background_responses import BackgroundResponses
from deployments.catalogue.backups import Backups
from deployments.catalogue.batches import Batches
from deployments.catalogue.chunker_changes import ChunkerChanges
from deployments.catalogue.clock import now_ms
from deployments.catalogue.collections import Collections
from deployments.catalogue.conversations import Conversations
from deployments.catalogue.documents import Documents
from deployments.catalogue.entries import Quotas
from deployments.catalogue.erased_rows import ErasedRows
from deployments.catalogue.erasures import Erasures
from deployments.catalogue.files import Files
from deployments.catalogue.inspection import Inspection
from deployments.catalogue.mending import Mending
from deployments.catalogue.model_changes import ModelChanges
from deployments.catalogue.removals import Removals
from deployments.catalogue.responses import Responses
from deployments.catalogue.statements import insert_missing
from deployments.catalogue.tables import IMPORTS
from deployments.catalogue.versions import Versions

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from deployments.catalogue.database import Database

_POLL_S = 0.5
_REPORTED_S = 30.0
NO_QUOTAS = Quotas(*[sys.maxsize] * len(fields(Quotas)))


class Catalogue:
    """Collections, documents, files and responses of all owners; the schema must be migrated."""

    def __init__(self, database: Database, quotas: Quotas = NO_QUOTAS) -> None:
        self._database = database
        self.collections = Collections(database, quotas)
        self.documents = Documents(database)
        self.versions = Versions(database, quotas)
        self.files = Files(database, quotas)
        self.responses = Responses(database, quotas)
        self.background_responses = BackgroundResponses(database)
        self.conversations = Conversations(database, quotas)
        self.removals = Removals(database)
        self.attribute_changes = AttributeChanges(database)
        self.batches = Batches(database)
        self.erasures = Erasures(database)
        self.erased_rows = ErasedRows(database)
        self.model_changes = ModelChanges(database)
        self.chunker_changes = ChunkerChanges(database)
        self.inspection = Inspection(database)
        self.mending = Mending(database)
        self.backups = Backups(database)

    def with_quotas(self, quotas: Quotas) -> Catalogue:
        """Return a catalogue over the same database with other quotas."""
        return Catalogue(self._database, quotas)

    def exclusively(self) -> AbstractAsyncContextManager[None]:
        """Hold the lock of the catalogue that one process at a time can hold."""
        return self._database.exclusively()

    async def check_health(self) -> None:
        """Raise Unavailable if the database does not answer."""
        await self._database.read(lambda connection: connection.execute(sa.select(1)).one())

    async def imported_ms(self, source: str) -> int | None:
        """Return when an import was finished for the first time; None if never."""
        select = sa.select(IMPORTS.c.finished_ms).where(IMPORTS.c.source == source)
        return await self._database.read(lambda connection: connection.scalar(select))

    async def wait_for_import(self, source: str) -> None:
        """Wait until an import is finished, which Jobs runs at its start."""
        began = time.monotonic()
        while await self.imported_ms(source) is None:
            if time.monotonic() - began > _REPORTED_S:
                began = time.monotonic()
                logger.info("waiting until Jobs has imported the data of version {}", source)
            await asyncio.sleep(_POLL_S)

    async def set_imported(self, source: str) -> None:
        """Record that an import is finished."""
        now = now_ms()
        await self._database.write(
            lambda connection: insert_missing(connection, IMPORTS, source=source, finished_ms=now)
        )

    async def purge(self, max_bytes: int = sys.maxsize) -> bool:
        """Remove from the disk what was deleted; see `Database.purge`."""
        return await self._database.purge(max_bytes)

    def close(self) -> None:
        """Close the database."""
        self._database.close()
