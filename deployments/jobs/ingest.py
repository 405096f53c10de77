"""The steps by which an upload becomes a searchable document; each may be repeated."""

from __future__ import annotations

import contextlib
import json
import time
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from deployments.errors import NotFound
from deployments.jobs.retrying import remove_if_possible
from deployments.records import from_record
from deployments.types import Chunk, Document

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from deployments.file_store import FileStore
    from deployments.interfaces import Parser, Retriever
    from deployments.jobs.retrying import BackendCaller
    from deployments.types import IngestSpec

T = TypeVar("T")


class IngestSteps:
    """What passes from step to step is small; the chunks wait in the file store."""

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
        """Cut the upload into batches of chunks; return the document's record, and their number."""
        data = await self._call_files(job_id, lambda: self._files.get(spec.upload_path))
        parsed = await self._backends.call(
            job_id, self._parser, lambda: self._parser.parse(data, spec.filename)
        )
        batches = list(_batches(parsed.chunks, self._batch_chunks))
        for number, batch in enumerate(batches):
            await self._write_batch(job_id, number, batch)
        document = Document(
            id=spec.document_id,
            collection=spec.collection,
            filename=spec.filename,
            title=parsed.title or spec.filename,
            media_type=parsed.media_type,
            size_bytes=spec.size_bytes,
            pages=parsed.pages,
            chunks=len(parsed.chunks),
            created_at=time.time(),
            job_id=job_id,
        )
        return asdict(document), len(batches)

    async def store(self, job_id: str, record: dict[str, Any], number: int) -> int:
        """Embed and store one batch, hidden; return how many chunks it had."""
        path = _batch_path(job_id, number)
        content = await self._call_files(job_id, lambda: self._files.get(path))
        chunks = [from_record(Chunk, chunk) for chunk in json.loads(content)]
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
        await remove_if_possible(self._files, spec.upload_path, f"chunks/{job_id}")

    async def _write_batch(self, job_id: str, number: int, batch: Sequence[Chunk]) -> None:
        content = json.dumps([asdict(chunk) for chunk in batch]).encode()
        path = _batch_path(job_id, number)
        await self._call_files(job_id, lambda: self._files.put(path, content))

    async def _call_files(self, job_id: str, work: Callable[[], Awaitable[T]]) -> T:
        return await self._backends.call(job_id, self._files, work)


def _batch_path(job_id: str, number: int) -> str:
    return f"chunks/{job_id}/{number}.json"


def _batches(chunks: Sequence[Chunk], size: int) -> Iterator[list[Chunk]]:
    remaining = iter(chunks)
    while batch := list(islice(remaining, size)):
        yield batch
