"""Runs of the doctor in Jobs: those that are due, and those that were asked for.

Each is a workflow of DBOS: one replica runs it, another one begins it again if that dies, and the
record of its report is kept as long as that of a job.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from contextvars import Context
from typing import TYPE_CHECKING, Any

from dbos import DBOS
from loguru import logger

from deployments.jobs.claims import start_jobs
from deployments.jobs.doctor.requests import DOCTOR, options
from deployments.jobs.records import with_timeout
from deployments.jobs.workflows import VERSION
from deployments.observability.metrics import DAMAGE, DOCTOR_RAN, DOCTOR_TOOK
from deployments.types import DamageKind

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from deployments.jobs.doctor.doctor import Doctor
    from deployments.jobs.leases import Lease

_FIRST_S = 600.0  # after the start: what was interrupted has been continued by then
_HOUR_S = 3600.0


class DoctorRuns:
    """Runs the doctor, one run at a time, and publishes what the last one has found.

    Registers with DBOS, which must not be launched yet. Every `every_hours`, one of all replicas
    runs it without mending; never if that is 0.
    """

    def __init__(
        self,
        lease: Lease,
        doctor: Doctor,
        every_hours: float,
        with_request_id: Callable[[str], AbstractContextManager[object]] = contextlib.nullcontext,
    ) -> None:
        self._lease = lease
        self._doctor = doctor
        self._every_s = every_hours * _HOUR_S
        self._with_request_id = with_request_id
        self._began = time.monotonic()
        self._scheduled = ""
        self._last: tuple[str, dict[str, Any]] | None = None  # id and record
        self._task: asyncio.Task[dict[str, Any]] | None = None
        self.running: set[str] = set()
        """The id of the run under way."""
        DBOS.workflow(name=DOCTOR, max_recovery_attempts=None)(self._workflow())

    async def run_due(self) -> None:
        """Queue the periodic run if it is due, and begin the oldest one that is queued."""
        if not self._lease.valid or self.running:
            return
        if self._every_s and time.monotonic() - self._began > _FIRST_S:
            await self._schedule()
        rows = await DBOS.list_workflows_async(
            name=DOCTOR, status="ENQUEUED", limit=1, load_input=False, load_output=False
        )
        for row in rows:
            executor = self._lease.executor_id
            await asyncio.to_thread(start_jobs, [row.workflow_id], executor, VERSION)

    async def publish(self) -> None:
        """Set the gauges to what the last run has found."""
        rows = await DBOS.list_workflows_async(
            name=DOCTOR, status="SUCCESS", sort_desc=True, limit=1, load_input=False
        )
        if rows and (self._last is None or self._last[0] != rows[0].workflow_id):
            self._last = rows[0].workflow_id, rows[0].output or {}
        record = self._last[1] if self._last else {}
        left = {one["kind"]: one["found"] - one["mended"] for one in record.get("kinds", ())}
        for kind in DamageKind:
            DAMAGE.set(left.get(kind, 0), kind=kind)
        DOCTOR_RAN.set(record.get("began_at", 0))
        DOCTOR_TOOK.set(record.get("took_s", 0))

    async def stop(self) -> None:
        """Interrupt the run under way; another replica begins it again."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _schedule(self) -> None:
        """Queue the run of this period, which every replica does, and which is one run."""
        run_id = f"{DOCTOR}_{self._every_s:.0f}_{time.time() // self._every_s:.0f}"
        if run_id != self._scheduled:
            fields = {"mend": False, "thorough": False}
            await with_timeout(DBOS.enqueue_workflow_with_options_async(options(run_id), fields))
            self._scheduled = run_id

    def _workflow(self) -> Callable[[dict[str, Any]], Any]:
        async def doctor(fields: dict[str, Any]) -> dict[str, Any]:
            run_id = DBOS.workflow_id
            assert run_id is not None  # noqa: S101 - inside a workflow
            # In a context of its own: for DBOS, the jobs that it submits are no part of this.
            self._task = asyncio.create_task(self._run(run_id, fields), context=Context())
            self.running = {run_id}
            try:
                return await self._task
            finally:
                self.running, self._task = set(), None

        return doctor

    async def _run(self, run_id: str, fields: dict[str, Any]) -> dict[str, Any]:
        with self._with_request_id(run_id):
            logger.info("doctor: run {} begins", run_id)
            report = await self._doctor.run(
                mend=bool(fields.get("mend")), thorough=bool(fields.get("thorough"))
            )
            logger.info(
                "doctor: run {} ended after {:.0f} s: {} found, {} not mended",
                run_id,
                report.took_s,
                report.found.total(),
                report.left,
            )
        return report.record()
