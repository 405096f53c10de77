"""Removal of what the erasures of one owner name: jobs, vectors, rows and files."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from deployments.collection_names import owner_of, short_name
from deployments.contents import CONTENTS, contents_folder
from deployments.errors import Conflict, NotFound
from deployments.file_store import (
    ARCHIVES,
    CHUNKS,
    IMAGES,
    KEPT,
    NOTES_OF_0_1,
    RECHUNKED,
    UPLOADS,
    folder_of,
)
from deployments.kept_files import file_id_of, kept_path
from deployments.types import ImportSpec, IngestSpec, ZipSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from deployments.catalogue.catalogue import Catalogue
    from deployments.catalogue.entries import ErasureEntry
    from deployments.file_store import FileStore
    from deployments.jobs.job_rows import JobRows
    from deployments.types import Job

_BATCH = 500
_CANCELLED_AT_ONCE = 8
_OWN_FOLDERS = (UPLOADS, ARCHIVES, KEPT, NOTES_OF_0_1)


class Vectors(Protocol):
    """What an erasure needs of a retriever, or of a vector store."""

    async def collections(self) -> list[str]:
        """Name the collections of all owners."""
        ...

    async def delete(self, collection: str, document_id: str) -> bool:
        """Delete a document and return whether it existed."""
        ...

    async def drop(self, collection: str) -> bool:
        """Delete a collection and return whether it existed."""
        ...

    async def purge(self, age_s: float) -> bool:
        """Remove from the disk what was deleted."""
        ...


@dataclass(frozen=True)
class ErasedStores:
    """Where data of owners is; `rows` are None if there have never been jobs.

    Without `cancel`, no replica of Jobs is running.
    """

    catalogue: Catalogue
    vectors: Vectors
    files: FileStore
    rows: JobRows | None
    cancel: Callable[[str], Awaitable[Job]] | None


class OwnerErasures:
    """The erasures of one owner: of documents, or of everything."""

    def __init__(self, stores: ErasedStores, owner: str, erasures: Sequence[ErasureEntry]) -> None:
        self._stores = stores
        self._owner = owner
        self.erasures = erasures
        self._of_everything = next((one for one in erasures if one.document_id is None), None)
        self._of_documents = {
            (one.collection, one.document_id): one for one in erasures if one.document_id
        }

    async def remove(self) -> bool:
        """Remove everything once, and return whether there was something."""
        removed = await self._stop_jobs()
        if self._of_everything is not None:
            removed |= await self._remove_everything(self._of_everything)
        for erasure in self._of_documents.values():
            removed |= await self._remove_document(erasure)
        removed |= await self._remove_jobs()
        if self._of_everything is not None:
            for folder in _OWN_FOLDERS:
                await self._stores.files.delete(folder_of(folder, self._owner))
        return removed

    def _erasure_of(self, job: Job) -> ErasureEntry | None:
        if self._of_everything is not None:
            return self._of_everything
        if isinstance(job.spec, ZipSpec) and job.ended:  # its record names its files
            of_collection = (one for one in self.erasures if one.collection == job.spec.collection)
            return next(of_collection, None)
        if not isinstance(job.spec, IngestSpec):
            return None
        return self._of_documents.get((job.spec.collection, job.spec.document_id))

    def _is_erased(self, job: Job) -> bool:
        return self._erasure_of(job) is not None

    async def _stop_jobs(self) -> bool:
        """Cancel the jobs that have not ended; return whether there were any."""
        rows, cancel = self._stores.rows, self._stores.cancel
        if rows is None or cancel is None:
            return False

        async def stop(job: Job) -> None:
            with contextlib.suppress(Conflict, NotFound):
                await cancel(job.id)

        jobs = await rows.active(self._owner, self._is_erased)
        for start in range(0, len(jobs), _CANCELLED_AT_ONCE):
            await asyncio.gather(*map(stop, jobs[start : start + _CANCELLED_AT_ONCE]))
        return bool(jobs)

    async def _remove_everything(self, erasure: ErasureEntry) -> bool:
        removed = False
        removed |= await self._stop_rechunking()
        for collection in await self._stores.vectors.collections():
            if owner_of(collection) == self._owner:
                removed |= await self._stores.vectors.drop(collection)
        for collection in await self._stores.files.names(CONTENTS):
            if owner_of(collection) == self._owner:
                await self._stores.files.delete(contents_folder(collection))
        while await self._stores.catalogue.erased_rows.remove_some(erasure, _BATCH):
            removed = True
        return removed

    async def _stop_rechunking(self, document: tuple[str, str] | None = None) -> bool:
        """Forget the version that is rechunked, with its new chunks; return whether there was one.

        If it is a document of another owner, that begins again.
        """
        changes, files = self._stores.catalogue.chunker_changes, self._stores.files
        stopped = await (
            changes.forget_owner(self._owner) if document is None else changes.forget(*document)
        )
        for name in await files.names(CHUNKS):
            if name.startswith(RECHUNKED):
                await files.delete(f"{CHUNKS}/{name}")
        return stopped

    async def _remove_document(self, erasure: ErasureEntry) -> bool:
        collection, document_id = erasure.collection or "", erasure.document_id or ""
        files, catalogue = self._stores.files, self._stores.catalogue
        with contextlib.suppress(NotFound):  # the collection has been dropped
            await self._stores.vectors.delete(collection, document_id)
        removed = await catalogue.removals.held()  # then the vectors are still there
        removed |= await self._stop_rechunking((collection, document_id))
        await files.delete(contents_folder(collection, document_id))
        removed |= await catalogue.erased_rows.remove_document(erasure)
        # It may have been made of a kept file, which other vector stores may have, too.
        file_id = file_id_of(document_id)
        notes = folder_of(NOTES_OF_0_1, self._owner)
        await files.delete(f"{notes}/{short_name(collection)}/files/{file_id}")
        if not await catalogue.erased_rows.is_in_use(self._owner, document_id):
            await files.delete(kept_path(self._owner, file_id))
            removed |= await catalogue.erased_rows.remove_file(erasure, file_id)
        return removed

    async def _remove_jobs(self) -> bool:
        removed, rows = False, self._stores.rows
        if rows is None:
            return False
        async for jobs in rows.batches(self._owner, self._is_erased):
            ended = [job for job in jobs if job.ended or self._stores.cancel is None]
            for job in ended:
                await self._remove_files_of(job)
            if ended:
                await rows.delete([job.id for job in ended])
                await self._count(ended)
                removed = True
        return removed

    async def _remove_files_of(self, job: Job) -> None:
        files = self._stores.files
        await files.delete(f"{CHUNKS}/{job.id}")
        await files.delete(f"{IMAGES}/{job.id}")
        if isinstance(job.spec, IngestSpec) and job.spec.upload_path and not job.spec.borrowed:
            await files.delete(job.spec.upload_path)
        if isinstance(job.spec, ImportSpec | ZipSpec):
            await files.delete(job.spec.upload_path)
        if isinstance(job.spec, ZipSpec):
            await files.delete(job.spec.folder)

    async def _count(self, jobs: Sequence[Job]) -> None:
        erasures = {one.id: one for job in jobs if (one := self._erasure_of(job)) is not None}
        for erasure in erasures.values():
            number = sum(self._erasure_of(job) is erasure for job in jobs)
            await self._stores.catalogue.erasures.count(erasure, jobs=number)
