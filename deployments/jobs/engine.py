"""DBOS of this process: its start and stop, and its periodic work."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from dbos import DBOS
from loguru import logger
from sqlalchemy.exc import SQLAlchemyError

from deployments import sqlite_connections
from deployments.archives.tape import PART_BYTES, part_path
from deployments.databases import is_sqlite
from deployments.errors import Unavailable
from deployments.file_store import ARCHIVES, CHUNKS, IMAGES, PAGES, RECHUNKED, UPLOADS
from deployments.jobs.claims import overwrite_deleted_rows, return_job
from deployments.jobs.doctor.requests import DOCTOR
from deployments.jobs.queue_metrics import publish_counts
from deployments.jobs.records import APPLICATION, KINDS, spec_of
from deployments.jobs.workflows import VERSION
from deployments.types import JobKind, ZipSpec

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from deployments.file_store import FileStore
    from deployments.jobs.dispatcher import Dispatcher
    from deployments.jobs.doctor.runs import DoctorRuns
    from deployments.jobs.leases import Lease
    from deployments.jobs.workflows import Workflows
    from deployments.settings import JobsSettings

_THREADS = 16
_LEASE_CHECK_S = 0.25
_LEASE_GRACE_S = 5.0
_TAKE_OVER_PERIOD_S = 1.0
_IDLE_LOOKS = 10
_COUNT_PERIOD_S = 5.0  # twice for each time that Ray exports
_RECONCILE_PERIOD_S = 60.0
_BATCHES_PAUSE_S = 1.0  # after an error
_ERASE_PERIOD_S = 2.0
_REINDEX_PERIOD_S = 3.0
_DOCTOR_PERIOD_S = 2.0
_BACK_UP_PERIOD_S = 2.0
_PURGE_PERIOD_S = 3600.0
_PURGED_S = 24 * 3600.0  # after which vectors that were deleted are purged
_SWEEP_PERIOD_S = 3600.0
_SWEEP_BATCH = 100
_ARCHIVE_ORPHANED_S = 24 * 3600.0  # a part of an archive that is being uploaded
_RECHUNKED_S = 24 * 3600.0  # longer than the chunks of any document are stored
_ORPHANED_S = 3600.0  # a file that no job has used for so long was left by a crash


class Engine:
    """Runs jobs while this process holds its lease; at most one per process, as of DBOS."""

    def __init__(  # noqa: PLR0913 - the parts of the jobs
        self,
        database_url: str,
        lease: Lease,
        workflows: Workflows,
        dispatcher: Dispatcher,
        settings: JobsSettings,
        *,
        reconcile: Callable[[], Awaitable[None]],
        feed_batches: Callable[[], Awaitable[None]],
        erase: Callable[[], Awaitable[None]],
        purge: Callable[[float], Awaitable[object]],
        reindex: Callable[[], Awaitable[None]],
        rechunk: Callable[[], Awaitable[None]],
        doctor: DoctorRuns,
        back_up: Callable[[], Awaitable[None]],
        removals_held: Callable[[], Awaitable[bool]],
    ) -> None:
        """Keep the parts; `database_url` is of SQLite or PostgreSQL.

        `reconcile`, `erase`, `reindex`, `rechunk` and `back_up` are called periodically, and so is
        `purge`, with the age in seconds of what is to be purged. `feed_batches` runs until it is
        cancelled. `removals_held` says whether files must not be swept, because a backup needs
        them.
        """
        self._feed_batches = feed_batches
        self._reconcile = reconcile
        self._erase = erase
        self._purge = purge
        self._reindex = reindex
        self._rechunk = rechunk
        self._doctor = doctor
        self._back_up = back_up
        self._removals_held = removals_held
        self._dispatcher = dispatcher
        self._database_url = database_url
        self._lease = lease
        self._workflows = workflows
        self._settings = settings
        self._lease_guard: asyncio.Task[None] | None = None
        self._periodic: list[asyncio.Task[None]] = []
        self._stopping: asyncio.Task[None] | None = None
        self._idle_looks: dict[str, int] = {}  # by the ids of claimed jobs that are not under way

    async def start(self, files: FileStore) -> None:
        """Acquire the lease, launch DBOS and start the dispatcher."""
        logging.getLogger("dbos").addFilter(_shorten)
        await asyncio.to_thread(self._lease.acquire)
        DBOS(
            config={
                "name": APPLICATION,
                "system_database_url": self._database_url,
                "executor_id": self._lease.executor_id,
                "application_version": VERSION,
                "max_executor_threads": _THREADS,
                "db_engine_kwargs": _engine_arguments(self._database_url),
                "log_level": "WARNING",
            }
        )
        DBOS.listen_queues([])  # the dispatcher starts the jobs
        DBOS.launch()  # on this loop, so that steps run where the handles of Serve live
        await asyncio.to_thread(overwrite_deleted_rows)
        # Else a version that was tried and left would keep the jobs without one to itself.
        await DBOS.set_latest_application_version_async(VERSION)
        self._lease_guard = asyncio.create_task(self._stop_when_lease_is_lost())
        self._periodic = [
            asyncio.create_task(self._dispatcher.run()),
            asyncio.create_task(_repeat(_BATCHES_PAUSE_S, self._feed_batches)),
            asyncio.create_task(_repeat(_TAKE_OVER_PERIOD_S, self._take_over)),
            asyncio.create_task(_repeat(_COUNT_PERIOD_S, publish_counts)),
            asyncio.create_task(_repeat(_RECONCILE_PERIOD_S, self._reconcile)),
            asyncio.create_task(_repeat(_ERASE_PERIOD_S, self._erase)),
            asyncio.create_task(_repeat(_REINDEX_PERIOD_S, self._reindex)),
            asyncio.create_task(_repeat(_REINDEX_PERIOD_S, self._rechunk)),
            asyncio.create_task(_repeat(_BACK_UP_PERIOD_S, self._back_up)),
            asyncio.create_task(_repeat(_PURGE_PERIOD_S, lambda: self._purge(_PURGED_S))),
            asyncio.create_task(_repeat(_SWEEP_PERIOD_S, lambda: self._sweep(files))),
            asyncio.create_task(_repeat(_DOCTOR_PERIOD_S, self._doctor.run_due)),
            asyncio.create_task(_repeat(_COUNT_PERIOD_S, self._doctor.publish)),
        ]

    def check_health(self) -> None:
        """Raise Unavailable if this process may run no more jobs, and must be replaced."""
        if self._lease.lost:
            msg = "the executor lease was lost"
            raise Unavailable(msg)

    async def close(self) -> None:
        """Stop, and release the lease, so that another replica continues the jobs at once."""
        if self._lease_guard:
            self._lease_guard.cancel()
            await asyncio.gather(self._lease_guard, return_exceptions=True)
        await self._stop()
        await asyncio.to_thread(self._lease.release)

    async def _stop_when_lease_is_lost(self) -> None:
        while not self._lease.lost:
            await asyncio.sleep(_LEASE_CHECK_S)
            if not self._lease.valid:
                # After the machine has slept, or this process was starved, the heartbeat may be
                # late, though nobody has taken over.
                with contextlib.suppress(TimeoutError, SQLAlchemyError):
                    async with asyncio.timeout(_LEASE_GRACE_S):
                        await asyncio.to_thread(self._lease.renew)
                self._lease.lost = not self._lease.valid
        logger.error("the executor lease was lost: all jobs stop, and this replica with them")
        await self._stop()

    async def _stop(self) -> None:
        """Stop all work of this process, once."""
        if self._stopping is None:
            self._stopping = asyncio.create_task(self._stop_work())
        await asyncio.shield(self._stopping)

    async def _stop_work(self) -> None:
        for task in self._periodic:
            task.cancel()
        await asyncio.gather(*self._periodic, return_exceptions=True)
        await self._doctor.stop()
        await self._workflows.stop()
        # DBOS makes its pool of threads the default of this loop. They may all be waiting for the
        # database, and they end with DBOS, so the loop needs others: now, and once DBOS is gone.
        loop, threads = asyncio.get_running_loop(), ThreadPoolExecutor()
        loop.set_default_executor(threads)
        await loop.run_in_executor(threads, partial(DBOS.destroy, destroy_registry=True))
        loop.set_default_executor(threads)

    async def _take_over(self) -> None:
        """Have DBOS run the jobs of dead executors again, and own ones that were never started.

        An executor has had its lease before it has a job, so the leases must be read after the
        jobs. DBOS takes over each job only once, however many replicas ask for it.
        """
        rows = await DBOS.list_workflows_async(
            name=[*KINDS, DOCTOR],
            status="PENDING",
            app_version=VERSION,
            load_input=False,
            load_output=False,
        )
        await self._return_never_started(
            {row.workflow_id for row in rows if row.executor_id == self._lease.executor_id}
        )
        executors = {row.executor_id for row in rows if row.executor_id}
        if executors <= {self._lease.executor_id}:
            return
        live = await asyncio.to_thread(self._lease.live_executors)
        if self._lease.executor_id not in live:
            self._lease.lost = True
        elif dead := sorted(executors - live):
            logger.info("taking over the jobs of {}", ", ".join(dead))
            # DBOS has no public function for this.
            await asyncio.to_thread(DBOS._recover_pending_workflows, dead)  # noqa: SLF001
            self._dispatcher.wake()

    async def _return_never_started(self, claimed: set[str]) -> None:
        """Return jobs to the queue whose claim reached the database, but not this process.

        That is so when the connection breaks during the commit.
        """
        idle = claimed - self._workflows.running - self._doctor.running
        self._idle_looks = {job_id: self._idle_looks.get(job_id, 0) + 1 for job_id in idle}
        lost = [job_id for job_id, looks in self._idle_looks.items() if looks >= _IDLE_LOOKS]
        for job_id in lost:
            logger.warning("job {} was claimed and not started: it is queued again", job_id)
            await asyncio.to_thread(return_job, job_id, self._lease.executor_id, {})
        if lost:
            self._dispatcher.wake()

    async def _sweep(self, files: FileStore) -> None:
        """Delete jobs that ended long ago, and files that no job needs."""
        if await self._removals_held():
            return
        age = timedelta(days=self._settings.keep_days)
        while old := await DBOS.list_workflows_async(
            completed_before=(datetime.now(UTC) - age).isoformat(),
            name=[*KINDS, DOCTOR],
            limit=_SWEEP_BATCH,
            load_input=False,
            load_output=False,
        ):
            for row in old:
                await files.delete(f"{IMAGES}/{row.workflow_id}")
            await DBOS.delete_workflows_async([row.workflow_id for row in old])
            logger.info("{} old jobs removed", len(old))
        active = await DBOS.list_workflows_async(
            status=["ENQUEUED", "PENDING"], name=JobKind.INGEST.value, load_output=False
        )
        needed = [row.input["args"][0]["upload_path"] for row in active if row.input]
        needed += await _needed_zips(files)
        await files.delete_older(UPLOADS, _ORPHANED_S, needed)
        await files.delete_older(PAGES, _ORPHANED_S)
        await files.delete_older(ARCHIVES, _ARCHIVE_ORPHANED_S, await _needed_parts())
        ids = {row.workflow_id for row in active}
        for job_id in await files.names(CHUNKS):
            if job_id not in ids:
                age_s = _RECHUNKED_S if job_id.startswith(RECHUNKED) else _ORPHANED_S
                await files.delete_older(f"{CHUNKS}/{job_id}", age_s)


def _engine_arguments(database_url: str) -> dict[str, Any]:
    """Return what DBOS adds to the arguments of its engine."""
    if not is_sqlite(database_url):
        return {}
    return {"connect_args": {"factory": sqlite_connections.Connection}}


async def _needed_parts() -> list[str]:
    """Name the parts of the archives that are being imported, or are about to be."""
    active = await DBOS.list_workflows_async(
        status=["ENQUEUED", "PENDING"], name=JobKind.IMPORT.value, load_output=False
    )
    inputs = [row.input["args"][0] for row in active if row.input]
    return [
        part_path(fields["upload_path"], number)
        for fields in inputs
        for number in range(-(-fields["size_bytes"] // PART_BYTES))
    ]


async def _needed_zips(files: FileStore) -> list[str]:
    """Name the ZIP files of jobs that have not ended, and what is unpacked of them."""
    active = await DBOS.list_workflows_async(
        status=["ENQUEUED", "PENDING"], name=JobKind.ZIP.value, load_output=False
    )
    specs = [spec_of(JobKind.ZIP, row.input["args"][0]) for row in active if row.input]
    needed = []
    for spec in specs:
        assert isinstance(spec, ZipSpec)  # noqa: S101 - of its kind
        unpacked = await files.names(spec.folder)
        needed += [spec.upload_path, *(f"{spec.folder}/{name}" for name in unpacked)]
    return needed


async def _repeat(period_s: float, work: Callable[[], Awaitable[object]]) -> None:
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - tried again after the period
            logger.opt(exception=error).warning("periodic work of the jobs failed")
        await asyncio.sleep(period_s)


def _shorten(record: logging.LogRecord) -> bool:
    """Drop what a job itself reports of its end, and the traceback of an attempt that failed."""
    message = record.getMessage()
    if message.startswith("Step being automatically retried") and record.exc_info:
        record.msg, record.args = f"{message}: {record.exc_info[1]}", None
        record.exc_info = record.exc_text = None
    return not message.startswith(
        ("Exception encountered in async", "Workflow job_", "Asyncio task cancelled")
    )
