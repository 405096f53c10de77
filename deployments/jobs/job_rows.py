"""Rows of jobs for an erasure, which also works while no replica of Jobs runs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import sqlalchemy as sa
from dbos import DBOSClient

from deployments.databases import create_engine
from deployments.jobs.records import APPLICATION, KINDS, job_of, with_timeout
from deployments.types import IngestSpec, JobKind

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from deployments.catalogue.entries import ErasureEntry
    from deployments.types import Job

_BATCH = 100
_ACTIVE = ["ENQUEUED", "DELAYED", "PENDING"]
_CONNECTIONS = 2
_SQLITE_TIMEOUT_S = 5.0


class JobRows:
    """The rows of DBOS that belong to an erasure."""

    def __init__(self, client: DBOSClient, erasure: ErasureEntry) -> None:
        self._client = client
        self._erasure = erasure
        self._kinds = KINDS if erasure.document_id is None else [JobKind.INGEST.value]

    async def active(self) -> list[Job]:
        """List the jobs that have not ended."""
        return [job async for batch in self._batches(_ACTIVE) for job in batch]

    async def batches(self) -> AsyncIterator[list[Job]]:
        """Yield the jobs in batches, each of which must be deleted or left before the next."""
        async for batch in self._batches(None):
            yield batch

    async def delete(self, job_ids: Sequence[str]) -> None:
        """Delete jobs with their inputs and the results of their steps."""
        await with_timeout(self._client.delete_workflows_async(list(job_ids)))

    async def _batches(self, statuses: list[str] | None) -> AsyncIterator[list[Job]]:
        offset = 0
        while True:
            rows = await with_timeout(
                self._client.list_workflows_async(
                    name=self._kinds,
                    # Jobs without an owner have no user, which DBOS cannot filter by.
                    user=self._erasure.owner or None,
                    status=statuses,
                    limit=_BATCH,
                    offset=offset,
                    load_output=False,
                )
            )
            if found := [job for job in map(job_of, rows) if self._includes(job)]:
                yield found
                # Those that were deleted are not counted by the next offset.
                left = await self._existing([job.id for job in found])
                offset -= len(found) - left
            offset += len(rows)
            if len(rows) < _BATCH:
                return

    async def _existing(self, job_ids: list[str]) -> int:
        rows = self._client.list_workflows_async(
            workflow_ids=job_ids, load_input=False, load_output=False
        )
        return len(await with_timeout(rows))

    def _includes(self, job: Job) -> bool:
        erasure, spec = self._erasure, job.spec
        if spec.owner != erasure.owner:
            return False
        if erasure.document_id is None:
            return True
        document = erasure.collection, erasure.document_id
        return isinstance(spec, IngestSpec) and (spec.collection, spec.document_id) == document


@contextlib.contextmanager
def open_rows(database_url: str, erasure: ErasureEntry) -> Iterator[JobRows | None]:
    """Connect to the rows of an erasure; None if there have never been jobs."""
    if not _has_jobs(database_url):
        yield None
        return
    client = DBOSClient(
        system_database_url=database_url,
        application_name=APPLICATION,
        system_database_pool_size=_CONNECTIONS,
        retry_connection_errors=False,
    )
    try:
        yield JobRows(client, erasure)
    finally:
        client.destroy()


def _has_jobs(database_url: str) -> bool:
    engine = create_engine(database_url, connections=1, sqlite_timeout_s=_SQLITE_TIMEOUT_S)
    try:
        schema = "dbos" if engine.dialect.name == "postgresql" else None
        return sa.inspect(engine).has_table("workflow_status", schema=schema)
    finally:
        engine.dispose()
