"""Rows of jobs for erasures, which also works while no replica of Jobs runs."""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa
from dbos import DBOSClient

from deployments.databases import create_engine
from deployments.jobs.records import APPLICATION, KINDS, job_of, with_timeout

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Sequence

    from deployments.types import Job, JobKind

ACTIVE_STATES = ["ENQUEUED", "DELAYED", "PENDING"]
"""The states in DBOS of a job that has not ended."""
ENDED_STATES = ["SUCCESS", "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
"""And of one that has."""

_BATCH = 100
_CONNECTIONS = 2
_SQLITE_TIMEOUT_S = 5.0


class JobRows:
    """The rows of DBOS; those of an owner are chosen by `wanted`."""

    def __init__(self, client: DBOSClient) -> None:
        self._client = client

    async def active(self, owner: str, wanted: Callable[[Job], bool]) -> list[Job]:
        """List the jobs that have not ended."""
        return [job async for batch in self._batches(owner, wanted, ACTIVE_STATES) for job in batch]

    async def batches(
        self, owner: str, wanted: Callable[[Job], bool]
    ) -> AsyncIterator[Sequence[Job]]:
        """Yield the jobs in batches, each of which must be deleted or left before the next."""
        async for batch in self._batches(owner, wanted, None):
            yield batch

    async def unfinished(self, job_ids: Collection[str]) -> set[str]:
        """Return those of the jobs that have not ended."""
        if not job_ids:
            return set()
        rows = self._client.list_workflows_async(
            workflow_ids=sorted(job_ids), status=ACTIVE_STATES, load_input=False, load_output=False
        )
        return {row.workflow_id for row in await with_timeout(rows)}

    async def all_of(self, kind: JobKind, statuses: list[str]) -> AsyncIterator[Job]:
        """Yield the jobs of all owners that have one of these states in DBOS, the oldest first.

        None is missed if others leave the state meanwhile.
        """
        after_ms: int | None = None
        seen: set[str] = set()  # those that were created in that millisecond
        while True:
            limit = _BATCH + len(seen)
            rows = await with_timeout(
                self._client.list_workflows_async(
                    name=kind.value,
                    status=statuses,
                    start_time=None if after_ms is None else _moment(after_ms),
                    limit=limit,
                    load_output=False,
                )
            )
            for row in rows:
                if row.workflow_id in seen:
                    continue
                if row.created_at != after_ms:
                    after_ms, seen = row.created_at, set()
                seen.add(row.workflow_id)
                yield job_of(row)
            if len(rows) < limit:
                return

    async def missing(self, job_ids: Sequence[str]) -> set[str]:
        """Return those of the ids that no job has."""
        if not job_ids:
            return set()
        rows = self._client.list_workflows_async(
            workflow_ids=list(job_ids), load_input=False, load_output=False
        )
        return set(job_ids) - {row.workflow_id for row in await with_timeout(rows)}

    async def delete_ended(self, name: str) -> None:
        """Delete the workflows of this name that have ended."""
        ended = self._client.list_workflows_async(
            name=name,
            status=ENDED_STATES,
            load_input=False,
            load_output=False,
        )
        if ids := [row.workflow_id for row in await with_timeout(ended)]:
            await self.delete(ids)

    async def delete(self, job_ids: Sequence[str]) -> None:
        """Delete jobs with their inputs and the results of their steps."""
        await with_timeout(self._client.delete_workflows_async(list(job_ids)))

    async def _batches(
        self, owner: str, wanted: Callable[[Job], bool], statuses: list[str] | None
    ) -> AsyncIterator[Sequence[Job]]:
        offset = 0
        while True:
            rows = await with_timeout(
                self._client.list_workflows_async(
                    name=KINDS,
                    # Jobs without an owner have no user, which DBOS cannot filter by.
                    user=owner or None,
                    status=statuses,
                    limit=_BATCH,
                    offset=offset,
                    load_output=False,
                )
            )
            offset += len(rows)
            jobs = map(job_of, rows)
            if found := [job for job in jobs if job.spec.owner == owner and wanted(job)]:
                yield found
                # Those that were deleted are not counted by the next offset.
                offset -= len(found) - await self._count([job.id for job in found])
            if len(rows) < _BATCH:
                return

    async def _count(self, job_ids: list[str]) -> int:
        rows = self._client.list_workflows_async(
            workflow_ids=job_ids, load_input=False, load_output=False
        )
        return len(await with_timeout(rows))


def _moment(time_ms: int) -> str:
    """Return a time for DBOS, which rounds it down to a millisecond."""
    return datetime.fromtimestamp((time_ms + 0.5) / 1000, UTC).isoformat()


@contextlib.asynccontextmanager
async def open_rows(database_url: str) -> AsyncIterator[JobRows | None]:
    """Connect to the rows; None if there have never been any."""
    client = await asyncio.to_thread(connect, database_url)
    if client is None:
        yield None
        return
    try:
        yield JobRows(client)
    finally:
        await asyncio.to_thread(client.destroy)


def connect(database_url: str) -> DBOSClient | None:
    """Connect to DBOS in a database; None if it has never been there."""
    engine = create_engine(database_url, connections=1, sqlite_timeout_s=_SQLITE_TIMEOUT_S)
    try:
        schema = "dbos" if engine.dialect.name == "postgresql" else None
        if not sa.inspect(engine).has_table("workflow_status", schema=schema):
            return None
    finally:
        engine.dispose()
    return DBOSClient(
        system_database_url=database_url,
        application_name=APPLICATION,
        system_database_pool_size=_CONNECTIONS,
        retry_connection_errors=False,
    )
