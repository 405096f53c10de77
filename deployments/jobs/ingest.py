"""The steps by which an upload becomes a searchable document; each may be repeated."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from deployments.chunk_batches import read_batch
from deployments.errors import NotFound
from deployments.jobs.retrying import remove_if_possible
from deployments.records import from_record
from deployments.types import Document, ParseSpec

if TYPE_CHECKING:
    from deployments.file_store import FileStore
    from deployments.interfaces import Checked, Parser, Retriever
    from deployments.jobs.retrying import BackendCaller
    from deployments.types import IngestSpec


class IngestSteps:
    """Pass small values from step to step; the chunks wait in the file store."""

    def __init__(
        self,
        parser: Parser,
        retriever: Retriever,
        files: FileStore,
        backends: BackendCaller,
        batch_chunks: int,
    ) -> None:
        self._parser = parser
        self._retriever = retriever
        self._files = files
        self._backends = backends
        self._batch_chunks = batch_chunks

    async def parse(self, job_id: str, spec: IngestSpec) -> tuple[dict[str, Any], int]:
        """Have the upload parsed; return the document's record and its number of batches."""
        task = ParseSpec(
            spec.upload_path, spec.filename, _chunks_folder(job_id), self._batch_chunks
        )
        parsed = await self._backends.call(
            job_id, _AllHealthy(self._files, self._parser), lambda: self._parser.parse(task)
        )
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
        )
        return asdict(document), parsed.batches

    async def store(self, job_id: str, record: dict[str, Any], number: int) -> int:
        """Embed and store one batch, hidden; return how many chunks it had."""
        chunks = await self._backends.call(
            job_id, self._files, lambda: read_batch(self._files, _chunks_folder(job_id), number)
        )
        document = from_record(Document, record)
        await self._backends.call(
            job_id, self._retriever, lambda: self._retriever.add(document, chunks)
        )
        return len(chunks)

    async def publish(self, job_id: str, record: dict[str, Any]) -> None:
        """Make the document searchable, whole."""
        document = from_record(Document, record)
        await self._backends.call(
            job_id, self._retriever, lambda: self._retriever.publish(document)
        )

    async def discard(self, job_id: str, spec: IngestSpec) -> None:
        """Delete what this job has stored, published or not."""
        with contextlib.suppress(NotFound):
            document = await self._retriever.document(spec.collection, spec.document_id)
            if document.job_id != job_id:
                return
        with contextlib.suppress(NotFound):
            await self._retriever.delete(spec.collection, spec.document_id)

    async def remove_upload(self, job_id: str, spec: IngestSpec) -> None:
        """Remove the upload and its batches of chunks, if that is possible now."""
        await remove_if_possible(self._files, spec.upload_path, _chunks_folder(job_id))


class _AllHealthy:
    """Health of several backends that one step needs: an outage of any is waited out."""

    def __init__(self, *backends: Checked) -> None:
        self._backends = backends

    async def check_health(self) -> None:
        for backend in self._backends:
            await backend.check_health()


def _chunks_folder(job_id: str) -> str:
    return f"chunks/{job_id}"
