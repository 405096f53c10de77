"""Uploads: check their size and format, store them, and submit their jobs."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING, BinaryIO

from deployments.errors import (
    InvalidRequest,
    Overloaded,
    ServiceError,
    Unprocessable,
)
from deployments.kept_files import CARD_BYTES, document_id_of
from deployments.serving.request_context import detached
from deployments.types import IngestSpec, JobStatus, ZipSpec
from serve_app.documents.file_checks import (
    HEAD_BYTES,
    check_format,
    inspect_file,
    is_zip,
    shown_name,
)

if TYPE_CHECKING:
    from fastapi import UploadFile

    from deployments.catalogue.entries import FileEntry
    from deployments.file_store import FileStore
    from deployments.filters import Attributes
    from deployments.interfaces import Jobs
    from deployments.types import Chunking, OnConflict, Submitted
    from serve_app.documents.files import KeptFiles
    from serve_app.settings import LimitSettings

_LOCKED_WAIT_S = 10.0


class Uploads:
    """Uploads of one owner at this ingress."""

    def __init__(self, jobs: Jobs, files: FileStore, limits: LimitSettings, folder: str) -> None:
        """Store uploads in a folder."""
        self._folder = folder
        self._jobs = jobs
        self._files = files
        self._limits = limits

    async def accept(
        self,
        upload: UploadFile,
        collection: str,
        key: str | None,
        on_conflict: OnConflict,
        attributes: Attributes | None = None,
    ) -> Submitted:
        """Return the job that makes the file searchable, or did so before.

        Of a ZIP file, each file becomes a document of its own.

        What the first bytes and the size show is refused at once: TooLarge, UnsupportedMedia, or
        Unprocessable for a file with nothing in it. The rest is for the job to find out; for
        an encrypted PDF that is waited for, as most of them need a password.
        """
        filename = shown_name(upload.filename)
        seen = await asyncio.to_thread(inspect_file, upload.file, self._limits.max_upload_bytes)
        if seen.blank and seen.size_bytes:
            raise _blank()
        await asyncio.to_thread(check_format, seen.head, seen.size_bytes, filename)
        path = f"{self._folder}/{uuid.uuid4().hex}"
        spec: IngestSpec | ZipSpec
        if await asyncio.to_thread(is_zip, upload.file, seen.head, filename):
            spec = ZipSpec(
                collection,
                filename,
                seen.size_bytes,
                path,
                digest=seen.digest,
                on_conflict=on_conflict,
                attributes=attributes,
            )
        else:
            spec = IngestSpec(
                "",
                collection,
                filename,
                seen.size_bytes,
                path,
                digest=seen.digest,
                on_conflict=on_conflict,
                attributes=attributes,
            )
        handing_over = detached(self._hand_over(spec, upload.file, key))
        try:
            submitted = await asyncio.shield(handing_over)
        except asyncio.CancelledError:
            # The client left, but its file is here whole. Seen through to the end, as half of
            # it would leave bytes that no job knows of; the caller closes the file after this.
            with contextlib.suppress(Exception):
                await handing_over
            raise
        return await self._opened(submitted) if seen.encrypted else submitted

    async def accept_kept(
        self,
        file: FileEntry,
        kept: KeptFiles,
        collection: str,
        *,
        attributes: Attributes | None = None,
        chunking: Chunking | None = None,
    ) -> Submitted:
        """Return the job that makes a kept file searchable, as a document of its own.

        The job reads the kept file in place. What the first bytes show is refused at once:
        UnsupportedMedia, or Unprocessable if there is nothing in it.
        """
        head = await kept.head(file.id, HEAD_BYTES)
        await asyncio.to_thread(check_format, head, file.size_bytes, file.filename)
        spec = IngestSpec(
            document_id_of(file.id),
            collection,
            file.filename,
            file.size_bytes,
            kept.path(file.id),
            digest=file.digest,
            start_byte=CARD_BYTES,
            borrowed=True,
            attributes=attributes,
            chunking=chunking,
        )
        return await self._jobs.submit_ingest(spec, None)

    async def _opened(self, submitted: Submitted) -> Submitted:
        """Wait a moment until the file is read; raises Unprocessable if it cannot be."""
        job = submitted.job
        with contextlib.suppress(TimeoutError, ServiceError):
            async with (
                asyncio.timeout(_LOCKED_WAIT_S),
                contextlib.aclosing(self._jobs.watch(job.id)) as changes,
            ):
                async for job in changes:
                    if job.total is not None:
                        break
        if job.status is JobStatus.FAILED:
            raise Unprocessable(job.error_message or "", code=job.error_code, param="file")
        return submitted

    async def _hand_over(
        self, spec: IngestSpec | ZipSpec, file: BinaryIO, key: str | None
    ) -> Submitted:
        await self._files.put(spec.upload_path, file)
        try:
            if isinstance(spec, ZipSpec):
                submitted = await self._jobs.submit_zip(spec, key)
            else:
                submitted = await self._jobs.submit_ingest(spec, key)
        except (InvalidRequest, Overloaded):  # Refused for certain; after others who knows.
            await self._files.delete(spec.upload_path)
            raise
        found = submitted.job.spec
        own = isinstance(found, IngestSpec | ZipSpec) and found.upload_path == spec.upload_path
        if not own:
            await self._files.delete(spec.upload_path)  # the job it was found to be has its own
        return submitted


def _blank() -> Unprocessable:
    msg = "There is no text in this file."
    return Unprocessable(msg, code="no_text")
