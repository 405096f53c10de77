"""Files attached to vector stores, and their status."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Literal

from deployments.errors import (
    Conflict,
    InvalidRequest,
    NotFound,
    TooLarge,
    Unprocessable,
    UnsupportedMedia,
)
from deployments.records import from_record
from deployments.serving.request_context import detached
from deployments.types import JobStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.file_store import FileStore
    from deployments.types import Document, Job
    from serve_app.documents.files import KeptFiles
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
_AT_ONCE = 32


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file in a vector store. Times in seconds since the epoch.

    What is noted of it is what was true in the beginning; how it stands now, its job says.
    """

    file_id: str
    created_at: int
    size_bytes: int
    job_id: str | None = None
    status: AttachmentStatus = "in_progress"
    error_code: str | None = None
    error_message: str | None = None


class Attachments:
    """The attachments of one owner; notes of them lie in the file store, below `root`."""

    def __init__(
        self, services: Services, kept: KeptFiles, uploads: Uploads, files: FileStore, root: str
    ) -> None:
        self._retriever = services.retriever
        self._jobs = services.jobs
        self._kept = kept
        self._uploads = uploads
        self._files = files
        self._root = root

    async def add(self, store_id: str, file_id: str) -> Attachment:
        """Have a kept file made searchable; raises NotFound for the file.

        A file that cannot be read is attached all the same, as one that failed.
        """
        adding = detached(self._add(store_id, file_id))
        try:
            return await asyncio.shield(adding)
        except asyncio.CancelledError:
            # The client left: seen through to the end, or the document would have no note.
            with contextlib.suppress(Exception):
                await adding
            raise

    async def _add(self, store_id: str, file_id: str) -> Attachment:
        file = await self._kept.file(file_id)
        attachment = Attachment(file_id, int(time.time()), file.size_bytes)
        try:
            with self._uploads.place():  # it is in memory whole for a moment
                content = b"".join([block async for block in self._kept.content(file_id)])
                job = (await self._uploads.accept_kept(file, content, store_id)).job
        except (UnsupportedMedia, Unprocessable, TooLarge) as error:
            attachment = replace(
                attachment, status="failed", error_code=error.code, error_message=error.message
            )
        else:
            attachment = replace(attachment, job_id=job.id)
        note = json.dumps(asdict(attachment)).encode()
        await self._files.put(self._path(store_id, file_id), note)
        if attachment.job_id is not None:
            attachment = _with_job_status(attachment, job)
        return attachment

    async def one(self, store_id: str, file_id: str) -> Attachment:
        """Say how a file stands; raises NotFound."""
        found = await self._read(store_id, file_id)
        if found is None:
            # It may have come by an upload.
            return _of_upload(file_id, await self._document(store_id, file_id))
        (settled,) = await self._with_status(store_id, [found])
        return settled

    async def all(self, store_id: str) -> list[Attachment]:
        """Say how all files stand that were attached to a vector store, oldest first."""
        names = sorted(await self._files.names(self._folder(store_id)))
        noted: list[Attachment] = []
        for start in range(0, len(names), _AT_ONCE):
            some = names[start : start + _AT_ONCE]
            read = await asyncio.gather(*(self._read(store_id, name) for name in some))
            noted += filter(None, read)
        return await self._with_status(store_id, noted)

    async def remove(self, store_id: str, file_id: str) -> None:
        """Take a file out of a vector store; raises NotFound."""
        attachment = await self.one(store_id, file_id)
        if attachment.status == "in_progress" and attachment.job_id is not None:
            with contextlib.suppress(Conflict, NotFound):
                await self._jobs.cancel(attachment.job_id)
        await self._retriever.delete(store_id, document_id_of(file_id))
        await self.forget(store_id, file_id)

    async def remove_everywhere(self, file_id: str) -> None:
        """Take a file out of all vector stores, noted or not."""
        for store_id in await self._retriever.collections():
            with contextlib.suppress(NotFound):
                await self.remove(store_id, file_id)

    async def forget(self, store_id: str, file_id: str) -> None:
        """Remove the note of a file whose document is gone."""
        await self._files.delete(self._path(store_id, file_id))

    async def _read(self, store_id: str, file_id: str) -> Attachment | None:
        try:
            note = await self._files.get(self._path(store_id, file_id))
        except NotFound:
            return None
        return from_record(Attachment, json.loads(note))

    async def _with_status(self, store_id: str, noted: Sequence[Attachment]) -> list[Attachment]:
        """See how the jobs of files stand, all at once."""
        job_ids = [each.job_id for each in noted if each.job_id is not None]
        jobs = {job.id: job for job in await self._jobs.find(job_ids)} if job_ids else {}
        settled = []
        for each in noted:
            if each.job_id is None:
                settled.append(each)
            elif each.job_id in jobs:
                settled.append(_with_job_status(each, jobs[each.job_id]))
            else:  # forgotten: it ended long ago
                settled.append(await self._with_document_status(store_id, each))
        return settled

    async def _with_document_status(self, store_id: str, attachment: Attachment) -> Attachment:
        try:
            await self._document(store_id, attachment.file_id)
        except NotFound:
            return replace(attachment, status="failed")
        return replace(attachment, status="completed")

    async def _document(self, store_id: str, file_id: str) -> Document:
        try:
            return await self._retriever.document(store_id, document_id_of(file_id))
        except (NotFound, InvalidRequest):
            msg = "there is no such file in this vector store"
            raise NotFound(msg, param="file_id") from None

    def _folder(self, store_id: str) -> str:
        return f"{self._root}/{store_id}/files"

    def _path(self, store_id: str, file_id: str) -> str:
        return f"{self._folder(store_id)}/{file_id}"


def document_id_of(file_id: str) -> str:
    """Name the document that a file becomes in a vector store."""
    return f"doc_{file_id.removeprefix('file-')}"


def file_id_of(document_id: str) -> str:
    """Name the file by the document, as OpenAI's clients see it."""
    return f"file-{document_id.removeprefix('doc_')}"


def _with_job_status(attachment: Attachment, job: Job) -> Attachment:
    return replace(
        attachment,
        status=_STATUS[job.status],
        error_code=job.error_code,
        error_message=job.error_message,
    )


def _of_upload(file_id: str, document: Document) -> Attachment:
    return Attachment(file_id, int(document.created_at), document.size_bytes, status="completed")
