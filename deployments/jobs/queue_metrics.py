"""Gauges of the jobs that wait and that run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from dbos import DBOS

from deployments.jobs.records import KINDS, status_of, workflow_statuses
from deployments.observability.metrics import JOBS, OLDEST_JOB
from deployments.types import JobKind, JobStatus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dbos import WorkflowStatus


async def publish_counts() -> None:
    """Read the jobs that have not ended and set the gauges."""
    rows = await DBOS.list_workflows_async(
        name=KINDS,
        status=workflow_statuses(JobStatus.QUEUED),  # which are those of running ones too
        load_input=False,
        load_output=False,
    )
    for kind in JobKind:
        of_kind = [row for row in rows if row.name == kind]
        queued = [row for row in of_kind if status_of(row) is JobStatus.QUEUED]
        JOBS.set(len(queued), kind=kind, state=JobStatus.QUEUED)
        JOBS.set(len(of_kind) - len(queued), kind=kind, state=JobStatus.RUNNING)
        OLDEST_JOB.set(_longest_wait_s(queued), kind=kind)


def _longest_wait_s(queued: Sequence[WorkflowStatus]) -> float:
    now = time.time()
    return max((now - (row.created_at or 0) / 1000 for row in queued), default=0.0)
