"""The workflows: DBOS continues an interrupted one after its last recorded step.

A change to the order or the names of steps needs a new VERSION: a job begun under another one
waits until a replica of that version runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from contextvars import Context
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from dbos import DBOS
from dbos import error as dbos_errors
from loguru import logger

from deployments.errors import ServiceError
from deployments.jobs.cancellation import JobCancelled
from deployments.jobs.costs import SHORT_JOB_CHUNKS, chunks_s, estimate_s
from deployments.jobs.dispatcher import ReturnedToQueue
from deployments.jobs.imports import ImportState, state_record
from deployments.jobs.records import DONE, OUTCOME, TOTAL, WARNINGS, spec_of
from deployments.jobs.zip_files import unpacked_of, unpacked_record
from deployments.observability.metrics import JOBS_ENDED
from deployments.observability.tracing import span
from deployments.records import from_record
from deployments.types import (
    SHORT_PARSE_EXCEEDED,
    ImagesSpec,
    ImportSpec,
    IngestSpec,
    JobKind,
    JobStatus,
    ResponseSpec,
    UnpackPosition,
    ZipSpec,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from contextlib import AbstractContextManager

    from deployments.jobs.cancellation import Cancellations
    from deployments.jobs.dispatcher import Dispatcher
    from deployments.jobs.images import ImageSteps
    from deployments.jobs.imports import ImportSteps
    from deployments.jobs.ingest import IngestSteps
    from deployments.jobs.responses import ResponseSteps
    from deployments.jobs.steps import StepRunner
    from deployments.jobs.zip_files import Progress, ZipSteps
    from deployments.types import JobSpec, UnpackedFile

T = TypeVar("T")

VERSION = "1"
_PUBLISHED = "published"
_STOP_TIMEOUT_S = 3.0
_BATCHES_AT_ONCE = 2  # of a document: one is embedded, the other is read, stored and recorded


class Workflows:
    """Runs jobs as workflows of DBOS, with which it registers; DBOS must not be launched yet.

    `with_request_id` sets the id of a job as that of the request, in the log lines of the
    deployments that it calls.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - the parts of a job
        self,
        ingest: IngestSteps,
        images: ImageSteps,
        imports: ImportSteps,
        zips: ZipSteps,
        responses: ResponseSteps,
        runner: StepRunner,
        cancellations: Cancellations,
        dispatcher: Dispatcher,
        *,
        images_at_once: int,
        with_request_id: Callable[[str], AbstractContextManager[object]] = contextlib.nullcontext,
    ) -> None:
        self._ingest_steps = ingest
        self._image_steps = images
        self._import_steps = imports
        self._zip_steps = zips
        self._response_steps = responses
        self._runner = runner
        self._cancellations = cancellations
        self._dispatcher = dispatcher
        self._images_at_once = images_at_once
        self._with_request_id = with_request_id
        self._counting = asyncio.Lock()
        self._running: dict[asyncio.Task[Any], str] = {}
        self._stopped = False
        # No job can kill this process, so a job may be interrupted any number of times.
        DBOS.workflow(name=JobKind.INGEST, max_recovery_attempts=None)(self._ingest_workflow())
        DBOS.workflow(name=JobKind.IMAGES, max_recovery_attempts=None)(self._images_workflow())
        DBOS.workflow(name=JobKind.IMPORT, max_recovery_attempts=None)(self._import_workflow())
        DBOS.workflow(name=JobKind.ZIP, max_recovery_attempts=None)(self._zip_workflow())
        DBOS.workflow(name=JobKind.RESPONSE, max_recovery_attempts=None)(self._response_workflow())

    @property
    def running(self) -> set[str]:
        """The ids of the jobs under way."""
        return set(self._running.values())

    async def stop(self) -> None:
        """Interrupt all jobs and begin no more; another replica continues them."""
        self._stopped = True
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=_STOP_TIMEOUT_S)

    def _ingest_workflow(self) -> Callable[[dict[str, Any]], Awaitable[int]]:
        async def ingest(fields: dict[str, Any]) -> int:
            job_id = _job_id()
            with self._in_place(JobKind.INGEST, job_id):
                spec = spec_of(JobKind.INGEST, fields)
                assert isinstance(spec, IngestSpec)  # noqa: S101
                return await self._run(
                    JobKind.INGEST,
                    lambda: self._ingest(job_id, spec),
                    discard=lambda failure: self._ingest_steps.discard(job_id, spec, failure),
                    settle_upload=partial(self._ingest_steps.settle_upload, job_id, spec),
                )

        return ingest

    def _images_workflow(self) -> Callable[[dict[str, Any]], Awaitable[int]]:
        async def images(fields: dict[str, Any]) -> int:
            job_id = _job_id()
            with self._in_place(JobKind.IMAGES, job_id):
                spec = spec_of(JobKind.IMAGES, fields)
                assert isinstance(spec, ImagesSpec)  # noqa: S101
                return await self._run(
                    JobKind.IMAGES,
                    lambda: self._images(job_id, spec),
                    discard=lambda _: self._image_steps.discard(job_id),
                )

        return images

    def _import_workflow(self) -> Callable[[dict[str, Any]], Awaitable[int]]:
        async def import_archive(fields: dict[str, Any]) -> int:
            job_id = _job_id()
            with self._in_place(JobKind.IMPORT, job_id):
                spec = spec_of(JobKind.IMPORT, fields)
                assert isinstance(spec, ImportSpec)  # noqa: S101
                return await self._run(
                    JobKind.IMPORT,
                    lambda: self._import(job_id, spec),
                    discard=lambda _: self._import_steps.discard(spec),
                    settle_upload=partial(self._import_steps.remove_upload, spec),
                )

        return import_archive

    def _zip_workflow(self) -> Callable[[dict[str, Any]], Awaitable[int]]:
        async def read_zip(fields: dict[str, Any]) -> int:
            job_id = _job_id()
            with self._in_place(JobKind.ZIP, job_id):
                spec = spec_of(JobKind.ZIP, fields)
                assert isinstance(spec, ZipSpec)  # noqa: S101
                steps = self._zip_steps
                files: list[UnpackedFile] = []
                return await self._run(
                    JobKind.ZIP,
                    lambda: self._zip(job_id, spec, files),
                    discard=lambda _: self._outside_step(partial(steps.discard, spec, len(files))),
                    settle_upload=partial(steps.remove_upload, spec),
                )

        return read_zip

    def _response_workflow(self) -> Callable[[dict[str, Any]], Awaitable[int]]:
        async def respond(fields: dict[str, Any]) -> int:
            job_id = _job_id()
            with self._in_place(JobKind.RESPONSE, job_id):
                spec = spec_of(JobKind.RESPONSE, fields)
                assert isinstance(spec, ResponseSpec)  # noqa: S101
                return await self._run(
                    JobKind.RESPONSE,
                    lambda: self._respond(job_id, spec),
                    discard=partial(self._response_steps.discard, spec),
                )

        return respond

    async def withdraw(self, job_id: str, spec: JobSpec) -> None:
        """Clean up after a job that was cancelled before it began."""
        if isinstance(spec, IngestSpec):
            await self._ingest_steps.withdraw(job_id, spec)
        elif isinstance(spec, ImportSpec):
            await self._import_steps.remove_upload(spec)
        elif isinstance(spec, ZipSpec):
            await self._zip_steps.remove_upload(spec)
        elif isinstance(spec, ResponseSpec):
            await self._response_steps.withdraw(spec)

    async def _run(
        self,
        kind: JobKind,
        work: Callable[[], Awaitable[int]],
        *,
        discard: Callable[[Exception], Awaitable[None]],
        settle_upload: Callable[[], Awaitable[None]] | None = None,
    ) -> int:
        """Run a job to its end; return how many chunks or pictures it made.

        The clean-up is made of steps too, and so survives a crash.
        """
        job_id, made = _job_id(), 0
        failure: Exception | None = None
        if self._dispatcher.has_claimed(kind, job_id):
            self._cancellations.claimed(job_id)
        with (
            self._stoppable(job_id),
            self._with_request_id(job_id),
            span(f"job {kind}", job_id=job_id),
            self._count_if_cancelled_at_start(kind, job_id),
        ):
            try:
                made = await work()
            except ReturnedToQueue:
                self._cancellations.forget(job_id)
                await self._dispatcher.return_as_long(job_id)
                raise
            except JobCancelled:
                failure = JobCancelled()
            except ServiceError as error:
                failure = error
            except Exception as error:  # noqa: BLE001 - a job must end, whatever its step raises
                logger.opt(exception=error).error("job {} broke", job_id)
                failure = ServiceError("something went wrong inside the service")
            if failure is not None:
                await self._runner.run_clean_up("discard", partial(discard, failure))
            if settle_upload is not None:  # no step, as it never fails and may be repeated
                await settle_upload()
            self._cancellations.forget(job_id)
            self._ingest_steps.backends.forget(job_id)  # of all jobs
            status = _status_after(failure)
            JOBS_ENDED.add(kind=kind, state=status)
            logger.info("job {} {}", job_id, status)
        if isinstance(failure, JobCancelled):
            await DBOS.cancel_workflow_async(job_id)
        elif failure is not None:
            raise failure
        return made

    @contextlib.contextmanager
    def _in_place(self, kind: JobKind, job_id: str) -> Iterator[None]:
        """Free the place of the job in the end."""
        try:
            yield
        finally:
            self._dispatcher.ended(kind, job_id)

    @contextlib.contextmanager
    def _stoppable(self, job_id: str) -> Iterator[None]:
        """Let `stop` cancel the current task, of which DBOS then records nothing."""
        task = asyncio.current_task()
        if self._stopped or task is None:
            raise asyncio.CancelledError
        self._running[task] = job_id
        try:
            yield
        finally:
            del self._running[task]

    @contextlib.contextmanager
    def _count_if_cancelled_at_start(self, kind: JobKind, job_id: str) -> Iterator[None]:
        """Count a job that was taken from the queue just before it was cancelled there."""
        try:
            yield
        except (
            dbos_errors.DBOSWorkflowCancelledError,  # of its next step
            dbos_errors.DBOSWorkflowConflictIDError,  # of the current one, as it is recorded
        ):
            if self._runner.may_run:  # else another replica has taken the job over
                self._cancellations.forget(job_id)
                JOBS_ENDED.add(kind=kind, state=JobStatus.CANCELLED)
            raise

    async def _ingest(self, job_id: str, spec: IngestSpec) -> int:
        steps = self._ingest_steps
        short = self._dispatcher.is_short(JobKind.INGEST, job_id)

        async def parse() -> tuple[dict[str, Any], int]:
            version = await steps.version(job_id, spec)
            with self._charged_if_in_vain(job_id, spec):
                parsed = await steps.parse(job_id, spec, version, short=short)
            self._dispatcher.charge(JobKind.INGEST, job_id, parsed.cpu_s)
            chunks = parsed.document["chunks"]
            if warnings := parsed.document["warnings"]:
                await _set_progress(job_id, {WARNINGS: warnings})
            if parsed.inline:
                # One step, as each costs as much as a short text itself. Version 0.1 can go on
                # from it: there are no batches, and a document may be published again.
                await steps.publish(job_id, parsed.document, parsed.inline)
                self._dispatcher.charge(JobKind.INGEST, job_id, chunks_s(parsed.inline))
                return parsed.document | {_PUBLISHED: True}, 0
            await _set_progress(job_id, {DONE: 0, TOTAL: chunks})
            return parsed.document, parsed.batches

        done = 0
        counting = asyncio.Lock()

        async def store(number: int) -> int:
            nonlocal done
            stored = await steps.store(job_id, document, number)
            self._dispatcher.charge(JobKind.INGEST, job_id, chunks_s(stored))
            last = number == batches - 1
            until = chunks if last else min((number + 1) * steps.batch_chunks, chunks)
            async with counting:  # so that progress never goes back
                if until > done:
                    await _set_progress(job_id, {DONE: until})
                    done = until
            return until

        document, batches = await self._runner.run(job_id, "parse", parse)
        if _PUBLISHED in document:
            made: int = document["chunks"]
            return made
        if short and document["chunks"] > SHORT_JOB_CHUNKS:
            raise ReturnedToQueue
        chunks: int = document["chunks"]
        await self._store_batches(job_id, batches, store)
        await self._runner.run(job_id, "publish", steps.publish, job_id, document)
        return chunks

    async def _store_batches(
        self, job_id: str, batches: int, store: Callable[[int], Awaitable[int]]
    ) -> None:
        """Store batches in steps: each begins while the one before is stored and recorded."""
        running: deque[asyncio.Task[int]] = deque()
        try:
            for number in range(batches):
                step = self._runner.run(job_id, f"store {number}", store, number)
                running.append(asyncio.create_task(step))
                if len(running) == _BATCHES_AT_ONCE:
                    await running.popleft()
            while running:
                await running.popleft()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    @contextlib.contextmanager
    def _charged_if_in_vain(self, job_id: str, spec: IngestSpec) -> Iterator[None]:
        """Charge a job for a file that could not be read, or not to its end."""
        began = time.monotonic()
        try:
            yield
        except ServiceError as error:
            self._dispatcher.charge(JobKind.INGEST, job_id, error.cpu_s)
            if error.code == SHORT_PARSE_EXCEEDED:
                raise ReturnedToQueue from None
            raise
        except (JobCancelled, asyncio.CancelledError):
            # What it took was not measured.
            at_most_s = min(time.monotonic() - began, estimate_s(spec))
            self._dispatcher.charge(JobKind.INGEST, job_id, at_most_s)
            raise

    async def _images(self, job_id: str, spec: ImagesSpec) -> int:
        """Ask for a few images at a time, which the image deployment makes in one pass."""
        steps = self._image_steps

        async def draw(number: int) -> None:
            await steps.draw(job_id, spec, number)
            self._dispatcher.charge(JobKind.IMAGES, job_id, estimate_s(spec) / spec.count)
            async with self._counting:  # so that progress never goes back
                done = await steps.count_drawn(job_id, spec.count)
                await _set_progress(job_id, {DONE: done, TOTAL: spec.count})

        for start in range(0, spec.count, self._images_at_once):
            numbers = range(start, min(start + self._images_at_once, spec.count))
            results = await asyncio.gather(
                *(self._runner.run(job_id, f"draw {number}", draw, number) for number in numbers),
                return_exceptions=True,
            )
            for result in results:
                if result is not None:
                    raise result
        return spec.count

    async def _import(self, job_id: str, spec: ImportSpec) -> int:
        """Import some documents at a time; each step records where the next one goes on."""
        steps = self._import_steps

        async def begin() -> dict[str, Any]:
            state = await steps.open(job_id, spec)
            await _set_progress(job_id, {DONE: 0, TOTAL: state.total})
            return state_record(state)

        async def go_on(record: dict[str, Any]) -> dict[str, Any]:
            state = await steps.some(job_id, spec, from_record(ImportState, record))
            self._dispatcher.charge(JobKind.IMPORT, job_id, state.cost_s)
            await _set_progress(job_id, {DONE: state.documents})
            return state_record(state)

        record = await self._runner.run(job_id, "open", begin)
        while not record["ended"]:
            name = f"import from {record['documents']}"
            record = await self._runner.run(job_id, name, go_on, record)
        documents: int = record["documents"]
        return documents

    async def _zip(self, job_id: str, spec: ZipSpec, files: list[UnpackedFile]) -> int:
        """Unpack all files, some in each step, and then make documents of them in one."""
        steps = self._zip_steps

        async def unpack(position: UnpackPosition) -> dict[str, Any]:
            some, after, cpu_s = await steps.unpack(job_id, spec, position)
            self._dispatcher.charge(JobKind.ZIP, job_id, cpu_s)
            return unpacked_record(some, after)

        async def report(progress: Progress) -> None:
            shown = {
                DONE: progress.done,
                TOTAL: progress.total,
                OUTCOME: asdict(progress.outcome),
                WARNINGS: [asdict(each) for each in progress.warnings],
            }
            await _set_progress(job_id, shown)

        position: UnpackPosition | None = UnpackPosition()
        while position is not None:
            name = f"unpack from {position.files}"
            record = await self._runner.run(job_id, name, unpack, position)
            some, position = unpacked_of(record)
            files += some

        async def ingest() -> int:
            return await self._outside_step(partial(steps.ingest, job_id, spec, files, report))

        return await self._runner.run(job_id, "ingest", ingest)

    async def _respond(self, job_id: str, spec: ResponseSpec) -> int:
        await self._runner.run(job_id, "respond", self._response_steps.respond, job_id, spec)
        return 1

    async def _outside_step(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run work outside of the context of a step, in which DBOS enqueues no workflow."""
        job_id = _job_id()

        async def run() -> T:
            with self._with_request_id(job_id):
                return await work()

        return await asyncio.create_task(run(), context=Context())


def _status_after(failure: Exception | None) -> JobStatus:
    if failure is None:
        return JobStatus.SUCCEEDED
    return JobStatus.CANCELLED if isinstance(failure, JobCancelled) else JobStatus.FAILED


def _job_id() -> str:
    job_id = DBOS.workflow_id
    assert job_id is not None, "only inside a workflow"  # noqa: S101
    return job_id


async def _set_progress(job_id: str, attributes: dict[str, Any]) -> None:
    """Set progress for the watchers; inside a step, so that it is no step of its own."""
    await DBOS.update_workflow_attributes_async(job_id, attributes, merge=True)
