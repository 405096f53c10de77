"""Requests for a run, through the database, to the replica of Jobs that runs there.

A run is a workflow of DBOS, whose result is the record of its report. It is no job of a user.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING, Any, cast

from deployments.errors import Unavailable
from deployments.jobs.job_rows import ENDED_STATES, connect
from deployments.jobs.records import with_timeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dbos import DBOSClient, EnqueueOptions

DOCTOR = "doctor"
"""The name of the workflow, and of its queue."""


def options(run_id: str) -> EnqueueOptions:
    """Return how a run is queued; one with this id is queued only once."""
    return {"queue_name": DOCTOR, "workflow_name": DOCTOR, "workflow_id": run_id}


class DoctorRequests:
    """Queues runs of the doctor."""

    def __init__(self, client: DBOSClient) -> None:
        self._client = client

    async def begin(self, *, mend: bool, thorough: bool) -> str:
        """Queue a run and return its id."""
        run_id = f"{DOCTOR}_{uuid.uuid4().hex}"
        fields = {"mend": mend, "thorough": thorough}
        await with_timeout(self._client.enqueue_async(options(run_id), fields))
        return run_id

    async def record(self, run_id: str) -> dict[str, Any] | None:
        """Return the record of a run's report, None until it has ended; raise Unavailable."""
        rows = await with_timeout(
            self._client.list_workflows_async(workflow_ids=[run_id], load_input=False)
        )
        if not rows:
            msg = "the run was deleted meanwhile"
            raise Unavailable(msg)
        if rows[0].status not in ENDED_STATES:
            return None
        if rows[0].status != "SUCCESS":
            msg = f"the run failed: {rows[0].error or rows[0].status}"
            raise Unavailable(msg)
        return cast("dict[str, Any]", rows[0].output)

    async def cancel(self, run_id: str) -> None:
        """Withdraw a run that has not begun."""
        await with_timeout(self._client.cancel_workflow_async(run_id))


@contextlib.asynccontextmanager
async def open_requests(database_url: str) -> AsyncIterator[DoctorRequests]:
    """Connect to the database; raise Unavailable if there have never been jobs."""
    client = await asyncio.to_thread(connect, database_url)
    if client is None:
        msg = "there have never been jobs in this database"
        raise Unavailable(msg)
    try:
        yield DoctorRequests(client)
    finally:
        await asyncio.to_thread(client.destroy)
