"""A job engine over real DBOS, with stand-ins for the deployments that do the work."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from deployments.errors import Unavailable, Unprocessable
from deployments.file_store import FileStore
from deployments.jobs.cancellation import Cancellations, JobCanceller
from deployments.jobs.engine import Engine
from deployments.jobs.images import ImageSteps
from deployments.jobs.ingest import IngestSteps
from deployments.jobs.leases import LEASE_TIMES, Lease, LeaseTimes
from deployments.jobs.retrying import BackendCaller
from deployments.jobs.steps import StepRunner
from deployments.jobs.submissions import Submissions
from deployments.jobs.watching import JobWatchers
from deployments.jobs.workflows import Workflows
from deployments.settings import JobsSettings
from deployments.types import (
    Chunk,
    Document,
    ImageProgress,
    ImageRequest,
    ImagesSpec,
    IngestSpec,
    Job,
    ParsedDocument,
    ParseSpec,
)
from serve_app.testing import FakeImages, FakeParser, FakeRetriever

CHUNKS = 10
PICTURES = ImagesSpec(prompt="a red circle", count=3, width=64, height=64, steps=4, seed=7)


class Parser(FakeParser):
    """Makes ten chunks of a file, and none of one whose content is `bad`."""

    async def parse(self, spec: ParseSpec) -> ParsedDocument:
        parsed = await super().parse(spec)
        if await self.files.get(spec.path) == b"bad":
            msg = "There is no text in this file."
            raise Unprocessable(msg, code="no_text")
        return parsed


class Retriever(FakeRetriever):
    """Can hold `add` up, be away, or lose the reply of `publish`."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.open.set()
        self.reached = asyncio.Event()
        self.away = False
        self.loses_replies = False
        self.looked_up = 0  # documents, found or not

    async def check_health(self) -> None:
        if self.away:
            raise Unavailable("the document search is away")

    async def add(self, document: Document, chunks: Sequence[Chunk]) -> None:
        self.reached.set()
        await self.open.wait()
        await super().add(document, chunks)

    async def publish(self, document: Document) -> None:
        assert len(self.stored[document.collection, document.id]) == document.chunks
        await super().publish(document)
        if self.loses_replies:
            raise Unavailable("the document search stopped")

    async def document(self, collection: str, document_id: str) -> Document:
        self.looked_up += 1
        await self.check_health()
        return await super().document(collection, document_id)

    async def delete(self, collection: str, document_id: str) -> bool:
        await self.check_health()
        return await super().delete(collection, document_id)


class Images(FakeImages):
    """Draws at once, or stands still at the first step of the picture with a certain seed."""

    def __init__(self, stuck_at: int | None = None) -> None:
        self.stuck_at = stuck_at
        self.begun: list[int] = []
        self.stopped: list[int] = []
        self.away = False
        self.silent = False

    async def check_health(self) -> None:
        if self.away:
            raise Unavailable("the image generator is away")

    async def generate(self, request: ImageRequest) -> AsyncGenerator[ImageProgress, None]:
        self.begun.append(request.seed)
        try:
            while self.silent:
                await asyncio.sleep(0.02)
            yield ImageProgress(1, request.steps)
            while request.seed == self.stuck_at:
                await asyncio.sleep(0.02)
                yield ImageProgress(1, request.steps)
            async for progress in super().generate(request):
                yield progress
        finally:
            self.stopped.append(request.seed)


@dataclass
class Parts:
    engine: Engine
    watchers: JobWatchers
    canceller: JobCanceller
    submissions: Submissions
    files: FileStore
    parser: Parser
    retriever: Retriever
    images: Images

    async def uploaded(self, data: bytes, name: str = "a") -> IngestSpec:
        path = f"uploads/{os.urandom(8).hex()}"
        spec = IngestSpec(f"doc_{name}", "default", f"{name}.txt", len(data), path)
        await self.files.put(spec.upload_path, data)
        return spec


@contextlib.asynccontextmanager
async def running(
    url: str,
    folder: Path,
    *,
    images: Images | None = None,
    max_watchers: int = 128,
    backend_wait_s: float = 600,
    lease_times: LeaseTimes = LEASE_TIMES,
    **settings: object,
) -> AsyncIterator[Parts]:
    chosen = JobsSettings.model_validate({"ingest_concurrency": 1} | settings)
    files = FileStore(str(folder / "files"))
    parser, retriever, images = Parser(files, CHUNKS), Retriever(), images or Images()
    cancellations = Cancellations()
    backends = BackendCaller(cancellations, backend_wait_s)
    ingest = IngestSteps(parser, retriever, files, backends, batch_chunks=4)
    image_steps = ImageSteps(images, files, backends, cancellations)
    lease = Lease(url, lease_times)
    steps = StepRunner(lease, cancellations)
    workflows = Workflows(ingest, image_steps, steps, cancellations, images_at_once=1)
    engine = Engine(url, lease, workflows, chosen)
    await engine.start(files)
    watchers = JobWatchers(max_watchers)
    canceller = JobCanceller(cancellations, watchers, ingest.remove_upload)
    submissions = Submissions(watchers, retriever, chosen)
    try:
        yield Parts(engine, watchers, canceller, submissions, files, parser, retriever, images)
    finally:
        await engine.close()


async def ended(parts: Parts, job_id: str) -> Job:
    """Watch a job to its end; the job as it ended."""
    async with asyncio.timeout(30):
        jobs = [job async for job in parts.watchers.watch(job_id)]
    done = [job.done for job in jobs]
    assert done == sorted(done)
    return jobs[-1]
