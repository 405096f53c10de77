"""File batches: many kept files attached to a vector store by one request."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from typing import TYPE_CHECKING

from loguru import logger

from deployments.catalogue.new_batches import NewBatch
from deployments.errors import NotFound, ServiceError
from deployments.serving.request_context import detached
from serve_app.documents.attachments import unknown_store

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.catalogue.entries import (
        BatchEntry,
        BatchFile,
        DocumentEntry,
        DocumentStatus,
        EntryPage,
        PageQuery,
    )
    from deployments.catalogue.owned import OwnedCatalogue
    from deployments.interfaces import Jobs
    from serve_app.documents.documents import Documents


class FileBatches:
    """The file batches of one owner; the catalogue has them, and Jobs submits their files."""

    def __init__(self, catalogue: OwnedCatalogue, documents: Documents, jobs: Jobs) -> None:
        self._catalogue = catalogue
        self._documents = documents
        self._jobs = jobs

    async def create(self, store_id: str, files: Sequence[BatchFile]) -> BatchEntry:
        """Have files made searchable; raises NotFound for the store or a file, or Overloaded."""
        await self._check_store(store_id)
        now_ms = time.time_ns() // 1_000_000
        batch_id = f"vsfb_{now_ms:012x}{secrets.token_hex(6)}"
        await self._catalogue.batches.add(NewBatch(batch_id, store_id, files, now_ms // 1000))
        try:
            await self._jobs.begin_batches()
        except ServiceError as error:
            logger.info(
                "could not notify Jobs of batch {}, which it finds by polling: {}", batch_id, error
            )
        return await self._catalogue.batches.get(store_id, batch_id)

    async def get(self, store_id: str, batch_id: str) -> BatchEntry:
        """Find a batch; raises NotFound."""
        await self._check_store(store_id)
        return await self._catalogue.batches.get(store_id, batch_id)

    async def files(
        self, store_id: str, batch_id: str, query: PageQuery, status: DocumentStatus | None
    ) -> EntryPage[DocumentEntry]:
        """List the files of a batch; raises NotFound."""
        await self._check_store(store_id)
        return await self._catalogue.batches.files(store_id, batch_id, query, status)

    async def cancel(self, store_id: str, batch_id: str) -> BatchEntry:
        """End what has not completed, even if the client disconnects; raises NotFound."""
        await self._check_store(store_id)
        await asyncio.shield(detached(self._cancel(store_id, batch_id)))
        return await self._catalogue.batches.get(store_id, batch_id)

    async def _cancel(self, store_id: str, batch_id: str) -> None:
        job_ids = await self._catalogue.batches.cancel(store_id, batch_id)
        await self._documents.cancel_jobs(job_ids)

    async def _check_store(self, store_id: str) -> None:
        with contextlib.suppress(NotFound):
            await self._catalogue.collections.get(store_id)
            return
        raise unknown_store()
