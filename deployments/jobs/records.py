"""A row of DBOS, and the job it stands for."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from dbos import DBOS

from deployments.errors import NotFound, ServiceError, Unavailable
from deployments.jobs.workflows import CANCEL, DONE, TOTAL, spec_of
from deployments.types import Job, JobKind, JobStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from dbos import WorkflowStatus

T = TypeVar("T")

KINDS = [kind.value for kind in JobKind]
_DATABASE_TIMEOUT_S = 10.0

_STATUSES = {
    "ENQUEUED": JobStatus.QUEUED,
    "DELAYED": JobStatus.QUEUED,
    "PENDING": JobStatus.RUNNING,
    "SUCCESS": JobStatus.SUCCEEDED,
    "ERROR": JobStatus.FAILED,
    "MAX_RECOVERY_ATTEMPTS_EXCEEDED": JobStatus.FAILED,
    "CANCELLED": JobStatus.CANCELLED,
}
_UNDER_WAY = {JobStatus.QUEUED, JobStatus.RUNNING}


async def row_of(job_id: str) -> WorkflowStatus:
    """Fetch the row of a job; raises NotFound."""
    found = await answered(DBOS.list_workflows_async(workflow_ids=[job_id], name=KINDS))
    if not found:
        msg = "there is no such job"
        raise NotFound(msg, param="job_id")
    return found[0]


async def answered(asked: Awaitable[T]) -> T:
    """Bound what DBOS itself would try for ever; raises Unavailable."""
    try:
        async with asyncio.timeout(_DATABASE_TIMEOUT_S):
            return await asked
    except TimeoutError:
        msg = "the database of the jobs does not answer"
        raise Unavailable(msg) from None


async def cancel_requested(job_id: str) -> bool:
    """Whether a job is to stop; read where every replica writes."""
    found = await answered(
        DBOS.list_workflows_async(workflow_ids=[job_id], load_input=False, load_output=False)
    )
    return bool(found and (found[0].attributes or {}).get(CANCEL))


def workflow_statuses(status: JobStatus) -> list[str]:
    """Name the states a workflow may be in while its job is in this one."""
    if status in _UNDER_WAY:
        return [name for name, job in _STATUSES.items() if job in _UNDER_WAY]
    return [name for name, job in _STATUSES.items() if job is status]


def status_of(row: WorkflowStatus) -> JobStatus:
    """Say where the job of a workflow stands."""
    status = _STATUSES[row.status]
    if status is JobStatus.QUEUED and row.recovery_attempts:
        return JobStatus.RUNNING  # taken up again after a crash
    return status


def job_of(row: WorkflowStatus) -> Job:
    """Read a workflow with its input and output."""
    attributes = row.attributes or {}
    status = status_of(row)
    cancel_requested = bool(attributes.get(CANCEL))
    fields = row.input["args"][0] if row.input else {}
    code = message = None
    if status is JobStatus.FAILED:
        code, message = _failure(row.error)
    return Job(
        id=row.workflow_id,
        spec=spec_of(row.name, fields),
        status=status,
        created_at=(row.created_at or 0) / 1000,
        updated_at=(row.updated_at or 0) / 1000,
        done=attributes.get(DONE, 0),
        total=attributes.get(TOTAL, fields.get("count")),
        error_code=code,
        error_message=message,
        cancel_requested=cancel_requested,
    )


def _failure(error: Exception | None) -> tuple[str, str]:
    if isinstance(error, ServiceError):
        return error.code, error.message
    if error is None:
        return "gave_up", "the job was interrupted too often"
    return "internal_error", "something went wrong inside the service"
