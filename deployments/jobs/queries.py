"""Lists of jobs: those of one owner in pages, newest first."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dbos import DBOS

from deployments.jobs.records import KINDS, fetch_job, job_of, with_timeout, workflow_statuses
from deployments.types import JobList

if TYPE_CHECKING:
    from deployments.types import Job, JobQuery

_MAX_LISTED = 100


async def list_jobs(query: JobQuery) -> JobList:
    """List the jobs of an owner, newest first; raise NotFound if `query.after` does not exist."""
    after = await fetch_job(query.after) if query.after else None
    limit, offset = min(query.limit, _MAX_LISTED), 0
    found: list[Job] = []
    # DBOS has queued the jobs that were taken over, so more rows may have to be read than are
    # wanted; and all rows of one moment, as their order is ours.
    while True:
        rows = await with_timeout(
            DBOS.list_workflows_async(
                name=query.kind.value if query.kind else KINDS,
                # Jobs without an owner have no user, which DBOS cannot filter by.
                user=query.owner or None,
                status=workflow_statuses(query.status) if query.status else None,
                end_time=_iso(after.created_at) if after else None,
                sort_desc=True,
                limit=_MAX_LISTED,
                offset=offset,
            )
        )
        found += [
            job
            for job in map(job_of, rows)
            if (after is None or _order(job) < _order(after))
            and job.spec.owner == query.owner
            and query.status in {None, job.status}
        ]
        found.sort(key=_order, reverse=True)
        offset += len(rows)
        if len(rows) < _MAX_LISTED:
            break
        if len(found) > limit and job_of(rows[-1]).created_at < found[limit].created_at:
            break
    return JobList(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)


def _order(job: Job) -> tuple[float, str]:
    return job.created_at, job.id


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
