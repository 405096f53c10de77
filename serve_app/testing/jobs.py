"""Jobs and pictures in memory."""

from __future__ import annotations

import asyncio
import io
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

from deployments.catalogue.entries import VersionStatus
from deployments.catalogue.uploads import new_document, upload_of
from deployments.chunk_batches import read_batch
from deployments.contents import content_path, delete_earlier, keep_content
from deployments.errors import Conflict, NotFound, ServiceError, Unavailable
from deployments.file_store import image_path
from deployments.job_ids import job_id_for
from deployments.jobs.batches import BatchFeeder
from deployments.jobs.imports import ImportSteps
from deployments.jobs.responses import ResponseSteps
from deployments.jobs.zip_files import ZipSteps, job_id_of
from deployments.types import (
    ImageProgress,
    ImagesSpec,
    ImportSpec,
    IngestSpec,
    Job,
    JobKind,
    JobList,
    JobStatus,
    ParseSpec,
    ResponseSpec,
    Submitted,
    UnpackPosition,
    ZipSpec,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence

    from deployments.catalogue.catalogue import Catalogue
    from deployments.file_store import FileStore
    from deployments.interfaces import Checked, ImageGenerator, Responder, Retriever
    from deployments.jobs.zip_files import Progress
    from deployments.types import ImageRequest, JobQuery, JobSpec, UnpackedFile
    from serve_app.testing.documents import FakeParser

T = TypeVar("T")


class FakeImages:
    """Draws a grey square at once; its brightness comes from the seed."""

    async def check_health(self) -> None: ...

    async def generate(self, request: ImageRequest) -> AsyncGenerator[ImageProgress, None]:
        yield ImageProgress(request.steps, request.steps, self.draw(request))

    def draw(self, request: ImageRequest) -> bytes:
        """Return the picture of a request as PNG."""
        from PIL import Image

        png = io.BytesIO()
        Image.new("L", (request.width, request.height), request.seed % 256).save(png, "PNG")
        return png.getvalue()


class _Direct:
    """Calls backends that are always available."""

    async def call(
        self,
        job_id: str,  # noqa: ARG002
        backend: Checked | Catalogue | FileStore,  # noqa: ARG002
        work: Callable[[], Awaitable[T]],
    ) -> T:
        return await work()

    async def check(self, job_id: str) -> None: ...


@dataclass
class FakeJobs:
    """Keeps jobs in memory.

    With `runs`, a job has ended when its submission returns. Without, it stays queued until the
    test calls `change` or `run`.
    """

    files: FileStore
    parser: FakeParser
    retriever: Retriever
    images: ImageGenerator
    catalogue: Catalogue
    responder: Responder = field(init=False)  # set by the application that is made
    runs: bool = False
    known: dict[str, Job] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    requests: dict[str, tuple[IngestSpec, int]] = field(default_factory=dict)
    submit_error: Exception | None = None
    submit_gate: asyncio.Event | None = None
    lost_watches: int = 0
    watched: asyncio.Event = field(default_factory=asyncio.Event)
    unwatched: asyncio.Event = field(default_factory=asyncio.Event)
    _numbers: Iterator[int] = field(default_factory=count)
    _changed: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def check_health(self) -> None: ...

    async def submit_ingest(self, spec: IngestSpec, key: str | None) -> Submitted:
        if self.submit_error:
            raise self.submit_error
        if key is not None and key in self.requests:
            requested, version = self.requests[key]
            if requested != spec:
                msg = "this idempotency key was used for something else"
                raise Conflict(msg)
            return Submitted(self.known[self.keys[key]], created=False, version=version)
        job_id = self._new_id()
        entry = await self.catalogue.versions.begin(upload_of(spec, job_id))
        document = entry.document
        named = replace(spec, document_id=document.id, filename=document.filename)
        same = self.known.get(document.job_id or "")
        if same is None and entry.status is VersionStatus.COMPLETED:  # its job was deleted
            same = Job(f"job_{0:032x}", named, JobStatus.SUCCEEDED, 1e9, 1e9)
        submitted = await self._submitted(named, key, same, job_id)
        if key is not None:
            self.requests[key] = spec, document.version
            self.keys[key] = submitted.job.id
        return replace(submitted, version=document.version)

    async def submit_images(self, spec: ImagesSpec, key: str | None) -> Submitted:
        return await self._submitted(spec, key, None, self._new_id())

    async def submit_import(self, spec: ImportSpec, key: str) -> Submitted:
        return await self._submitted(spec, key, None, job_id_for(spec.owner, JobKind.IMPORT, key))

    async def submit_zip(self, spec: ZipSpec, key: str | None) -> Submitted:
        return await self._submitted(spec, key, None, self._new_id())

    async def submit_response(self, spec: ResponseSpec) -> Submitted:
        job_id = job_id_for(spec.owner, JobKind.RESPONSE, spec.response_id)
        return await self._submitted(spec, job_id, None, job_id)

    async def begin_batches(self) -> None:
        feeder = BatchFeeder(self.catalogue, self.retriever, self.submit_ingest, self.cancel)
        await feeder.feed()

    async def run(self, job_id: str) -> None:
        """Do the job's work and end it."""
        spec = self.known[job_id].spec
        try:
            if isinstance(spec, IngestSpec):
                done = await self._ingest(spec, job_id)
            elif isinstance(spec, ImportSpec):
                done = await self._import(spec, job_id)
            elif isinstance(spec, ZipSpec):
                done = await self._zip(spec, job_id)
            elif isinstance(spec, ResponseSpec):
                await ResponseSteps(
                    self.responder, self.catalogue.background_responses, _Direct()
                ).respond(job_id, spec)
                done = 1
            else:
                done = await self._draw(spec, job_id)
        except ServiceError as error:
            failure = {"error_code": error.code, "error_message": str(error)}
            await self.change(job_id, status=JobStatus.FAILED, **failure)
        else:
            await self.change(job_id, status=JobStatus.SUCCEEDED, done=done, total=done)

    async def _ingest(self, spec: IngestSpec, job_id: str) -> int:
        folder = f"chunks/{job_id}"
        parsed = await self.parser.parse(
            ParseSpec(spec.upload_path, spec.filename, folder, start_byte=spec.start_byte)
        )
        count = parsed.chunks
        version = await self.catalogue.versions.of_job(spec.collection, spec.document_id, job_id)
        document = replace(
            new_document(spec, job_id, version),
            title=parsed.title,
            media_type=parsed.media_type,
            pages=parsed.pages,
            chunks=count,
        )
        for number in range(parsed.batches):
            await self.retriever.add(document, await read_batch(self.files, folder, number))
        await self.retriever.publish(document)
        ended = await self.catalogue.versions.complete(document)
        if ended:
            await self.retriever.discard(document.collection, document.id, ended)
        if not spec.borrowed or spec.restored_from is not None:
            target = content_path(document.collection, document.id, version)
            await keep_content(self.files, spec.upload_path, target, copied=spec.borrowed)
            kept = await self.catalogue.versions.restorable(document.collection, document.id)
            await delete_earlier(self.files, document.collection, document.id, kept)
        return count

    async def _import(self, spec: ImportSpec, job_id: str) -> int:
        steps = ImportSteps(self.retriever, self.files, _Direct(), self.catalogue, 64)
        try:
            state = await steps.open(job_id, spec)
            while not state.ended:
                state = await steps.some(job_id, spec, state)
        except ServiceError:
            await steps.discard(spec)
            raise
        finally:
            await steps.remove_upload(spec)
        return state.documents

    async def _zip(self, archive: ZipSpec, job_id: str) -> int:
        files: list[UnpackedFile] = []
        own: dict[str, str] = {}  # ids of real jobs are made of their keys

        async def submit(spec: IngestSpec, key: str | None) -> Submitted:
            submitted = await self.submit_ingest(spec, None)
            if not submitted.created:
                return submitted
            own_id = job_id_of(archive, int((key or "").rpartition("/")[2]))
            own[own_id] = submitted.job.id
            return replace(submitted, job=replace(submitted.job, id=own_id))

        async def fetch(job_ids: Sequence[str]) -> list[Job]:
            real = {own.get(each, each): each for each in job_ids}
            return [replace(self.known[each], id=real[each]) for each in real if each in self.known]

        async def report(progress: Progress) -> None:
            shown = {"done": progress.done, "total": progress.total, "outcome": progress.outcome}
            await self.change(job_id, **shown)

        steps = ZipSteps(
            self.parser,
            self.retriever,
            self.files,
            _Direct(),
            _Direct(),
            self.catalogue,
            submit,
            self.cancel,
            lambda _owner: True,
            fetch,
        )
        try:
            position: UnpackPosition | None = UnpackPosition()
            while position is not None:
                some, position, _ = await steps.unpack(job_id, archive, position)
                files += some
            await steps.ingest(job_id, archive, files, report)
        finally:
            await steps.remove_upload(archive)
        return len(files)

    async def _draw(self, spec: ImagesSpec, job_id: str) -> int:
        for number in range(spec.count):
            async for progress in self.images.generate(spec.request(number)):
                if progress.png:
                    await self.files.put(image_path(job_id, number), progress.png)
        return spec.count

    async def _submitted(
        self, spec: JobSpec, key: str | None, same: Job | None, job_id: str
    ) -> Submitted:
        if self.submit_gate:
            await self.submit_gate.wait()
        if self.submit_error:
            raise self.submit_error
        if key in self.keys:
            same = self.known[self.keys[key]]
            if same.spec != spec:
                msg = "this idempotency key was used for something else"
                raise Conflict(msg)
        if same:
            return Submitted(same, created=False)
        total = spec.count if isinstance(spec, ImagesSpec) else None
        number = len(self.known)
        job = Job(job_id, spec, JobStatus.QUEUED, 1e9 + number, 1e9, total=total)
        self.known[job.id] = job
        if key is not None:
            self.keys[key] = job.id
        if self.runs:
            await self.run(job.id)
        return Submitted(job, created=True)

    def _new_id(self) -> str:
        return f"job_{next(self._numbers):032x}"

    async def change(self, job_id: str, **changes: Any) -> None:  # noqa: ANN401 - fields of Job
        """Replace fields of a job and tell its watchers and the catalogue."""
        self.known[job_id] = job = replace(self.known[job_id], **changes)
        if job.ended and isinstance(job.spec, IngestSpec):
            await self._end_document(job, job.spec)
        async with self._changed:
            self._changed.notify_all()

    async def _end_document(self, job: Job, spec: IngestSpec) -> None:
        documents, versions = self.catalogue.documents, self.catalogue.versions
        try:
            version = await versions.of_job(spec.collection, spec.document_id, job.id)
        except NotFound:
            return
        document = new_document(spec, job.id, version)
        if job.status is JobStatus.FAILED:
            error = job.error_code, job.error_message
            await versions.settle(document, VersionStatus.FAILED, *error)
        elif job.status is JobStatus.CANCELLED:
            await versions.settle(document, VersionStatus.CANCELLED)
        elif document.id not in await documents.current(spec.collection, [document.id]):
            await versions.complete(document)

    async def job(self, job_id: str) -> Job:
        if job_id not in self.known:
            msg = "there is no such job"
            raise NotFound(msg, param="job_id")
        return self.known[job_id]

    async def jobs(self, query: JobQuery) -> JobList:
        found = [
            job
            for job in reversed(self.known.values())
            if job.spec.owner == query.owner
            and query.kind in {None, job.kind}
            and query.status in {None, job.status}
            and (query.after is None or job.id < query.after)
        ]
        return JobList(
            tuple(found[: query.limit]),
            found[query.limit - 1].id if len(found) > query.limit else None,
        )

    async def cancel(self, job_id: str) -> Job:
        job = await self.job(job_id)
        if job.status in {JobStatus.SUCCEEDED, JobStatus.FAILED}:
            msg = f"the job has {job.status} already"
            raise Conflict(msg)
        await self.change(job_id, status=JobStatus.CANCELLED, cancel_requested=True)
        return self.known[job_id]

    async def watch(self, job_id: str) -> AsyncGenerator[Job, None]:
        job = await self.job(job_id)
        try:
            yield job
            self.watched.set()
            while not job.ended:
                if self.lost_watches:
                    self.lost_watches -= 1
                    msg = "the job runner stopped"
                    raise Unavailable(msg)
                async with self._changed:
                    if self.known[job_id] == job:
                        await self._changed.wait()
                    job = self.known[job_id]
                yield job
        finally:
            self.unwatched.set()
