"""DBOS, started and stopped: its database, its queues, and who takes up whose work."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dbos import DBOS
from loguru import logger

from deployments.jobs.leases import executor_of, slot_of, slots_of, take
from deployments.jobs.queue_metrics import publish_counts
from deployments.jobs.workflows import VERSION
from deployments.types import JobKind

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from deployments.file_store import FileStore
    from deployments.settings import JobsSettings

_QUEUE_POLL_S = 0.5
_THREADS = 16
_ADOPT_PERIOD_S = 5.0
_COUNT_PERIOD_S = 5.0  # twice for each time that Ray exports
_SWEEP_PERIOD_S = 3600.0
_SWEEP_BATCH = 100
_LOST_S = 3600.0  # what lies about unused for so long was left by a crash


class Engine:
    """One a process, as DBOS is. Workflows must be registered before it is started."""

    def __init__(self, database_url: str, settings: JobsSettings) -> None:
        """Choose who to be; `database_url` is of SQLite or PostgreSQL."""
        self._settings = settings
        self._slots = slots_of(database_url)
        self._slot = take(self._slots)
        self._background: list[asyncio.Task[None]] = []
        logging.getLogger("dbos").addFilter(_unexpected)
        DBOS(
            config={
                "name": "genserve-jobs",
                "system_database_url": database_url,
                "executor_id": executor_of(self._slot),
                "application_version": VERSION,
                "max_executor_threads": _THREADS,
                "log_level": "WARNING",
            }
        )

    async def start(self, files: FileStore) -> None:
        """Open the queues; work that was interrupted goes on."""
        DBOS.launch()  # on this loop, so that steps run where the handles of Serve live
        # Else a version that was tried and left would keep what has none to itself.
        await DBOS.set_latest_application_version_async(VERSION)
        for kind, at_once in (
            (JobKind.INGEST, self._settings.ingest_concurrency),
            (JobKind.IMAGES, self._settings.images_concurrency),
        ):
            await DBOS.register_queue_async(
                kind.value,
                worker_concurrency=at_once,
                polling_interval_sec=_QUEUE_POLL_S,
                on_conflict="always_update",
            )
        self._background = [
            asyncio.create_task(_every(_ADOPT_PERIOD_S, self._adopt)),
            asyncio.create_task(_every(_COUNT_PERIOD_S, publish_counts)),
            asyncio.create_task(_every(_SWEEP_PERIOD_S, lambda: self._sweep(files))),
        ]

    async def _adopt(self) -> None:
        """Take up the work of replicas that are gone and were not replaced."""
        rows = await DBOS.list_workflows_async(
            status="PENDING", load_input=False, load_output=False
        )
        others = {row.executor_id for row in rows} - {executor_of(self._slot), None}
        await asyncio.to_thread(self._adopt_from, sorted(filter(None, others)))

    def _adopt_from(self, executors: Sequence[str]) -> None:
        for executor in executors:
            slot = slot_of(executor)
            if self._slots.hold(slot):
                try:
                    DBOS._recover_pending_workflows([executor])  # noqa: SLF001 - its only way
                finally:
                    self._slots.let_go(slot)

    async def _sweep(self, files: FileStore) -> None:
        """Forget jobs that ended long ago, and uploads that became no job's."""
        age = timedelta(days=self._settings.keep_days)
        while old := await DBOS.list_workflows_async(
            completed_before=(datetime.now(UTC) - age).isoformat(),
            name=[kind.value for kind in JobKind],
            limit=_SWEEP_BATCH,
            load_input=False,
            load_output=False,
        ):
            for row in old:
                await files.delete(f"images/{row.workflow_id}")
            await DBOS.delete_workflows_async([row.workflow_id for row in old])
            logger.info("{} old jobs removed", len(old))
        at_work = await DBOS.list_workflows_async(
            status=["ENQUEUED", "PENDING"], name=JobKind.INGEST.value, load_output=False
        )
        needed = [row.input["args"][0]["upload_path"] for row in at_work if row.input]
        await files.delete_older("uploads", _LOST_S, needed)
        await files.delete_older("pages", _LOST_S)  # the scraper's PDFs
        ids = {row.workflow_id for row in at_work}
        for job_id in await files.names("chunks"):
            if job_id not in ids:
                await files.delete_older(f"chunks/{job_id}", _LOST_S)

    async def close(self) -> None:
        """Stop; what is at work is taken up by the next replica."""
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        await asyncio.to_thread(DBOS.destroy, destroy_registry=True)
        self._slots.close()


async def _every(period_s: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
        except Exception as error:  # noqa: BLE001 - tried again at the next turn
            logger.opt(exception=error).warning("housekeeping of the jobs failed")
        await asyncio.sleep(period_s)


def _unexpected(record: logging.LogRecord) -> bool:
    """Leave out what DBOS says of each job that failed or was cancelled: the job says it."""
    return not record.getMessage().startswith(("Exception encountered in async", "Workflow job_"))
