"""Jobs: list, show, follow, cancel."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Response
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from deployments.types import IngestSpec, Job, JobKind, JobQuery, JobStatus
from serve_app.http.errors import body_of, refusals
from serve_app.http.event_streams import opened
from serve_app.routes.dependencies import (  # noqa: TC001 - FastAPI reads annotations
    JobId,
    ServicesDep,
)
from serve_app.schemas.jobs import (
    ImagesInput,
    ImagesResult,
    IngestInput,
    IngestResult,
    JobError,
    JobImage,
    JobListResponse,
    JobProgress,
    JobResponse,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from deployments.errors import ServiceError

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])
_MAX_LISTED = 100
_PING_S = 15.0  # Proxies close a connection on which nothing comes for a minute or so.


@router.get("", responses=refusals(404))
async def list_jobs(
    services: ServicesDep,
    kind: JobKind | None = None,
    status: JobStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=_MAX_LISTED)] = 20,
    after: Annotated[str | None, Query(pattern=r"^job_[0-9a-f]{32}$")] = None,
) -> JobListResponse:
    """List jobs, newest first, a page at a time."""
    listed = await services.jobs.jobs(JobQuery(kind, status, limit, after))
    return JobListResponse(
        data=[shaped(job) for job in listed.jobs],
        has_more=listed.next_after is not None,
        next_after=listed.next_after,
    )


@router.get("/{job_id}", responses=refusals(404))
async def get_job(job_id: JobId, services: ServicesDep) -> JobResponse:
    """Show how a job stands."""
    return shaped(await services.jobs.job(job_id))


@router.post("/{job_id}/cancel", responses=refusals(404, 409))
async def cancel_job(job_id: JobId, services: ServicesDep) -> JobResponse:
    """Stop a job at its next step; what it made so far is removed.

    May be asked again. 409 if the job has ended otherwise.
    """
    return shaped(await services.jobs.cancel(job_id))


@router.get(
    "/{job_id}/events",
    response_class=Response,
    responses={
        200: {
            "description": "`event: job`, each with a job as JSON; the last one has ended.",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **refusals(404),
    },
)
async def follow_job(job_id: JobId, services: ServicesDep) -> Response:
    """Follow a job by server-sent events.

    `job` comes now and at every change, with the job as `GET /v1/jobs/{job_id}` shows it; the
    stream closes when it has ended. `error` says that the service could not go on watching.
    """
    return await opened(_events(services.jobs.watch(job_id)), _error_event)


def shaped(job: Job) -> JobResponse:
    """A job as callers see it."""
    fields = asdict(job.spec)
    ingest = isinstance(job.spec, IngestSpec)
    error = None
    if job.status is JobStatus.FAILED:
        error = JobError(
            code=job.error_code or "internal_error", message=job.error_message or "the job failed"
        )
    return JobResponse(
        id=job.id,
        kind=job.kind,
        status=job.status,
        created_at=round(job.created_at, 3),
        updated_at=round(job.updated_at, 3),
        progress=JobProgress(done=job.done, total=job.total),
        cancel_requested=job.cancel_requested,
        input=IngestInput(**fields) if ingest else ImagesInput(**fields),
        result=_result(job),
        error=error,
    )


def job_url(job_id: str) -> str:
    """The path of a job."""
    return f"{router.prefix}/{job_id}"


def image_url(job_id: str, number: int) -> str:
    """The path of a picture."""
    return f"/v1/images/{job_id}/{number}.png"


def _result(job: Job) -> IngestResult | ImagesResult | None:
    if isinstance(job.spec, IngestSpec):
        if job.status is not JobStatus.SUCCEEDED:
            return None
        return IngestResult(document_id=job.spec.document_id, collection=job.spec.collection)
    if job.status in {JobStatus.FAILED, JobStatus.CANCELLED}:
        return None  # Nothing is left of it.
    return ImagesResult(
        images=[JobImage(number=n, url=image_url(job.id, n)) for n in range(job.done)]
    )


async def _events(changes: AsyncGenerator[Job, None]) -> AsyncGenerator[str, None]:
    async with contextlib.aclosing(changes):
        while True:
            change = asyncio.ensure_future(anext(changes, None))
            try:
                while not (await asyncio.wait({change}, timeout=_PING_S))[0]:
                    yield KEEPALIVE_COMMENT.decode()
            finally:
                # Before the generator is closed, nothing may still wait on it.
                change.cancel()
                await asyncio.wait({change})
            job = change.result()
            if job is None:
                return
            yield _event("job", shaped(job).model_dump_json())


def _event(name: str, data: str) -> str:
    return format_sse_event(event=name, data_str=data).decode()


def _error_event(error: ServiceError) -> str:
    return _event("error", body_of(error).model_dump_json())
