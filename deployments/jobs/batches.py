"""Submission of the files of batches, as far as the queue has room.

Each file is a job of its own, so the dispatcher counts it as any other: owners take turns.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Protocol

from loguru import logger

from deployments.attribute_writes import write_attributes
from deployments.catalogue.entries import FILE_DELETED
from deployments.errors import Conflict, NotFound, Overloaded, ServiceError, Unavailable
from deployments.kept_files import CARD_BYTES, file_id_of, kept_path
from deployments.types import IngestSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from deployments.catalogue.catalogue import Catalogue
    from deployments.catalogue.entries import BatchFile
    from deployments.interfaces import Retriever
    from deployments.types import Job, Submitted

_PERIOD_S = 1.0  # until what had no room, or came through another replica, is tried again
_FILES_AT_ONCE = 16


class Submit(Protocol):
    """Submits a job; see `deployments.interfaces.Jobs`."""

    async def __call__(self, spec: IngestSpec, key: str | None) -> Submitted:
        """Submit a job, unless the same file is searchable or being ingested already."""
        ...


class BatchFeeder:
    """Submits the files that wait in the catalogue; several replicas may submit the same one."""

    def __init__(
        self,
        catalogue: Catalogue,
        retriever: Retriever,
        submit: Submit,
        cancel: Callable[[str], Awaitable[Job]],
        has_room: Callable[[str], bool] = lambda _owner: True,
    ) -> None:
        """Set how a job is submitted and cancelled, and which owners may queue further files."""
        self._catalogue = catalogue
        self._retriever = retriever
        self._submit = submit
        self._cancel = cancel
        self._has_room = has_room
        self._awake = asyncio.Event()

    def wake(self) -> None:
        """Look for files that wait now."""
        self._awake.set()

    async def run(self) -> None:
        """Submit files until the task is cancelled."""
        while True:
            self._awake.clear()
            try:
                await self.feed()
            except ServiceError as error:
                logger.warning("submitting files of batches failed and will be retried: {}", error)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PERIOD_S):
                    await self._awake.wait()

    async def feed(self) -> None:
        """Submit files of all owners at once, until none waits or nobody has room."""
        paused: set[str] = set()
        while owners := set(await self._catalogue.batches.waiting_owners()) - paused:
            served = sorted(owners)
            go_on = await asyncio.gather(*map(self._feed_some, served))
            paused |= {owner for owner, more in zip(served, go_on, strict=True) if not more}

    async def _feed_some(self, owner: str) -> bool:
        """Submit some files of an owner; return whether to go on with it."""
        if not self._has_room(owner):
            return False
        files = await self._catalogue.batches.waiting(owner, _FILES_AT_ONCE)
        submitted = await asyncio.gather(*(self._begin(owner, file) for file in files))
        return bool(files) and all(submitted)

    async def _begin(self, owner: str, file: BatchFile) -> bool:
        """Submit the job of a file; return False if it must wait."""
        batches, file_id = self._catalogue.batches, file_id_of(file.document_id)
        try:
            entry = await self._catalogue.files.get(owner, file_id)
        except NotFound:
            await batches.failed(file, FILE_DELETED, "the file was deleted before it was read")
            return True
        spec = IngestSpec(
            file.document_id,
            file.collection,
            entry.filename,
            entry.size_bytes,
            kept_path(owner, file_id),
            owner,
            entry.digest,
            start_byte=CARD_BYTES,
            borrowed=True,
            attributes=file.attributes,
            chunking=file.chunking,
            batch_id=file.batch_id,
        )
        try:
            submitted = await self._submit(spec, None)
        except (Conflict, Overloaded, Unavailable):
            return False  # a conflict: it is being deleted, or does not wait any more
        except ServiceError as error:
            await batches.failed(file, error.code, error.message)
            return True
        if not await batches.begun(file, submitted.version) and submitted.created:
            with contextlib.suppress(Conflict, NotFound):  # it has ended already
                await self._cancel(submitted.job.id)
        if file.attributes is not None:  # of a version that is searchable already
            changes = self._catalogue.attribute_changes
            await write_attributes(changes, self._retriever, file.collection, file.document_id)
        return True
