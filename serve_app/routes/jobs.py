"""Jobs: list, show, follow, cancel."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.sse import format_sse_event

from deployments.types import Job, JobKind, JobQuery, JobStatus
from serve_app.http.body_route import BodyRoute
from serve_app.http.errors import body_of, refusals
from serve_app.http.event_streams import opened
from serve_app.routes.dependencies import (  # noqa: TC001 - FastAPI reads annotations
    JobId,
    ServicesDep,
)
from serve_app.routes.shapes import job_response
from serve_app.schemas.jobs import JOB_EVENT_EXAMPLE, JobListResponse, JobResponse

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import Scope

    from deployments.errors import ServiceError

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], route_class=BodyRoute)
_MAX_LISTED = 100


@router.get("", responses=refusals(404))
async def list_jobs(  # noqa: PLR0913, PLR0917 - each is a query parameter
    services: ServicesDep,
    http: Request,
    kind: JobKind | None = None,
    status: JobStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=_MAX_LISTED)] = 20,
    after: Annotated[str | None, Query(pattern=r"^job_[0-9a-f]{32}$")] = None,
) -> JobListResponse:
    """List jobs, newest first, a page at a time."""
    listed = await services.jobs.jobs(JobQuery(kind, status, limit, after))
    shown = [job_response(job, http.scope) for job in listed.jobs]
    return JobListResponse.of(shown, listed.next_after)


@router.get("/{job_id}", responses=refusals(404))
async def get_job(job_id: JobId, services: ServicesDep, http: Request) -> JobResponse:
    """Show how a job stands."""
    return job_response(await services.jobs.job(job_id), http.scope)


@router.post("/{job_id}/cancel", responses=refusals(404, 409))
async def cancel_job(job_id: JobId, services: ServicesDep, http: Request) -> JobResponse:
    """Stop a job at its next step; what it made so far is removed.

    The documents of a ZIP file that can be searched already stay. May be asked again. 409 if the
    job has ended otherwise.
    """
    return job_response(await services.jobs.cancel(job_id), http.scope)


@router.get(
    "/{job_id}/events",
    response_class=Response,
    responses={
        200: {
            "description": "`event: job`, each with a job as JSON; the last one has ended.",
            "content": {
                "text/event-stream": {"schema": {"type": "string"}, "example": JOB_EVENT_EXAMPLE}
            },
        },
        **refusals(404),
    },
)
async def follow_job(job_id: JobId, services: ServicesDep, http: Request) -> Response:
    """Follow a job by server-sent events.

    `job` comes now and at every change, with the job as `GET /v1/jobs/{job_id}` shows it; the
    stream closes when it has ended. `error` says that the service could not go on watching.
    """
    return await opened(_events(services.jobs.watch(job_id), http.scope), _error_event)


async def _events(changes: AsyncGenerator[Job, None], scope: Scope) -> AsyncGenerator[str, None]:
    async with contextlib.aclosing(changes):
        async for job in changes:
            yield _event("job", job_response(job, scope).model_dump_json())


def _event(name: str, data: str) -> str:
    return format_sse_event(event=name, data_str=data).decode()


def _error_event(error: ServiceError) -> str:
    return _event("error", body_of(error).model_dump_json())
