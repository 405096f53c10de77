"""The rows of DBOS, and the jobs and specs they stand for."""

from __future__ import annotations

import asyncio
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, TypeVar

from dbos import DBOS
from dbos import error as dbos_errors

from deployments.errors import NotFound, ServiceError, Unavailable
from deployments.records import from_record, warnings_from
from deployments.types import (
    Chunking,
    ImagesSpec,
    ImportSpec,
    IngestSpec,
    Job,
    JobKind,
    JobStatus,
    ResponseSpec,
    UnreadFile,
    ZipOutcome,
    ZipSpec,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping, Sequence

    from dbos import WorkflowStatus

    from deployments.types import JobSpec

T = TypeVar("T")

APPLICATION = "genserve-jobs"
"""The name under which DBOS keeps the jobs."""
KINDS = [kind.value for kind in JobKind]
DONE, TOTAL, CANCEL, SUBMISSION = "done", "total", "cancel_requested", "submission"
"""Attributes of a workflow: its progress, whether it is to stop, which request began it.

A short document has no progress: its workflow returns how many chunks it has.
"""
CATALOGUED = "catalogued"
"""Attribute of a workflow: the version that it ingests; key of a parsed document: the catalogue has
its entry. Version 0.1 knew no catalogue."""
DIGEST = "digest"
"""Attribute of a workflow: the digest of its file. The arguments have no place for it, as version
0.1 refuses what it does not know."""
REQUESTED_NAME = "requested_name"
"""Attribute of a workflow: the file name in the request, which may not be that of the document."""
WARNINGS = "warnings"
"""Attribute of a workflow: the warnings of the document that it has read."""
OUTCOME = "outcome"
"""Attribute of a workflow: what became of the files of a ZIP file."""
COST, LONG = "cost_s", "long"
"""Attributes for the dispatcher: the estimate at submission, and whether it was too low."""

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
_ACTIVE = {JobStatus.QUEUED, JobStatus.RUNNING}


async def fetch_row(job_id: str) -> WorkflowStatus:
    """Fetch the row of a job; raise NotFound if there is none."""
    rows = await with_timeout(DBOS.list_workflows_async(workflow_ids=[job_id], name=KINDS))
    if not rows:
        raise not_found()
    return rows[0]


async def fetch_job(job_id: str) -> Job:
    """Fetch a job; raise NotFound if there is none."""
    return job_of(await fetch_row(job_id))


async def fetch_jobs(job_ids: Sequence[str]) -> list[Job]:
    """Fetch several jobs in one query, in any order; those that do not exist are left out."""
    if not job_ids:
        return []
    ids = list(job_ids)
    rows = await with_timeout(DBOS.list_workflows_async(workflow_ids=ids, name=KINDS))
    return [job_of(row) for row in rows]


def not_found() -> NotFound:
    """Return the error for a job that does not exist."""
    return NotFound("there is no such job", param="job_id")


async def with_timeout(call: Awaitable[T]) -> T:
    """Bound a call of DBOS, which would retry for ever; raise Unavailable."""
    try:
        async with asyncio.timeout(_DATABASE_TIMEOUT_S):
            return await call
    except TimeoutError:
        msg = "the database of the jobs does not answer"
        raise Unavailable(msg) from None
    except (dbos_errors.DBOSException, RuntimeError) as error:  # DBOS or its threads have ended
        msg = "the job runner is stopping; try again"
        raise Unavailable(msg) from error


def workflow_statuses(status: JobStatus) -> list[str]:
    """Return the states that a workflow may have while its job has this one."""
    wanted = _ACTIVE if status in _ACTIVE else {status}
    return [name for name, job in _STATUSES.items() if job in wanted]


def status_of(row: WorkflowStatus) -> JobStatus:
    """Return the status of the job of a workflow."""
    status = _STATUSES[row.status]
    if status is JobStatus.QUEUED and row.recovery_attempts:
        return JobStatus.RUNNING  # taken over after a crash
    return status


def job_of(row: WorkflowStatus) -> Job:
    """Read a workflow with its input and output."""
    attributes = row.attributes or {}
    status = status_of(row)
    fields = row.input["args"][0] if row.input else {}
    digest = {DIGEST: attributes[DIGEST]} if DIGEST in attributes else {}
    code = message = None
    if status is JobStatus.FAILED:
        code, message = _failure(row.error)
    made = row.output if status is JobStatus.SUCCEEDED else None
    return Job(
        id=row.workflow_id,
        spec=spec_of(row.name, fields | digest),
        status=status,
        created_at=(row.created_at or 0) / 1000,
        updated_at=(row.updated_at or 0) / 1000,
        done=attributes.get(DONE, made or 0),
        total=attributes.get(TOTAL, fields.get("count", made)),
        error_code=code,
        error_message=message,
        cancel_requested=bool(attributes.get(CANCEL)),
        warnings=warnings_from(attributes.get(WARNINGS, ())),
        outcome=_outcome_from(attributes.get(OUTCOME)),
    )


def fields_of(spec: JobSpec) -> dict[str, Any]:
    """Make the argument of a workflow.

    What the first release does not know is left out: its replicas, which may run beside this one in
    a rolling update, refuse it.
    """
    fields = asdict(spec)
    if isinstance(spec, ZipSpec | ResponseSpec):
        return fields
    for name in (DIGEST, "on_conflict", "attributes", "batch_id"):
        fields.pop(name, None)
    for name in ("owner", "start_byte", "borrowed", "chunking", "restored_from"):
        if not fields.get(name):
            fields.pop(name, None)
    return fields


def spec_of(kind: str, fields: Mapping[str, Any]) -> JobSpec:
    """Read the argument of a workflow; fields of a newer version are ignored."""
    if kind == JobKind.INGEST:
        spec = from_record(IngestSpec, fields)
        if chunking := fields.get("chunking"):
            spec = replace(spec, chunking=from_record(Chunking, chunking))
        return spec
    if kind == JobKind.IMPORT:
        return from_record(ImportSpec, fields)
    if kind == JobKind.ZIP:
        return from_record(ZipSpec, fields)
    if kind == JobKind.RESPONSE:
        return from_record(ResponseSpec, fields)
    return from_record(ImagesSpec, fields)


def _outcome_from(record: Mapping[str, Any] | None) -> ZipOutcome | None:
    if record is None:
        return None
    unread = tuple(from_record(UnreadFile, each) for each in record["unread"])
    return replace(from_record(ZipOutcome, record), unread=unread)


def _failure(error: Exception | None) -> tuple[str, str]:
    if isinstance(error, ServiceError):
        return error.code, error.message
    if error is None:
        return "gave_up", "the job was interrupted too often"
    return "internal_error", "something went wrong inside the service"
