"""The two workflows: what DBOS takes up again, after its last finished step, whatever happened.

A change to the order or the names of steps needs a new VERSION: a job begun under another one
waits until a replica of that version runs.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from dbos import DBOS
from dbos import error as dbos_errors
from loguru import logger

from deployments.errors import ServiceError
from deployments.jobs.cancellation import JobCancelled
from deployments.observability.metrics import JOBS_ENDED
from deployments.observability.tracing import span
from deployments.types import ImagesSpec, IngestSpec, JobKind, JobStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from contextlib import AbstractContextManager

    from deployments.jobs.cancellation import Cancellations
    from deployments.jobs.ingest import IngestSteps
    from deployments.jobs.pictures import PictureSteps

T = TypeVar("T")

VERSION = "1"
DONE, TOTAL, CANCEL, SUBMISSION = "done", "total", "cancel_requested", "submission"
"""Attributes of a workflow: its progress, whether it is to stop, which request began it."""


class Workflows:
    """Registers itself with DBOS, which must not have been launched yet.

    `named` makes the id of a job that of a request, in the log lines of whatever it calls.
    """

    def __init__(
        self,
        ingest: IngestSteps,
        pictures: PictureSteps,
        cancellations: Cancellations,
        images_at_once: int,
        named: Callable[[str], AbstractContextManager[object]] = contextlib.nullcontext,
    ) -> None:
        self._ingest_steps = ingest
        self._picture_steps = pictures
        self._cancellations = cancellations
        self._images_at_once = images_at_once
        self._named = named
        self._counting = asyncio.Lock()
        # Nothing here can kill its process, so any number of interruptions is bad luck.
        DBOS.workflow(name=JobKind.INGEST, max_recovery_attempts=None)(self._ingest_workflow())
        DBOS.workflow(name=JobKind.IMAGES, max_recovery_attempts=None)(self._images_workflow())

    def _ingest_workflow(self) -> Callable[[dict[str, Any]], Awaitable[None]]:
        async def ingest(fields: dict[str, Any]) -> None:
            spec, job_id = IngestSpec(**fields), _job_id()
            await self._carried_out(
                JobKind.INGEST,
                lambda: self._ingest(job_id, spec),
                discard=lambda: self._ingest_steps.discard(job_id, spec),
                tidy=lambda: self._ingest_steps.tidy(job_id, spec),
            )

        return ingest

    def _images_workflow(self) -> Callable[[dict[str, Any]], Awaitable[None]]:
        async def images(fields: dict[str, Any]) -> None:
            spec, job_id = ImagesSpec(**fields), _job_id()
            await self._carried_out(
                JobKind.IMAGES,
                lambda: self._images(job_id, spec),
                discard=lambda: self._picture_steps.discard(job_id),
            )

        return images

    async def _carried_out(
        self,
        kind: JobKind,
        work: Callable[[], Awaitable[None]],
        *,
        discard: Callable[[], Awaitable[None]],
        tidy: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """See a job to its end; the clean-up is made of steps as well, and so survives a crash."""
        job_id = _job_id()
        failure: Exception | None = None
        with (
            self._named(job_id),
            span(f"job {kind}", job_id=job_id),
            self._also_if_cancelled_as_it_began(kind, job_id),
        ):
            try:
                await work()
            except JobCancelled:
                failure = JobCancelled()
            except ServiceError as error:
                failure = error
            except Exception as error:  # noqa: BLE001 - a job must end, whatever its step ran into
                logger.opt(exception=error).error("job {} broke", job_id)
                failure = ServiceError("something went wrong inside the service")
            if failure is not None:
                await _step("discard", discard)
            if tidy is not None:
                await _step("tidy", tidy)
            self._cancellations.forget(job_id)
            status = _status_after(failure)
            JOBS_ENDED.add(kind=kind, state=status)
            logger.info("job {} {}", job_id, status)
        if isinstance(failure, JobCancelled):
            await DBOS.cancel_workflow_async(job_id)
        elif failure is not None:
            raise failure

    @contextlib.contextmanager
    def _also_if_cancelled_as_it_began(self, kind: JobKind, job_id: str) -> Iterator[None]:
        """Count a job that was taken from the queue just before it was cancelled there."""
        try:
            yield
        except (
            dbos_errors.DBOSWorkflowCancelledError,  # of its next step
            dbos_errors.DBOSWorkflowConflictIDError,  # of the one at work, as it is recorded
        ):
            self._cancellations.forget(job_id)
            JOBS_ENDED.add(kind=kind, state=JobStatus.CANCELLED)
            raise

    async def _ingest(self, job_id: str, spec: IngestSpec) -> None:
        steps = self._ingest_steps

        async def parse() -> tuple[dict[str, Any], int]:
            await self._cancellations.check(job_id)
            document, batches = await steps.parse(job_id, spec)
            await _note(job_id, {DONE: 0, TOTAL: document["chunks"]})
            return document, batches

        document, batches = await _step("parse", parse)
        done = 0
        for number in range(batches):

            async def store(number: int = number, before: int = done) -> int:
                await self._cancellations.check(job_id)
                added = await steps.store(job_id, document, number)
                await _note(job_id, {DONE: before + added})
                return before + added

            done = await _step(f"store {number}", store)

        async def publish() -> None:
            await self._cancellations.check(job_id)
            await steps.publish(job_id, document)

        await _step("publish", publish)

    async def _images(self, job_id: str, spec: ImagesSpec) -> None:
        """Ask for a few at a time, which the image deployment makes in one pass."""
        steps = self._picture_steps

        async def draw(number: int) -> None:
            await self._cancellations.check(job_id)
            await steps.draw(job_id, spec, number)
            async with self._counting:  # so that progress never goes back
                done = await steps.drawn(job_id, spec.count)
                await _note(job_id, {DONE: done, TOTAL: spec.count})

        for start in range(0, spec.count, self._images_at_once):
            numbers = range(start, min(start + self._images_at_once, spec.count))
            drawn = await asyncio.gather(
                *(_step(f"draw {number}", draw, number) for number in numbers),
                return_exceptions=True,
            )
            for outcome in drawn:
                if outcome is not None:
                    raise outcome


def fields_of(spec: IngestSpec | ImagesSpec) -> dict[str, Any]:
    """Make the argument of a workflow.

    Without an owner it is what it was before there were any, so that a replica of then, beside
    this one in a rolling update, can read it.
    """
    fields = asdict(spec)
    if not fields["owner"]:
        del fields["owner"]
    return fields


def spec_of(kind: str, fields: dict[str, Any]) -> IngestSpec | ImagesSpec:
    """Read the argument of a workflow."""
    return IngestSpec(**fields) if kind == JobKind.INGEST else ImagesSpec(**fields)


def _status_after(failure: Exception | None) -> JobStatus:
    if failure is None:
        return JobStatus.SUCCEEDED
    return JobStatus.CANCELLED if isinstance(failure, JobCancelled) else JobStatus.FAILED


def _job_id() -> str:
    job_id = DBOS.workflow_id
    assert job_id is not None, "only inside a workflow"  # noqa: S101
    return job_id


async def _step(name: str, work: Callable[..., Awaitable[T]], *args: Any) -> T:  # noqa: ANN401
    """Do the work once; after a crash, take what was recorded."""

    async def recorded() -> T:  # DBOS must see a coroutine function, which a lambda is not
        with span(name):
            return await work(*args)

    done: T = await DBOS.run_step_async({"name": name}, recorded)
    return done


async def _note(job_id: str, attributes: dict[str, Any]) -> None:
    """Set progress, for whoever watches; inside a step, so that it is no step of its own."""
    await DBOS.update_workflow_attributes_async(job_id, attributes, merge=True)
