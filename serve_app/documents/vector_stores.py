"""Vector stores as OpenAI has them: collections with a name, and files attached to them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from deployments.errors import Conflict, InvalidRequest, NotFound
from deployments.types import Collection, IngestSpec, JobKind, JobStatus
from serve_app.documents.kept_files import NO_OWNER
from serve_app.schemas.fields import DEFAULT_COLLECTION

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from deployments.file_store import FileStore
    from deployments.types import Document, Job
    from serve_app.documents.kept_files import KeptFiles
    from serve_app.documents.uploads import Uploads
    from serve_app.services import Services

AttachmentStatus = Literal["in_progress", "completed", "failed", "cancelled"]
_STATUS: dict[JobStatus, AttachmentStatus] = {
    JobStatus.QUEUED: "in_progress",
    JobStatus.RUNNING: "in_progress",
    JobStatus.SUCCEEDED: "completed",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELLED: "cancelled",
}
_JOBS_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file in a vector store; its job makes it searchable. Times in seconds since the epoch."""

    file_id: str
    job_id: str
    created_at: int
    size_bytes: int
    status: AttachmentStatus = "in_progress"
    error_code: str | None = None
    error_message: str | None = None


@dataclass(frozen=True, slots=True)
class VectorStore:
    """A collection under the name it was given; `unfinished` is what cannot be searched in it.

    A collection that came to be by an upload is called by its id.
    """

    id: str
    name: str
    created_at: int
    metadata: Mapping[str, str] = field(default_factory=dict)
    holds: Collection = field(default_factory=lambda: Collection(""))
    unfinished: Sequence[Attachment] = ()


class VectorStores:
    """The vector stores of one owner.

    What a collection has no place for (names, metadata, attachments) lies in the file store.
    """

    def __init__(
        self, services: Services, kept: KeptFiles, uploads: Uploads, files: FileStore, owner: str
    ) -> None:
        """Bind the owner's capabilities, and the files that all owners share."""
        self._retriever = services.retriever
        self._jobs = services.jobs
        self._kept = kept
        self._uploads = uploads
        self._files = files
        self._root = f"vector_stores/{owner or NO_OWNER}"

    async def create(
        self, name: str, metadata: Mapping[str, str], file_ids: Sequence[str]
    ) -> VectorStore:
        """Make a vector store, with files; raises NotFound for a file that is not there."""
        await asyncio.gather(*map(self._kept.file, file_ids))
        store = VectorStore(f"vs_{uuid.uuid4().hex[:24]}", name, int(time.time()), metadata)
        await self._retriever.create(store.id)
        await self._note(store)
        for file_id in dict.fromkeys(file_ids):
            await self.attach(store.id, file_id)
        return await self.get(store.id)

    async def change(
        self, store_id: str, name: str | None, metadata: Mapping[str, str] | None
    ) -> VectorStore:
        """Give a vector store another name or other metadata; raises NotFound."""
        store = await self.get(store_id)
        changed = replace(
            store,
            name=store.name if name is None else name,
            metadata=store.metadata if metadata is None else metadata,
        )
        await self._note(changed)
        return changed

    async def get(self, store_id: str) -> VectorStore:
        """Find a vector store and count what is in it; raises NotFound."""
        try:
            holds = await self._retriever.collection(store_id)
        except (NotFound, InvalidRequest):
            raise _no_store() from None
        noted, attachments = await asyncio.gather(self._noted(store_id), self._attached(store_id))
        created_at = noted.created_at or int(holds.created_at or 0)
        unfinished = [each for each in attachments if each.status != "completed"]
        return replace(noted, created_at=created_at, holds=holds, unfinished=unfinished)

    async def stores(
        self, *, limit: int, after: str | None, newest_first: bool
    ) -> tuple[list[VectorStore], bool]:
        """List vector stores from behind the id `after`, and say whether there are more."""
        ids = sorted({*await self._retriever.collections(), DEFAULT_COLLECTION})
        noted = await asyncio.gather(*map(self._noted, ids))
        noted = sorted(noted, key=lambda each: (each.created_at, each.id), reverse=newest_first)
        if after is not None:
            places = [place for place, each in enumerate(noted) if each.id == after]
            if not places:
                msg = "after: there is no such vector store"
                raise InvalidRequest(msg, param="after")
            noted = noted[places[0] + 1 :]
        found = await asyncio.gather(
            *(self.get(each.id) for each in noted[:limit]), return_exceptions=True
        )
        for store in found:
            if isinstance(store, BaseException) and not isinstance(store, NotFound):
                raise store
        return [each for each in found if isinstance(each, VectorStore)], len(noted) > limit

    async def delete(self, store_id: str) -> None:
        """Remove a vector store and all that is in it, but not the files; raises NotFound."""
        await self.get(store_id)
        async for job in self._at_work_on(store_id):
            with contextlib.suppress(Conflict, NotFound):
                await self._jobs.cancel(job.id)
        await self._retriever.drop(store_id)
        await self._files.delete(f"{self._root}/{store_id}")

    async def attach(self, store_id: str, file_id: str) -> Attachment:
        """Have a kept file made searchable in a vector store; raises NotFound for either."""
        await self.get(store_id)
        file, content = await self._kept.content(file_id)
        submitted = await self._uploads.accept_kept(file, content, store_id)
        attachment = Attachment(file_id, submitted.job.id, int(time.time()), file.size_bytes)
        return await self._settled(store_id, attachment)

    async def attachment(self, store_id: str, file_id: str) -> Attachment:
        """Say how a file stands in a vector store; raises NotFound."""
        try:
            noted = await self._files.get(self._attachment(store_id, file_id))
        except (NotFound, ValueError):
            # It may have come by an upload.
            return _of_upload(file_id, await self._document(store_id, file_id))
        return await self._settled(store_id, Attachment(**json.loads(noted)))

    async def attachments(
        self,
        store_id: str,
        *,
        status: AttachmentStatus | None,
        limit: int,
        after: str | None,
        newest_first: bool,
    ) -> tuple[list[Attachment], bool]:
        """List what was attached, by file id, and say whether there is more; raises NotFound."""
        await self.get(store_id)
        found = await self._attached(store_id)
        found.sort(key=lambda each: each.file_id, reverse=newest_first)
        if after is not None:
            found = [
                each
                for each in found
                if (each.file_id < after if newest_first else each.file_id > after)
            ]
        found = [each for each in found if status in {None, each.status}]
        return found[:limit], len(found) > limit

    async def detach(self, store_id: str, file_id: str) -> None:
        """Take a file out of a vector store; raises NotFound."""
        attachment = await self.attachment(store_id, file_id)
        if attachment.status == "in_progress":
            with contextlib.suppress(Conflict, NotFound):
                await self._jobs.cancel(attachment.job_id)
        await self._retriever.delete(store_id, document_id_of(file_id))
        await self.forget(store_id, document_id_of(file_id))

    async def detach_everywhere(self, file_id: str) -> None:
        """Take a file out of all vector stores that it was attached to."""
        for store_id in await self._retriever.collections():
            if file_id in await self._files.names(self._attachments(store_id)):
                with contextlib.suppress(NotFound):
                    await self.detach(store_id, file_id)

    async def forget(self, store_id: str, document_id: str) -> None:
        """Remove the note of a file whose document is gone."""
        await self._files.delete(self._attachment(store_id, file_id_of(document_id)))

    async def _document(self, store_id: str, file_id: str) -> Document:
        try:
            return await self._retriever.document(store_id, document_id_of(file_id))
        except (NotFound, InvalidRequest):
            msg = "there is no such file in this vector store"
            raise NotFound(msg, param="file_id") from None

    async def _attached(self, store_id: str) -> list[Attachment]:
        names = await self._files.names(self._attachments(store_id))
        found = await asyncio.gather(
            *(self.attachment(store_id, name) for name in names), return_exceptions=True
        )
        for each in found:
            if isinstance(each, BaseException) and not isinstance(each, NotFound):
                raise each
        return [each for each in found if isinstance(each, Attachment)]

    async def _settled(self, store_id: str, attachment: Attachment) -> Attachment:
        """See how the job of a file stands, and note what came of it."""
        if attachment.status != "in_progress":
            return attachment
        try:
            job = await self._jobs.job(attachment.job_id)
        except NotFound:  # forgotten: it ended long ago
            there = True
            try:
                await self._document(store_id, attachment.file_id)
            except NotFound:
                there = False
            settled = replace(attachment, status="completed" if there else "failed")
        else:
            settled = replace(
                attachment,
                status=_STATUS[job.status],
                error_code=job.error_code,
                error_message=job.error_message,
            )
        path = self._attachment(store_id, attachment.file_id)
        await self._files.put(path, json.dumps(asdict(settled)).encode())
        return settled

    async def _at_work_on(self, store_id: str) -> AsyncIterator[Job]:
        for status in (JobStatus.QUEUED, JobStatus.RUNNING):
            after: str | None = None
            while True:
                listed = await self._jobs.jobs("", JobKind.INGEST, status, _JOBS_AT_ONCE, after)
                for job in listed.jobs:
                    if isinstance(job.spec, IngestSpec) and job.spec.collection == store_id:
                        yield job
                if (after := listed.next_after) is None:
                    break

    async def _note(self, store: VectorStore) -> None:
        note = {
            "name": store.name,
            "created_at": store.created_at,
            "metadata": dict(store.metadata),
        }
        await self._files.put(f"{self._root}/{store.id}/about", json.dumps(note).encode())

    async def _noted(self, store_id: str) -> VectorStore:
        try:
            note = await self._files.get(f"{self._root}/{store_id}/about")
        except (NotFound, ValueError):
            return VectorStore(store_id, store_id, 0)
        return VectorStore(store_id, **json.loads(note))

    def _attachments(self, store_id: str) -> str:
        return f"{self._root}/{store_id}/files"

    def _attachment(self, store_id: str, file_id: str) -> str:
        return f"{self._attachments(store_id)}/{file_id}"


def document_id_of(file_id: str) -> str:
    """Name the document that a file becomes in a vector store."""
    return f"doc_{file_id.removeprefix('file-')}"


def file_id_of(document_id: str) -> str:
    """Name the file by the document, as OpenAI's clients see it."""
    return f"file-{document_id.removeprefix('doc_')}"


def _of_upload(file_id: str, document: Document) -> Attachment:
    return Attachment(
        file_id,
        job_id=document.job_id or "",
        created_at=int(document.created_at),
        size_bytes=document.size_bytes,
        status="completed",
    )


def _no_store() -> NotFound:
    msg = "there is no such vector store"
    return NotFound(msg, param="vector_store_id")
