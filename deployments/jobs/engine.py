"""DBOS, started and stopped: its database, its queues, and who takes up whose work."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from dbos import DBOS
from loguru import logger

from deployments.jobs.workflows import VERSION
from deployments.types import JobKind

if TYPE_CHECKING:
    from deployments.file_store import FileStore
    from deployments.settings import JobsSettings

_QUEUE_POLL_S = 0.5
_THREADS = 16
_STOP_TIMEOUT_S = 5
_SWEEP_PERIOD_S = 3600.0
_SWEEP_BATCH = 100
_LOST_UPLOAD_S = 3600.0


class Engine:
    """One a process, as DBOS is. Workflows must be registered before it is started.

    Args:
        database_url: SQLite or PostgreSQL.
        rank: which of `replicas` this is. DBOS recovers by executor: the replica that takes
            the place of another has its rank, and takes its work up again.
    """

    def __init__(self, database_url: str, settings: JobsSettings, rank: int, replicas: int) -> None:
        self._settings = settings
        self._rank = rank
        self._replicas = replicas
        self._sweeper: asyncio.Task[None] | None = None
        logging.getLogger("dbos").addFilter(_unexpected)
        DBOS(
            config={
                "name": "genserve-jobs",
                "system_database_url": database_url,
                "executor_id": _executor(rank),
                "application_version": VERSION,
                "max_executor_threads": _THREADS,
                "log_level": "WARNING",
            }
        )

    async def start(self, files: FileStore) -> None:
        """Open the queues; work that was interrupted goes on."""
        DBOS.launch()  # on this loop, so that steps run where the handles of Serve live
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
        if self._rank == 0:
            await asyncio.to_thread(self._adopt)
            self._sweeper = asyncio.create_task(self._sweep_now_and_then(files))

    def _adopt(self) -> None:
        """Take up the work of ranks there no longer are, since the replicas became fewer."""
        rows = DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)
        own = {_executor(rank) for rank in range(self._replicas)}
        orphaned = sorted({row.executor_id for row in rows if row.executor_id} - own)
        if orphaned:
            DBOS._recover_pending_workflows(orphaned)  # noqa: SLF001 - its only way to do so

    async def _sweep_now_and_then(self, files: FileStore) -> None:
        while True:
            try:
                await self._sweep(files)
            except Exception as error:  # noqa: BLE001 - tried again at the next turn
                logger.opt(exception=error).warning("old jobs could not be removed")
            await asyncio.sleep(_SWEEP_PERIOD_S)

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
        waiting = await DBOS.list_workflows_async(
            status=["ENQUEUED", "PENDING"], name=JobKind.INGEST.value, load_output=False
        )
        needed = [row.input["args"][0]["upload_path"] for row in waiting if row.input]
        await files.delete_older("uploads", _LOST_UPLOAD_S, needed)

    async def close(self) -> None:
        """Stop; what is at work is taken up again by the next replica of this rank."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
        await asyncio.to_thread(DBOS.destroy, destroy_registry=True)


def _unexpected(record: logging.LogRecord) -> bool:
    """Leave out what DBOS says of each job that failed or was cancelled: the job says it."""
    return not record.getMessage().startswith(("Exception encountered in async", "Workflow job_"))


def _executor(rank: int) -> str:
    return f"jobs-{rank}"
