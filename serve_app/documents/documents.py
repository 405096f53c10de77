"""Documents of one owner: listed from the catalogue, deleted everywhere."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from deployments.attribute_writes import write_attributes
from deployments.catalogue.entries import DocumentStatus
from deployments.contents import content_path, contents_folder
from deployments.errors import Conflict, NotFound
from deployments.serving.request_context import detached
from deployments.types import IngestSpec, JobKind, JobQuery, JobStatus, ZipSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.catalogue.entries import DocumentEntry, EntryPage, PageQuery, VersionEntry
    from deployments.catalogue.owned import OwnedCatalogue
    from deployments.file_store import FileStore
    from deployments.filters import Attributes
    from deployments.types import Document, Submitted
    from serve_app.services import Services


_CANCELLED_AT_ONCE = 8
_JOBS_LISTED = 100


class Documents:
    """The documents in the collections of one owner."""

    def __init__(self, services: Services, catalogue: OwnedCatalogue, files: FileStore) -> None:
        self._files = files
        self._retriever = services.retriever
        self._jobs = services.jobs
        self._catalogue = catalogue

    async def check_collection(self, collection: str) -> None:
        """Raise NotFound for a collection that does not exist."""
        await self._catalogue.collections.get(collection)

    async def searchable(self, collection: str, query: PageQuery) -> EntryPage[DocumentEntry]:
        """List the documents that can be found; raises NotFound for the collection."""
        await self.check_collection(collection)
        return await self._catalogue.documents.page(collection, query, DocumentStatus.COMPLETED)

    async def get(self, collection: str, document_id: str) -> Document:
        """Find a searchable document; raises NotFound for it or its collection."""
        entry = await self._entry(collection, document_id)
        if entry.status is not DocumentStatus.COMPLETED:
            msg = f"this document cannot be searched: {entry.status.replace('_', ' ')}"
            raise NotFound(msg, param="document_id")
        return entry.document

    async def versions(
        self, collection: str, document_id: str, query: PageQuery
    ) -> EntryPage[VersionEntry]:
        """List the versions of a document; raises NotFound for it or its collection."""
        await self.check_collection(collection)
        return await self._catalogue.versions.page(collection, document_id, query)

    async def rename(self, collection: str, document_id: str, name: str) -> Document:
        """Give a document another name; raises NotFound, or Conflict if another one has it."""
        await self.get(collection, document_id)
        return (await self._catalogue.documents.rename(collection, document_id, name)).document

    async def set_attributes(
        self, collection: str, document_id: str, attributes: Attributes
    ) -> DocumentEntry:
        """Replace the attributes of a document of any status; raises NotFound."""
        await self._entry(collection, document_id)
        entry = await self._catalogue.documents.set_attributes(collection, document_id, attributes)
        await self.apply_attributes(collection, document_id)
        return entry

    async def apply_attributes(self, collection: str, document_id: str) -> None:
        """Make a document found by its attributes; see `write_attributes`."""
        changes = self._catalogue.attribute_changes
        await write_attributes(changes, self._retriever, collection, document_id)

    async def restore(self, collection: str, document_id: str, number: int | None) -> Submitted:
        """Return the job that makes the content of an earlier version the newest version.

        By default it is that of the version before the current one. Raises NotFound, or Conflict
        if the content is not kept any more.
        """
        await self.get(collection, document_id)
        entry = await self._catalogue.versions.to_restore(collection, document_id, number)
        document = entry.document
        full_name = self._catalogue.full_name(collection)
        path = content_path(full_name, document_id, document.version)
        try:
            await self._files.get(path, 1)
        except NotFound:
            msg = f"the content of version {document.version} is not kept any more"
            raise Conflict(msg, code="content_not_kept", param="version") from None
        spec = IngestSpec(
            document_id,
            collection,
            document.filename,
            document.size_bytes,
            path,
            digest=entry.digest,
            borrowed=True,
            chunking=entry.chunking,
            restored_from=document.version,
        )
        return await self._jobs.submit_ingest(spec, None)

    async def remove(self, collection: str, document_id: str) -> None:
        """Delete a document with all its versions, and stop its jobs; raises NotFound.

        It is completed even if the client disconnects.
        """
        await self._entry(collection, document_id)
        await asyncio.shield(detached(self._remove(collection, document_id)))

    async def _entry(self, collection: str, document_id: str) -> DocumentEntry:
        try:
            return await self._catalogue.documents.get(collection, document_id)
        except NotFound:
            await self.check_collection(collection)
            raise

    async def _remove(self, collection: str, document_id: str) -> None:
        await self.cancel(collection, document_id)
        await self._catalogue.documents.remove(collection, document_id)
        with contextlib.suppress(NotFound):  # nothing of the collection has been stored yet
            await self._retriever.delete(collection, document_id)
        await self.delete_contents(collection, document_id)
        await self._catalogue.removed(collection, document_id)

    async def delete_contents(self, collection: str, document_id: str | None = None) -> None:
        """Delete the contents of a document, or of all documents in a collection."""
        if not await self._catalogue.contents_are_held():
            full_name = self._catalogue.full_name(collection)
            await self._files.delete(contents_folder(full_name, document_id))

    async def cancel(self, collection: str, document_id: str | None = None) -> None:
        """Stop the jobs of a document, or of all documents in a collection."""
        if document_id is None:
            await self.cancel_jobs(await self._zip_jobs(collection))
        entries = await self._catalogue.versions.in_progress(collection, document_id)
        await self.cancel_jobs(
            [each.document.job_id for each in entries if each.document.job_id is not None]
        )

    async def cancel_jobs(self, job_ids: Sequence[str]) -> None:
        """Stop jobs, as far as they have not ended."""
        for start in range(0, len(job_ids), _CANCELLED_AT_ONCE):
            some = job_ids[start : start + _CANCELLED_AT_ONCE]
            await asyncio.gather(*map(self._cancel, some))

    async def _zip_jobs(self, collection: str) -> list[str]:
        """List the jobs that make documents of ZIP files in a collection."""
        found = []
        for status in (JobStatus.QUEUED, JobStatus.RUNNING):
            after: str | None = None
            while True:
                query = JobQuery(JobKind.ZIP, status, _JOBS_LISTED, after)
                listed = await self._jobs.jobs(query)
                found += [
                    job.id
                    for job in listed.jobs
                    if isinstance(job.spec, ZipSpec) and job.spec.collection == collection
                ]
                after = listed.next_after
                if after is None:
                    break
        return found

    async def _cancel(self, job_id: str) -> None:
        with contextlib.suppress(Conflict, NotFound):
            await self._jobs.cancel(job_id)
