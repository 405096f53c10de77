"""Requests to cancel a job: made by a caller, seen by the steps of the job."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakValueDictionary

from dbos import DBOS

from deployments.errors import Conflict, Unavailable
from deployments.jobs.records import CANCEL, fetch_job, fetch_row, with_timeout
from deployments.observability.metrics import JOBS_ENDED
from deployments.types import Job, JobStatus

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from deployments.jobs.watching import JobWatchers
    from deployments.types import JobSpec

T = TypeVar("T")

_CHECK_PERIOD_S = 1.0
_WAIT_POLL_S = 0.5
_CANCEL_WAIT_S = 3.0


class JobCancelled(Exception):
    """Raised by a step in place of its work; it ends the job."""


class Cancellations:
    """Which jobs are to stop: known at once if requested here, within a second if elsewhere."""

    def __init__(self) -> None:
        self._requested: set[str] = set()
        self._checked_at: dict[str, float] = {}

    def request(self, job_id: str) -> None:
        """Have the job stop; the request must be in the database already."""
        self._requested.add(job_id)

    async def check(self, job_id: str) -> None:
        """Raise JobCancelled if the job is to stop; query the database at most once a second.

        One query is for all jobs under way: each of its own would cost as much as a short text.
        """
        now = time.monotonic()
        age_s = now - self._checked_at.get(job_id, 0)
        if job_id in self._requested or age_s > _CHECK_PERIOD_S:
            self._checked_at[job_id] = now
            self._checked_at = dict.fromkeys(self._checked_at, now)
            await self._query_database()
        if job_id in self._requested:
            raise JobCancelled

    async def _query_database(self) -> None:
        """Update the requests; if the database does not answer, leave them as they are."""
        job_ids, known = list(self._checked_at), self._requested.copy()
        with contextlib.suppress(Unavailable):  # no reason for a job to fail: checked again
            rows = await with_timeout(
                DBOS.list_workflows_async(workflow_ids=job_ids, load_input=False, load_output=False)
            )
            found = {row.workflow_id for row in rows if (row.attributes or {}).get(CANCEL)}
            # The database decides: an idempotency key gives a new job the id of an old one.
            self._requested -= known.intersection(job_ids)
            self._requested |= found & self._checked_at.keys()  # others have ended meanwhile

    def claimed(self, job_id: str) -> None:
        """Note that the job was just claimed, which a job that is to stop cannot be."""
        self._checked_at[job_id] = time.monotonic()

    async def interrupt(self, job_id: str, work: Awaitable[T]) -> T:
        """Return what `work` returns; cancel it and raise JobCancelled if the job is to stop."""
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({task}, timeout=_WAIT_POLL_S))[0]:
                await self.check(job_id)
            return task.result()
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def forget(self, job_id: str) -> None:
        """Drop what is known of a job that has ended."""
        self._requested.discard(job_id)
        self._checked_at.pop(job_id, None)


class JobCanceller:
    """Cancels jobs, whichever replica they run in."""

    def __init__(
        self,
        cancellations: Cancellations,
        watchers: JobWatchers,
        withdraw: Callable[[str, JobSpec], Awaitable[None]],
    ) -> None:
        self._cancellations = cancellations
        self._watchers = watchers
        self._withdraw = withdraw
        # A lock is dropped with the last caller that holds it or waits for it.
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def cancel(self, job_id: str) -> Job:
        """Have a job stop, and wait a moment for it; raise Conflict if it has ended otherwise."""
        # Of several callers at once the first finds the job queued, and counts it.
        async with self._locks.setdefault(job_id, asyncio.Lock()):
            job = await fetch_job(job_id)
            if not job.ended:
                job = await self._request(job_id)
        if not job.ended:
            if job.status is JobStatus.QUEUED:
                await self._withdraw(job_id, job.spec)
            job = await self._watchers.wait_until_ended(job_id, _CANCEL_WAIT_S)
        if job.ended:
            self._cancellations.forget(job_id)
            if job.status is not JobStatus.CANCELLED:
                msg = f"the job has {job.status} already and cannot be cancelled"
                raise Conflict(msg, code="job_ended")
        return job

    async def _request(self, job_id: str) -> Job:
        """Store the request and take the job from its queue; return the job as it was before."""
        request = uuid.uuid4().hex
        await with_timeout(
            DBOS.update_workflow_attributes_async(job_id, {CANCEL: request}, merge=True)
        )
        self._cancellations.request(job_id)
        job = await fetch_job(job_id)
        if job.status is JobStatus.QUEUED:
            # Should it begin just now, its first step sees the request above.
            await with_timeout(DBOS.cancel_workflow_async(job_id))
            row = await fetch_row(job_id)
            # Once it has begun its workflow counts it. Of requests to several replicas at the
            # same moment at most one counts it, and possibly none.
            if not row.recovery_attempts and (row.attributes or {}).get(CANCEL) == request:
                JOBS_ENDED.add(kind=job.kind, state=JobStatus.CANCELLED)
        return job
