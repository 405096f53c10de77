"""The steps by which an upload becomes a searchable document; each may be repeated."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from deployments.chunk_batches import read_batch
from deployments.errors import NotFound
from deployments.file_store import CHUNKS
from deployments.jobs.retrying import remove_if_possible
from deployments.records import from_record
from deployments.types import Document, ParseSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.file_store import FileStore
    from deployments.interfaces import Checked, Parser, Retriever
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
    batch_chunks: int

    async def parse(self, job_id: str, spec: IngestSpec, *, short: bool) -> Parsed:
        """Have the upload parsed.

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
        )
        parsed = await self.backends.call(
            job_id, _AllHealthy(self.files, self.parser), lambda: self.parser.parse(task)
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
        # A parser of version 0.1, which may still run, knows neither of the two.
        return Parsed(
            asdict(document),
            parsed.batches,
            getattr(parsed, "cpu_s", 0.0),
            getattr(parsed, "inline", ()),
        )

    async def store(self, job_id: str, record: dict[str, Any], number: int) -> int:
        """Embed and store one batch, hidden; return how many chunks it had."""
        chunks = await self.backends.call(
            job_id, self.files, lambda: read_batch(self.files, _chunks_folder(job_id), number)
        )
        document = from_record(Document, record)
        await self.backends.call(
            job_id, self.retriever, lambda: self.retriever.add(document, chunks)
        )
        return len(chunks)

    async def publish(
        self, job_id: str, record: dict[str, Any], chunks: Sequence[Chunk] = ()
    ) -> None:
        """Make the document searchable, whole; `chunks` are all of a short one."""
        document = from_record(Document, record)
        await self.backends.call(
            job_id, self.retriever, lambda: self.retriever.publish(document, chunks)
        )

    async def discard(self, job_id: str, spec: IngestSpec) -> None:
        """Delete what this job has stored, published or not."""
        with contextlib.suppress(NotFound):
            document = await self.retriever.document(spec.collection, spec.document_id)
            if document.job_id != job_id:
                return
        with contextlib.suppress(NotFound):
            await self.retriever.delete(spec.collection, spec.document_id)

    async def remove_upload(self, job_id: str, spec: IngestSpec) -> None:
        """Remove the upload and its batches of chunks, if that is possible now."""
        await remove_if_possible(self.files, spec.upload_path, _chunks_folder(job_id))


class _AllHealthy:
    """Health of several backends that one step needs: an outage of any is waited out."""

    def __init__(self, *backends: Checked) -> None:
        self._backends = backends

    async def check_health(self) -> None:
        for backend in self._backends:
            await backend.check_health()


def _chunks_folder(job_id: str) -> str:
    return f"{CHUNKS}/{job_id}"
