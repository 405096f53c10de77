"""Watching jobs: one poller per replica reads all watched jobs in one query."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import TYPE_CHECKING

from deployments.bounds import MAX_WATCHERS
from deployments.errors import Overloaded
from deployments.jobs.records import fetch_job, fetch_jobs, not_found

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from deployments.types import Job

    Poll = dict[str, Job | None] | Exception
    """The jobs that were asked for, None for those that do not exist; or why there are none."""

_POLL_S = 0.25
_OWNERS_SHARE = 2  # one owner may take half of the places
_LEAST_SHARE = 16  # and gets this part of them even if all are taken


class JobWatchers:
    """The callers that follow a job. The database is only polled while there are any.

    Each caller takes the newest state when it is ready for one, so a slow caller skips states
    and neither fills a buffer nor delays the others.
    """

    def __init__(self, max_watchers: int = MAX_WATCHERS) -> None:
        self._max_watchers = max_watchers
        self._watching: Counter[str] = Counter()  # by owner
        self._watched: Counter[str] = Counter()
        self._poller: asyncio.Task[None] | None = None
        self._next_poll: asyncio.Future[Poll]

    async def watch(self, job_id: str) -> AsyncGenerator[Job, None]:
        """Yield the job now and at every change until it has ended.

        Raises NotFound, Overloaded when there are too many watchers, and Unavailable when the
        database does not answer.
        """
        async with contextlib.aclosing(self._changes(job_id)) as jobs:
            job = await anext(jobs)
            with self._place(job.spec.owner):
                yield job
                async for job in jobs:
                    yield job

    @contextlib.contextmanager
    def _place(self, owner: str) -> Iterator[None]:
        """Hold a place for watching; a full replica still has some for an owner with few."""
        own, most = self._watching[owner], self._max_watchers
        if own >= (most // _OWNERS_SHARE if owner else most) or (
            self._watching.total() >= most and own >= most // _LEAST_SHARE
        ):
            msg = "too many jobs are being watched; ask for the job now and then instead"
            raise Overloaded(msg)
        self._watching[owner] += 1
        try:
            yield
        finally:
            self._watching[owner] -= 1
            self._watching += Counter()  # drops what is at zero

    async def wait_until_ended(self, job_id: str, timeout_s: float) -> Job:
        """Wait until the job has ended or the time is over; return it as it then is."""
        with contextlib.suppress(TimeoutError):
            async with (
                asyncio.timeout(timeout_s),
                contextlib.aclosing(self._changes(job_id)) as jobs,
            ):
                async for _ in jobs:
                    pass
        return await fetch_job(job_id)

    async def _changes(self, job_id: str) -> AsyncGenerator[Job, None]:
        job = await fetch_job(job_id)
        yield job
        self._watched[job_id] += 1
        try:
            while not job.ended:
                polled = await self._poll()
                if isinstance(polled, Exception):
                    raise polled
                changed = polled.get(job_id, job)  # it came too late for a query under way
                if changed is None:
                    raise not_found()
                if changed != job:
                    job = changed
                    yield job
        finally:
            self._watched[job_id] -= 1
            self._watched += Counter()  # drops what is at zero

    async def _poll(self) -> Poll:
        """Wait for the next poll; start the poller if it does not run."""
        if self._poller is None or self._poller.done():
            self._next_poll = asyncio.get_running_loop().create_future()
            self._poller = asyncio.create_task(self._poll_repeatedly())
        return await asyncio.shield(self._next_poll)

    async def _poll_repeatedly(self) -> None:
        while self._watched:
            await asyncio.sleep(_POLL_S)
            result: Poll
            try:
                result = dict.fromkeys(self._watched)
                result |= {job.id: job for job in await fetch_jobs(list(result))}
            except Exception as error:  # noqa: BLE001 - raised by the watchers
                result = error
            poll, self._next_poll = self._next_poll, asyncio.get_running_loop().create_future()
            poll.set_result(result)
