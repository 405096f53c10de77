"""The steps by which an upload becomes a searchable document; each may be repeated."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from loguru import logger

from deployments.catalogue.entries import FILE_DELETED, VersionStatus
from deployments.catalogue.removals import Removal
from deployments.catalogue.uploads import new_document, upload_of
from deployments.chunk_batches import read_batch
from deployments.contents import (
    content_path,
    contents_folder,
    delete_earlier,
    keep_content,
)
from deployments.errors import NOT_STORED_WHOLE, InvalidRequest, NotFound, ServiceError
from deployments.file_store import CHUNKS
from deployments.jobs.cancellation import JobCancelled
from deployments.jobs.records import CATALOGUED, fetch_row
from deployments.jobs.retrying import AllHealthy, remove_if_possible
from deployments.records import document_from
from deployments.types import Document, ParseSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.catalogue.catalogue import Catalogue
    from deployments.file_store import FileStore
    from deployments.interfaces import Parser, Retriever
    from deployments.jobs.retrying import BackendCaller
    from deployments.types import Chunk, IngestSpec


@dataclass(frozen=True, slots=True)
class Parsed:
    """A parsed upload: the document's record, and its chunks in batches or `inline`."""

    document: dict[str, Any]
    batches: int
    cpu_s: float
    inline: Sequence[Chunk]


@dataclass(frozen=True)
class IngestSteps:
    """Pass small values from step to step; the chunks wait in the file store."""

    parser: Parser
    retriever: Retriever
    files: FileStore
    backends: BackendCaller
    catalogue: Catalogue
    batch_chunks: int

    async def version(self, job_id: str, spec: IngestSpec) -> int:
        """Return the version that a job ingests; raise NotFound if the document was removed.

        A job that version 0.1 submitted is added to the catalogue now.
        """
        versions = self.catalogue.versions
        with contextlib.suppress(NotFound):
            return await self.backends.call(
                job_id,
                self.catalogue,
                lambda: versions.of_job(spec.collection, spec.document_id, job_id),
            )
        row = await fetch_row(job_id)
        version: int | None = (row.attributes or {}).get(CATALOGUED)
        if version is None:
            upload = replace(upload_of(spec, job_id), named=True)
            return (await versions.begin(upload)).document.version
        # The job of this version was lost: the submission assigns the version to this job.
        await versions.assign(new_document(spec, job_id, version), job_id)
        with contextlib.suppress(NotFound):
            return await versions.of_job(spec.collection, spec.document_id, job_id)
        msg = "the document was removed meanwhile, or another job has ingested the same file"
        raise NotFound(msg)

    async def parse(self, job_id: str, spec: IngestSpec, version: int, *, short: bool) -> Parsed:
        """Have the upload parsed, as a version of its document.

        Raises Unprocessable with SHORT_PARSE_EXCEEDED if it is not as `short` as was estimated.
        """
        task = ParseSpec(
            spec.upload_path,
            spec.filename,
            _chunks_folder(job_id),
            self.batch_chunks,
            short=short,
            owner=spec.owner,
            inline=short,
            start_byte=spec.start_byte,
            chunking=spec.chunking,
        )
        try:
            parsed = await self.backends.call(
                job_id, AllHealthy(self.files, self.parser), lambda: self.parser.parse(task)
            )
        except NotFound:
            if not spec.borrowed:
                raise
            msg = "the file was deleted before it was read"
            raise NotFound(msg, code=FILE_DELETED) from None
        document = Document(
            id=spec.document_id,
            collection=spec.collection,
            filename=spec.filename,
            title=parsed.title or spec.filename,
            media_type=parsed.media_type,
            size_bytes=spec.size_bytes,
            pages=parsed.pages,
            chunks=parsed.chunks,
            created_at=time.time(),
            job_id=job_id,
            version=version,
            chunker=getattr(parsed, "chunker", ""),
            warnings=getattr(parsed, "warnings", ()),
            language=getattr(parsed, "language", ""),
        )
        # A parser of version 0.1, which may still run, knows none of these.
        return Parsed(
            asdict(document) | {CATALOGUED: True},
            parsed.batches,
            getattr(parsed, "cpu_s", 0.0),
            getattr(parsed, "inline", ()),
        )

    async def store(self, job_id: str, record: dict[str, Any], number: int) -> Sequence[Chunk]:
        """Embed and store one batch, hidden; return its chunks."""
        chunks = await self.backends.call(
            job_id, self.files, lambda: read_batch(self.files, _chunks_folder(job_id), number)
        )
        document = document_from(record)
        await self.backends.call(
            job_id, self.retriever, lambda: self.retriever.add(document, chunks)
        )
        return chunks

    async def publish(
        self, job_id: str, record: dict[str, Any], chunks: Sequence[Chunk] = ()
    ) -> None:
        """Make the version searchable, whole; `chunks` are all of a short document.

        First it is published beside the one before, then the catalogue makes it the current one,
        and then the one before is discarded: a search finds one of them at any moment.
        """
        document = document_from(record)
        try:
            await self._publish(job_id, document, chunks)
        except InvalidRequest as error:
            if error.code != NOT_STORED_WHOLE:
                raise
            # Another embedding model has become the present one while it was stored.
            for number in range(len(await self.files.names(_chunks_folder(job_id)))):
                await self.store(job_id, record, number)
            await self._publish(job_id, document, chunks)
        ended = await self.backends.call(
            job_id, self.catalogue, lambda: self._complete(document, record)
        )
        if ended:
            # The job is done: searches skip these chunks, and the next version discards them.
            try:
                await self.retriever.discard(document.collection, document.id, ended)
            except ServiceError as error:
                logger.warning("versions {} of {} stay for now: {}", ended, document.id, error)

    async def _publish(self, job_id: str, document: Document, chunks: Sequence[Chunk]) -> None:
        await self.backends.call(
            job_id, self.retriever, lambda: self.retriever.publish(document, chunks)
        )

    async def _complete(self, document: Document, record: dict[str, Any]) -> Sequence[int]:
        if CATALOGUED in record:
            return await self.catalogue.versions.complete(document)
        # Version 0.1 has parsed it.
        await self.catalogue.versions.import_completed([document])
        return ()

    async def discard(self, job_id: str, spec: IngestSpec, failure: Exception) -> None:
        """Delete what this job has stored, and record why."""
        versions = self.catalogue.versions
        try:
            version = await versions.of_job(spec.collection, spec.document_id, job_id)
        except NotFound:  # the document was removed
            with contextlib.suppress(NotFound):
                await self.catalogue.documents.get(spec.collection, spec.document_id)
                return
            with contextlib.suppress(NotFound):
                await self.retriever.delete(spec.collection, spec.document_id)
            return
        document = new_document(spec, job_id, version)
        if await self._settle(document, failure) in {VersionStatus.FAILED, VersionStatus.CANCELLED}:
            with contextlib.suppress(NotFound):
                await self.retriever.discard(document.collection, document.id, [version])

    async def _settle(self, document: Document, failure: Exception) -> VersionStatus | None:
        """Record how the job of a version failed, or that it was cancelled."""
        if isinstance(failure, ServiceError):
            return await self.catalogue.versions.settle(
                document, VersionStatus.FAILED, failure.code, failure.message
            )
        return await self.catalogue.versions.settle(document, VersionStatus.CANCELLED)

    async def withdraw(self, job_id: str, spec: IngestSpec) -> None:
        """Clean up after a job that was cancelled before it began."""
        with contextlib.suppress(NotFound):
            version = await self.catalogue.versions.of_job(
                spec.collection, spec.document_id, job_id
            )
            await self._settle(new_document(spec, job_id, version), JobCancelled())
        await self.remove_upload(job_id, spec)

    async def settle_upload(self, job_id: str, spec: IngestSpec) -> None:
        """Keep the upload as the content of its version, if that was completed; else remove it.

        The job may have failed afterwards. This method never fails, and may be repeated.
        """
        if not (spec.borrowed and spec.start_byte):  # else it is a kept file
            try:
                await self._keep_content(job_id, spec)
            except (ServiceError, OSError) as error:  # a local store raises OSError: a full disk
                logger.warning("the content of {} is not kept: {}", spec.document_id, error)
        await self.remove_upload(job_id, spec)

    async def _keep_content(self, job_id: str, spec: IngestSpec) -> None:
        collection, document_id = spec.collection, spec.document_id
        versions = self.catalogue.versions
        with contextlib.suppress(NotFound):  # the document has been removed
            version = await versions.of_job(collection, document_id, job_id)
            if version not in await versions.restorable(collection, document_id):
                return
            target = content_path(collection, document_id, version)
            copied = spec.borrowed or await self.catalogue.removals.held()
            await keep_content(self.files, spec.upload_path, target, copied=copied)
        kept = await versions.restorable(collection, document_id)
        earlier = Removal(collection, document_id, 0) if kept else Removal(collection, document_id)
        if await self.catalogue.removals.deferred(earlier):
            return
        if not kept:  # removed meanwhile, and perhaps its contents before this one was there
            await self.files.delete(contents_folder(collection, document_id))
        else:
            await delete_earlier(self.files, collection, document_id, kept)

    async def remove_upload(self, job_id: str, spec: IngestSpec) -> None:
        """Remove the upload and its batches of chunks, if that is possible now.

        While a backup needs them they stay, for the sweep.
        """
        with contextlib.suppress(ServiceError):
            if await self.catalogue.removals.held():
                return
        own = [] if spec.borrowed else [spec.upload_path]
        await remove_if_possible(self.files, *own, _chunks_folder(job_id))


def _chunks_folder(job_id: str) -> str:
    return f"{CHUNKS}/{job_id}"
