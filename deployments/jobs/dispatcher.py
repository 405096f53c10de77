"""The dispatcher: it starts queued jobs in fair turns, as soon as a place is free.

The queue is in the database, where DBOS keeps it. This is a copy of it in memory, which is changed
at once by what this replica does, and read again about every second for what others do. Whichever
replica claims a row in the database runs the job.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from typing import TYPE_CHECKING

from loguru import logger

from deployments.errors import Overloaded
from deployments.jobs.claims import queued_rows, return_job, start_jobs
from deployments.jobs.costs import SHORT_JOB_S, estimate_s
from deployments.jobs.records import CANCEL, COST, LONG
from deployments.jobs.turns import Turns, WaitingJob
from deployments.types import JobKind, kind_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from deployments.jobs.claims import QueuedRow
    from deployments.jobs.leases import Lease
    from deployments.jobs.turns import Places
    from deployments.types import JobSpec

_POLL_S = 1.0
_POLL_SHARE = 0.02  # of the time: reading a long queue takes long
_PAUSE_S = 1.0
_STOP_TIMEOUT_S = 1.0
_UNKNOWN_COST_S = 10.0  # of a job that version 0.1 has queued
_MAX_POLL_S = 5.0
_OWNERS_SHARE = 2  # one owner may take half of the queue
_MAX_IMPORTS = 16  # their archives are large
_BATCHES_SHARE = 4  # one owner's file batches may take a quarter
_LEAST_SHARE = 16  # and gets this part of it even if it is full


class ReturnedToQueue(asyncio.CancelledError):
    """Raised in a job that goes back into the queue as a long one; DBOS records nothing of it."""


class Dispatcher:
    """Starts the jobs of one replica; several replicas share the queue."""

    def __init__(
        self,
        lease: Lease,
        places: Mapping[JobKind, Places],
        shares: Mapping[str, float],
        max_queued: int,
        version: str,
    ) -> None:
        """Set how many jobs of a kind run at once, and the weights of owners, by default 1."""
        self._lease = lease
        self._version = version
        self._turns = {kind: Turns(places[kind], shares) for kind in JobKind}
        self._has_short = {kind: places[kind].short > 0 for kind in JobKind}
        self._max_queued = max_queued
        self._submitting: Counter[tuple[JobKind, str]] = Counter()
        self._submitted_at: dict[str, float] = {}
        self._wake = asyncio.Event()
        self._poll_at = 0.0

    async def run(self) -> None:
        """Start jobs until the task is cancelled."""
        while True:
            self._wake.clear()
            try:
                if self._lease.valid:
                    if time.monotonic() >= self._poll_at:
                        await self._read_queue()
                    await self._start_jobs()
            except Exception as error:  # noqa: BLE001 - such as a database that is restarted
                logger.warning("no job can be started for now: {}", error)
                await asyncio.sleep(_PAUSE_S)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_S):
                    await self._wake.wait()

    @contextlib.contextmanager
    def submission(self, spec: JobSpec) -> Iterator[None]:
        """Reserve room in the queue; raise Overloaded if it is full, in all or for this owner."""
        kind, owner = kind_of(spec), spec.owner
        turns = self._turns[kind]
        waiting = Counter({(kind, name): n for name, n in turns.waiting_by_owner().items()})
        waiting += self._submitting
        own = waiting[kind, owner]
        all_of_kind = sum(n for (one, _), n in waiting.items() if one is kind)
        most = min(self._max_queued, _MAX_IMPORTS) if kind is JobKind.IMPORT else self._max_queued
        least = most // _LEAST_SHARE
        if own >= (max(1, most // _OWNERS_SHARE) if owner else most) or (
            all_of_kind >= most and own >= least
        ):
            msg = "too many jobs are waiting; try again later"
            raise Overloaded(msg)
        self._submitting[kind, owner] += 1
        try:
            yield
        finally:
            self._submitting[kind, owner] -= 1

    def has_room_for_batch(self, owner: str) -> bool:
        """Return whether further files of an owner's batches may be queued.

        They leave room for what the owner uploads otherwise.
        """
        kind = JobKind.INGEST
        waiting = self._turns[kind].waiting_by_owner()[owner] + self._submitting[kind, owner]
        return waiting < max(1, self._max_queued // _BATCHES_SHARE)

    def submitted(self, job_id: str, spec: JobSpec) -> None:
        """Take note of a job that was just queued here."""
        kind, cost_s = kind_of(spec), estimate_s(spec)
        self._submitted_at[job_id] = time.monotonic()
        self._turns[kind].add(WaitingJob(job_id, spec.owner, cost_s, cost_s <= SHORT_JOB_S))
        self._wake.set()

    def wake(self) -> None:
        """Read the queue again now: another replica's jobs were put back into it."""
        self._poll_at = 0.0
        self._wake.set()

    def has_claimed(self, kind: JobKind, job_id: str) -> bool:
        """Return whether a running job came from the queue, not from a dead replica."""
        return job_id in self._turns[kind].running

    def is_short(self, kind: JobKind, job_id: str) -> bool:
        """Return whether a running job holds a place for short jobs."""
        return self._has_short[kind] and self._turns[kind].runs_short(job_id)

    def charge(self, kind: JobKind, job_id: str, cpu_s: float) -> None:
        """Charge a running job for the CPU seconds of one of its steps."""
        self._turns[kind].charge(job_id, cpu_s)

    def ended(self, kind: JobKind, job_id: str) -> None:
        """Free the place of a job."""
        self._turns[kind].end(job_id)
        self._wake.set()

    async def return_as_long(self, job_id: str) -> None:
        """Put a running job back into the queue, as one that needs more than a short job."""
        attributes = {LONG: True}
        await asyncio.to_thread(return_job, job_id, self._lease.executor_id, attributes)
        self.wake()

    async def _read_queue(self) -> None:
        began = time.monotonic()
        self._poll_at = began + _POLL_S
        rows = await asyncio.to_thread(queued_rows, self._version)
        if self._poll_at:  # else it is to be read again, for what came meanwhile
            took_s = time.monotonic() - began
            self._poll_at = began + min(max(_POLL_S, took_s / _POLL_SHARE), _MAX_POLL_S)
        for kind, turns in self._turns.items():
            of_kind = [row for row in rows if row.kind == kind]
            ids = {row.job_id for row in of_kind}
            for job_id in list(turns.waiting - ids):
                if self._submitted_at.get(job_id, 0.0) < began:  # else queued during the query
                    turns.remove(job_id)
            for row in of_kind:
                turns.add(_waiting(row))
        self._submitted_at = {
            job_id: at for job_id, at in self._submitted_at.items() if at >= began
        }
        if leaving := [row.job_id for row in rows if CANCEL in row.attributes]:
            # All that is left of them is to clean up, for which they need no place.
            await self._claim(leaving, cancelled=True)
            for turns in self._turns.values():
                for job_id in leaving:
                    turns.remove(job_id)

    async def _claim(self, job_ids: list[str], *, cancelled: bool = False) -> set[str]:
        """Claim and start jobs. A cancellation of this call waits a moment for its thread."""
        claim = asyncio.create_task(
            asyncio.to_thread(
                start_jobs,
                job_ids,
                self._lease.executor_id,
                self._version,
                cancelled=cancelled,
            )
        )
        try:
            return await asyncio.shield(claim)
        except asyncio.CancelledError:
            await asyncio.wait({claim}, timeout=_STOP_TIMEOUT_S)
            raise

    async def _start_jobs(self) -> None:
        taken = [(turns, job) for turns in self._turns.values() for job in turns.take()]
        if not taken:
            return
        try:
            started = await self._claim([job.id for _, job in taken])
        except Exception:
            for turns, job in reversed(taken):
                turns.put_back(job)
            raise
        for turns, job in taken:
            if job.id not in started:
                turns.end(job.id)
                self._wake.set()


def _waiting(row: QueuedRow) -> WaitingJob:
    cost_s = float(row.attributes.get(COST, _UNKNOWN_COST_S))
    short = cost_s <= SHORT_JOB_S and LONG not in row.attributes
    return WaitingJob(row.job_id, row.owner, cost_s if short else max(cost_s, SHORT_JOB_S), short)
