"""Erasing: carry out the erasures of the catalogue, everywhere."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Protocol

from loguru import logger

from deployments.collection_names import owner_of, short_name
from deployments.errors import Conflict, NotFound, ServiceError
from deployments.file_store import (
    CHUNKS,
    IMAGES,
    KEPT,
    NOTES_OF_0_1,
    UPLOADS,
    folder_of,
)
from deployments.jobs.job_rows import open_rows
from deployments.types import IngestSpec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from deployments.catalogue.catalogue import Catalogue
    from deployments.catalogue.entries import ErasureEntry
    from deployments.file_store import FileStore
    from deployments.jobs.job_rows import JobRows
    from deployments.types import Job

    class Vectors(Protocol):
        """What an erasure needs of a retriever, or of a vector store."""

        async def collections(self) -> list[str]: ...

        async def delete(self, collection: str, document_id: str) -> bool: ...

        async def drop(self, collection: str) -> bool: ...

        async def purge(self, age_s: float) -> bool: ...


IN_FLIGHT_S = 15.0
"""A submission that began before the erasure has ended after this time."""

_CLAIM_S = 60.0
_RENEWAL_S = 20.0
_PAUSE_S = 1.0
_BATCH = 500
_CANCELLED_AT_ONCE = 8
_OWN_FOLDERS = (UPLOADS, KEPT, NOTES_OF_0_1)


class Eraser:
    """Carries out erasures, one at a time; each may be interrupted, and is then begun again.

    What is removed comes in batches, and is removed again until nothing new has appeared for
    `in_flight_s`. Then the vector store and SQLite rewrite their files.
    """

    def __init__(  # noqa: PLR0913 - the stores that it erases from
        self,
        catalogue: Catalogue,
        vectors: Vectors,
        files: FileStore,
        database_url: str,
        *,
        cancel: Callable[[str], Awaitable[Job]] | None,
        in_flight_s: float = IN_FLIGHT_S,
    ) -> None:
        """Keep the parts; without `cancel`, no replica of Jobs may be running."""
        self._catalogue = catalogue
        self._vectors = vectors
        self._files = files
        self._database_url = database_url
        self._cancel = cancel
        self._in_flight_s = in_flight_s

    async def run_pending(self) -> None:
        """Carry out the erasures that nobody is at work on."""
        while (erasure := await self._catalogue.erasures.claim(_CLAIM_S)) is not None:
            try:
                await self.run(erasure)
            except ServiceError as error:
                logger.warning("{} is tried again: {}", erasure.id, error)

    async def run(self, erasure: ErasureEntry) -> None:
        """Carry out an erasure that was claimed."""
        began = time.monotonic()
        logger.info("{} began", erasure.id)
        with open_rows(self._database_url, erasure) as rows:
            async with self._claimed(erasure):
                while True:
                    young = time.monotonic() - began < self._in_flight_s
                    active = await self._stop_jobs(rows)
                    removed = await self._remove(erasure, rows)
                    if not (young or active or removed):
                        break
                    await asyncio.sleep(_PAUSE_S)
                if erasure.document_id is None:
                    await self._catalogue.erasures.forget(erasure)
                await self._vectors.purge(0)
                await self._catalogue.purge()
                await self._catalogue.erasures.finish(erasure)
        logger.info("{} is finished", erasure.id)

    @contextlib.asynccontextmanager
    async def _claimed(self, erasure: ErasureEntry) -> AsyncIterator[None]:
        """Renew the claim meanwhile."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(_RENEWAL_S)
                with contextlib.suppress(ServiceError):
                    await self._catalogue.erasures.renew(erasure)

        task = asyncio.create_task(renew())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _stop_jobs(self, rows: JobRows | None) -> bool:
        """Cancel the jobs that have not ended; return whether there were any."""
        if rows is None or self._cancel is None:
            return False
        jobs = await rows.active()
        for start in range(0, len(jobs), _CANCELLED_AT_ONCE):
            some = jobs[start : start + _CANCELLED_AT_ONCE]
            await asyncio.gather(*(self._stop(self._cancel, job.id) for job in some))
        return bool(jobs)

    async def _stop(self, cancel: Callable[[str], Awaitable[Job]], job_id: str) -> None:
        with contextlib.suppress(Conflict, NotFound):
            await cancel(job_id)

    async def _remove(self, erasure: ErasureEntry, rows: JobRows | None) -> bool:
        """Remove everything once; return whether there was something."""
        if erasure.document_id is None:
            removed = await self._remove_owner(erasure)
        else:
            removed = await self._remove_document(erasure, erasure.document_id)
        if rows is not None:
            async for jobs in rows.batches():
                ended = [job for job in jobs if job.ended or self._cancel is None]
                removed |= await self._remove_jobs(erasure, rows, ended)
        if erasure.document_id is None:
            for folder in _OWN_FOLDERS:
                await self._files.delete(folder_of(folder, erasure.owner))
        return removed

    async def _remove_owner(self, erasure: ErasureEntry) -> bool:
        removed = False
        for collection in await self._vectors.collections():
            if owner_of(collection) == erasure.owner:
                removed |= await self._vectors.drop(collection)
        while await self._catalogue.erasures.remove_some(erasure, _BATCH):
            removed = True
        return removed

    async def _remove_document(self, erasure: ErasureEntry, document_id: str) -> bool:
        collection = erasure.collection or ""
        with contextlib.suppress(NotFound):  # the collection has been dropped
            await self._vectors.delete(collection, document_id)
        removed = await self._catalogue.erasures.remove_document(erasure)
        # It may have been made of a kept file, which other vector stores may have, too.
        file_id = f"file-{document_id.removeprefix('doc_')}"
        notes = folder_of(NOTES_OF_0_1, erasure.owner)
        await self._files.delete(f"{notes}/{short_name(collection)}/files/{file_id}")
        if not await self._catalogue.documents.collections_of(erasure.owner, document_id):
            await self._files.delete(f"{folder_of(KEPT, erasure.owner)}/{file_id}")
            removed |= await self._catalogue.erasures.remove_file(erasure, file_id)
        return removed

    async def _remove_jobs(self, erasure: ErasureEntry, rows: JobRows, jobs: Sequence[Job]) -> bool:
        if not jobs:
            return False
        for job in jobs:
            await self._files.delete(f"{CHUNKS}/{job.id}")
            await self._files.delete(f"{IMAGES}/{job.id}")
            if isinstance(job.spec, IngestSpec) and job.spec.upload_path:
                await self._files.delete(job.spec.upload_path)
        await rows.delete([job.id for job in jobs])
        await self._catalogue.erasures.count(erasure, jobs=len(jobs))
        return True
