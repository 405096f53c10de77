"""A job engine over real DBOS, with stand-ins for the deployments that do the work."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

from deployments import interfaces
from deployments.catalogue.catalogue import Catalogue
from deployments.catalogue.database import Database
from deployments.catalogue.migrate import migrate
from deployments.catalogue.removals import Removal
from deployments.errors import NotFound, Unavailable, Unprocessable
from deployments.fair_places import FairPlaces
from deployments.file_store import FileStore
from deployments.jobs.backup_vectors import BackupVectors
from deployments.jobs.batches import BatchFeeder
from deployments.jobs.cancellation import Cancellations, JobCanceller
from deployments.jobs.dispatcher import Dispatcher
from deployments.jobs.doctor.doctor import Doctor
from deployments.jobs.doctor.documents import Grace
from deployments.jobs.doctor.runs import DoctorRuns
from deployments.jobs.engine import Engine
from deployments.jobs.erasing import Eraser
from deployments.jobs.images import ImageSteps
from deployments.jobs.imports import ImportSteps
from deployments.jobs.ingest import IngestSteps
from deployments.jobs.leases import LEASE_TIMES, Lease, LeaseTimes
from deployments.jobs.rechunk_steps import RechunkSteps
from deployments.jobs.rechunking import Rechunker
from deployments.jobs.reconciliation import reconcile
from deployments.jobs.reindexing import Reindexer
from deployments.jobs.responses import ResponseSteps
from deployments.jobs.retrying import BackendCaller
from deployments.jobs.steps import StepRunner
from deployments.jobs.submissions import Submissions
from deployments.jobs.turns import Places
from deployments.jobs.watching import JobWatchers
from deployments.jobs.workflows import VERSION, Workflows
from deployments.jobs.zip_files import ZipSteps
from deployments.settings import JobsSettings
from deployments.types import (
    SHORT_PARSE_EXCEEDED,
    Chunk,
    CopiedChunks,
    Document,
    ImageProgress,
    ImageRequest,
    ImagesSpec,
    IngestSpec,
    Job,
    JobKind,
    ParsedDocument,
    ParseSpec,
)
from serve_app.testing import FakeImages, FakeParser, FakeRetriever


class Backend(interfaces.RechunkingRetriever, Protocol):
    """The retriever, with what it has stored."""


class Reader(interfaces.Parser, interfaces.Unpacker, Protocol):
    """The parser, also of ZIP files."""


CHUNKS = 10
SHORT_S = 0.1
_IN_FLIGHT_S = 0.2
PICTURES = ImagesSpec(prompt="a red circle", count=3, width=64, height=64, steps=4, seed=7)


class Parser(FakeParser):
    """Makes ten chunks of a file, and none of one whose content is `bad`.

    A file `burn N` fails, and took N seconds of processor time.
    A file `slow N` takes N seconds, in which no other long file is read; it is not a short one.
    """

    def __init__(self, files: FileStore, chunks: int) -> None:
        super().__init__(files, chunks)
        self.begun: list[tuple[str, bool]] = []  # owner, and whether as a short file
        self._short, self._long = FairPlaces(2), FairPlaces(1)

    async def parse(self, spec: ParseSpec) -> ParsedDocument:
        async with (self._short if spec.short else self._long).place(spec.owner):
            return await self._parse(spec)

    async def _parse(self, spec: ParseSpec) -> ParsedDocument:
        self.begun.append((spec.owner, spec.short))
        content = (await self.files.get(spec.path))[spec.start_byte :]
        seconds = float(content[5:]) if content.startswith(b"slow ") else 0.0
        if seconds and spec.short:
            await asyncio.sleep(min(seconds, SHORT_S))
            msg = "The file needs more than 2 s of processor time to read."
            raise Unprocessable(msg, code=SHORT_PARSE_EXCEEDED)
        await asyncio.sleep(seconds)
        parsed = await super().parse(spec)
        if content.startswith(b"burn "):
            error = Unprocessable("The file needs too much.", code="too_complex")
            error.cpu_s = float(content[5:])
            raise error
        if content == b"bad":
            msg = "There is no text in this file."
            raise Unprocessable(msg, code="no_text")
        return replace(parsed, cpu_s=seconds)


class Retriever(FakeRetriever):
    """Can hold `add` up, be away, or lose the reply of `publish`."""

    def __init__(self) -> None:
        super().__init__()
        self.open = asyncio.Event()
        self.open.set()
        self.reached = asyncio.Event()
        self.away = False
        self.loses_replies = False
        self.deletions = 0  # asked for, in vain or not

    async def check_health(self) -> None:
        if self.away:
            raise Unavailable("the document search is away")

    async def add(self, document: Document, chunks: Sequence[Chunk]) -> None:
        await self.check_health()
        self.reached.set()
        await self.open.wait()
        await super().add(document, chunks)

    async def publish(self, document: Document, chunks: Sequence[Chunk] = ()) -> None:
        await self.check_health()
        await super().publish(document, chunks)
        assert len(self._chunks_of(document)) == document.chunks
        if self.loses_replies:
            raise Unavailable("the document search stopped")

    async def delete(self, collection: str, document_id: str) -> bool:
        self.deletions += 1
        await self.check_health()
        return await super().delete(collection, document_id)

    async def discard(self, collection: str, document_id: str, versions: Sequence[int]) -> None:
        self.deletions += 1
        await self.check_health()
        await super().discard(collection, document_id, versions)


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
        await self.check_health()
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


class Responder:
    """Generates responses of one event, or stands still in those while it is `stuck`."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._responses = catalogue.background_responses
        self.stuck = False
        self.failure: Exception | None = None
        self.begun = 0
        self.stopped = 0

    async def check_health(self) -> None: ...

    async def respond(self, owner: str, response_id: str) -> str:
        attempt = await self._responses.begin_attempt(owner, response_id)
        if attempt is None:
            return "cancelled"
        self.begun += 1
        try:
            while self.stuck:
                await asyncio.sleep(0.02)
        finally:
            self.stopped += 1
        if self.failure is not None:
            raise self.failure
        event = {"type": "response.completed", "sequence_number": attempt.next_number}
        body = {**attempt.response.body, "status": "completed", "output": []}
        await self._responses.append_events(
            owner, response_id, [event], attempt=attempt.number, ended=body
        )
        return "completed"


class NoSecondIndexes:
    """A retriever with one embedding model, of which nothing is stored."""

    async def index_models(self) -> dict[str, str]:
        return {"index": "model"}

    async def copy(
        self, document: Document, first: int, limit: int, *, only_second: bool = False
    ) -> CopiedChunks:
        raise NotImplementedError

    async def empty(self, collection: str, index_name: str) -> None:
        raise NotImplementedError


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
    catalogue: Catalogue
    doctor_runs: DoctorRuns
    searching: Backend
    responder: Responder

    async def uploaded(self, data: bytes, name: str = "a", owner: str = "") -> IngestSpec:
        path = f"uploads/{os.urandom(8).hex()}"
        spec = IngestSpec(f"doc_{name}", "default", f"{name}.txt", len(data), path, owner)
        await self.files.put(spec.upload_path, data)
        return spec

    async def remove(self, name: str = "a") -> None:
        """Delete a document, as the ingress does."""
        await self.catalogue.documents.remove("default", f"doc_{name}")
        with contextlib.suppress(NotFound):
            await self.retriever.delete("default", f"doc_{name}")
        await self.catalogue.removals.done(Removal("default", f"doc_{name}"))


@contextlib.asynccontextmanager
async def running(
    url: str,
    folder: Path,
    *,
    images: Images | None = None,
    max_watchers: int = 128,
    backend_wait_s: float = 600,
    lease_times: LeaseTimes = LEASE_TIMES,
    short_places: int = 0,
    shares: Mapping[str, float] | None = None,
    searching: Backend | None = None,
    second_indexes: interfaces.SecondIndexes | None = None,
    parsing: Callable[[FileStore], Reader] | None = None,
    **settings: object,
) -> AsyncIterator[Parts]:
    """Run the engine on a retriever in memory, or on the one in `searching`.

    With `second_indexes` it changes the embedding model. With `parsing`, files are read by the
    parser that it returns.
    """
    chosen = JobsSettings.model_validate({"ingest_concurrency": 1} | settings)
    files = FileStore(str(folder / "files"))
    parser, retriever, images = Parser(files, CHUNKS), Retriever(), images or Images()
    cancellations = Cancellations()
    backends = BackendCaller(cancellations, backend_wait_s)
    backend: Backend = searching or retriever
    database = Database(url)
    migrate(database)
    catalogue = Catalogue(database)
    reader = parsing(files) if parsing else parser
    ingest = IngestSteps(reader, backend, files, backends, catalogue, batch_chunks=4)
    imports = ImportSteps(backend, files, backends, catalogue, batch_chunks=4)
    image_steps = ImageSteps(images, files, backends, cancellations, catalogue.removals)
    lease = Lease(url, lease_times)
    steps = StepRunner(lease, cancellations)
    places = {
        JobKind.INGEST: Places(chosen.ingest_concurrency, short_places),
        JobKind.IMAGES: Places(chosen.images_concurrency),
        JobKind.IMPORT: Places(2),
        JobKind.ZIP: Places(4),
        JobKind.RESPONSE: Places(4),
    }
    dispatcher = Dispatcher(lease, places, shares or {}, chosen.max_queued, VERSION)
    watchers = JobWatchers(max_watchers)
    submissions = Submissions(watchers, catalogue, dispatcher)

    async def cancel(job_id: str) -> Job:
        return await canceller.cancel(job_id)

    zips = ZipSteps(
        *(reader, backend, files, backends, cancellations, catalogue),
        *(submissions.ingest, cancel, dispatcher.has_room_for_batch),
    )
    responder = Responder(catalogue)
    responses = ResponseSteps(responder, catalogue.background_responses, backends)
    workflows = Workflows(
        *(ingest, image_steps, imports, zips, responses, steps, cancellations, dispatcher),
        images_at_once=1,
    )
    canceller = JobCanceller(cancellations, watchers, workflows.withdraw)
    feeder = BatchFeeder(
        catalogue, backend, submissions.ingest, canceller.cancel, dispatcher.has_room_for_batch
    )
    eraser = Eraser(
        *(catalogue, backend, files, url),
        cancel=canceller.cancel,
        in_flight_s=_IN_FLIGHT_S,
        rest_s=0.0,
    )
    reindexer = Reindexer(
        catalogue, second_indexes or NoSecondIndexes(), in_flight_s=_IN_FLIGHT_S, idle_s=0.0
    )
    rechunker = Rechunker(RechunkSteps(catalogue, parser, backend, files, "", 4))
    doctor = Doctor(
        *(catalogue, backend, files, url),
        submit=submissions.ingest,
        grace=Grace(look_s=0.1, pause_s=0.0),
    )
    doctor_runs = DoctorRuns(lease, doctor, chosen.doctor_every_hours)
    engine = Engine(
        url,
        lease,
        workflows,
        dispatcher,
        chosen,
        reconcile=partial(reconcile, catalogue, backend, files),
        feed_batches=feeder.run,
        erase=eraser.run_pending,
        purge=backend.purge,
        reindex=reindexer.run_pending,
        rechunk=rechunker.run_pending,
        doctor=doctor_runs,
        back_up=BackupVectors(catalogue.backups, backend).run_pending,
        removals_held=catalogue.removals.held,
    )
    await engine.start(files)
    try:
        yield Parts(
            engine,
            watchers,
            canceller,
            submissions,
            files,
            parser,
            retriever,
            images,
            catalogue,
            doctor_runs,
            backend,
            responder,
        )
    finally:
        await engine.close()
        catalogue.close()


async def ended(parts: Parts, job_id: str) -> Job:
    """Watch a job to its end; the job as it ended."""
    async with asyncio.timeout(30):
        jobs = [job async for job in parts.watchers.watch(job_id)]
    done = [job.done for job in jobs]
    assert done == sorted(done)
    return jobs[-1]
