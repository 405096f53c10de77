"""A row of DBOS as the job it stands for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployments.errors import ServiceError
from deployments.jobs.workflows import CANCEL, DONE, TOTAL, spec_of
from deployments.types import Job, JobStatus

if TYPE_CHECKING:
    from dbos import WorkflowStatus

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


def workflow_statuses(status: JobStatus) -> list[str]:
    """Name the states a workflow may be in while its job is in this one."""
    if status in _UNDER_WAY:
        return [name for name, job in _STATUSES.items() if job in _UNDER_WAY]
    return [name for name, job in _STATUSES.items() if job is status]


def job_of(row: WorkflowStatus) -> Job:
    """Read a workflow with its input and output."""
    attributes = row.attributes or {}
    status = _STATUSES[row.status]
    begun = bool(row.recovery_attempts)
    cancel_requested = bool(attributes.get(CANCEL))
    if status is JobStatus.QUEUED and begun:
        status = JobStatus.RUNNING  # taken up again after a crash
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
