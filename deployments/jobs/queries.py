"""The board of all jobs: finding, cancelling and watching them, in DBOS's tables."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from dbos import DBOS

from deployments.bounds import MAX_WATCHERS
from deployments.errors import Conflict, Overloaded
from deployments.jobs.records import KINDS, answered, job_of, row_of, workflow_statuses
from deployments.jobs.workflows import CANCEL
from deployments.observability.metrics import JOBS_ENDED
from deployments.types import (
    IngestSpec,
    Job,
    JobList,
    JobQuery,
    JobStatus,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from deployments.jobs.cancellation import Cancellations

_POLL_S = 0.25
_CANCEL_WAIT_S = 3.0
_MAX_LISTED = 100


class JobBoard:
    """What `deployments.interfaces.Jobs` tells of jobs and does to them, over a launched DBOS.

    Every method raises Unavailable when the database does not answer.
    """

    def __init__(
        self,
        cancellations: Cancellations,
        tidy: Callable[[str, IngestSpec], Awaitable[None]],
        max_watchers: int = MAX_WATCHERS,
    ) -> None:
        """Keep the parts; `tidy` removes what lies about of an upload."""
        self._cancellations = cancellations
        self._tidy = tidy
        self._max_watchers = max_watchers
        self._watchers = 0
        # A lock goes with the last who holds or waits for it.
        self._asking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def job(self, job_id: str) -> Job:
        """Find one job; raises NotFound."""
        return job_of(await row_of(job_id))

    async def jobs(self, query: JobQuery) -> JobList:
        """List the jobs of an owner, newest first."""
        behind = await self.job(query.after) if query.after else None
        limit, offset = min(query.limit, _MAX_LISTED), 0
        found: list[Job] = []
        # A job taken up after a crash is queued to DBOS, so more may have to be read; and all
        # of the same moment have to be, as their order is ours.
        while True:
            rows = await answered(
                DBOS.list_workflows_async(
                    name=query.kind.value if query.kind else KINDS,
                    # Without an owner there is no user, which cannot be asked for.
                    user=query.owner or None,
                    status=workflow_statuses(query.status) if query.status else None,
                    end_time=_iso(behind.created_at) if behind else None,
                    sort_desc=True,
                    limit=_MAX_LISTED,
                    offset=offset,
                )
            )
            found += [
                job
                for job in map(job_of, rows)
                if (behind is None or _age(job) < _age(behind))
                and job.spec.owner == query.owner
                and query.status in {None, job.status}
            ]
            found.sort(key=_age, reverse=True)
            offset += len(rows)
            if len(rows) < _MAX_LISTED:
                break
            if len(found) > limit and job_of(rows[-1]).created_at < found[limit].created_at:
                break
        return JobList(tuple(found[:limit]), found[limit - 1].id if len(found) > limit else None)

    async def find(self, job_ids: Sequence[str]) -> list[Job]:
        """Look up several at once; those that are not there are left out."""
        if not job_ids:
            return []
        ids = list(job_ids)
        return [
            job_of(row)
            for row in await answered(DBOS.list_workflows_async(workflow_ids=ids, name=KINDS))
        ]

    async def cancel(self, job_id: str) -> Job:
        """Have a job stop, and wait a moment for it; Conflict if it ended otherwise."""
        # Of several who ask for one job at once the first finds it waiting, and counts it.
        async with self._asking.setdefault(job_id, asyncio.Lock()):
            job = await self.job(job_id)
            if not job.ended:
                job = await self._asked_to_stop(job_id)
        if not job.ended:
            if job.status is JobStatus.QUEUED and isinstance(job.spec, IngestSpec):
                await self._tidy(job_id, job.spec)
            job = await self.until_ended(job_id, _CANCEL_WAIT_S)
        if job.ended:
            self._cancellations.forget(job_id)
            if job.status is not JobStatus.CANCELLED:
                msg = f"the job has {job.status} already and cannot be cancelled"
                raise Conflict(msg, code="job_ended")
        return job

    async def _asked_to_stop(self, job_id: str) -> Job:
        """Write the request down, and take the job from its queue if it waits there; as it was."""
        asker = uuid.uuid4().hex
        await answered(DBOS.update_workflow_attributes_async(job_id, {CANCEL: asker}, merge=True))
        self._cancellations.request(job_id)
        job = await self.job(job_id)
        if job.status is JobStatus.QUEUED:
            # Should it begin just now, its first step sees the request above.
            await answered(DBOS.cancel_workflow_async(job_id))
            row = await row_of(job_id)
            # Once it has begun its workflow counts it. Of askers at several replicas at the same
            # moment never two do, but it may be that none does.
            if not row.recovery_attempts and (row.attributes or {}).get(CANCEL) == asker:
                JOBS_ENDED.add(kind=job.kind, state=JobStatus.CANCELLED)
        return job

    async def watch(self, job_id: str) -> AsyncGenerator[Job, None]:
        """Yield the job now and at every change, until it has ended; raises NotFound.

        Overloaded when too many watch already.
        """
        if self._watchers >= self._max_watchers:
            msg = "too many jobs are being watched; ask for the job now and then instead"
            raise Overloaded(msg)
        self._watchers += 1
        try:
            async for job in self._changes(job_id):
                yield job
        finally:
            self._watchers -= 1

    async def _changes(self, job_id: str) -> AsyncGenerator[Job, None]:
        shown: Job | None = None
        while shown is None or not shown.ended:
            job = await self.job(job_id)
            if job != shown:
                yield job
            shown = job
            if not job.ended:
                await asyncio.sleep(_POLL_S)

    async def until_ended(self, job_id: str, timeout_s: float) -> Job:
        """Wait a while; the job as it then stands."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                async for _ in self._changes(job_id):
                    pass
        return await self.job(job_id)


def _age(job: Job) -> tuple[float, str]:
    return job.created_at, job.id


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()
