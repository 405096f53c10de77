"""Watching jobs: what it costs the database, and that no watcher holds up another."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from deployments.types import JobStatus
from tests.support.job_engine import PICTURES, Images, Parts, ended, running

pytestmark = pytest.mark.anyio
WATCHERS = 50
PERIODS = 4  # a second


@contextlib.contextmanager
def counted_reads() -> Iterator[list[str]]:
    """Collect the queries that read whole jobs by their ids."""
    reads: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if "inputs" in statement and "job_" in str(parameters) and statement.startswith("SELECT"):
            reads.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        yield reads
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)


@contextlib.asynccontextmanager
async def stuck_job(url: str, folder: Path) -> AsyncIterator[tuple[Parts, str]]:
    """Run a job that stands still at its second image; the parts, and its id."""
    images = Images(stuck_at=PICTURES.seed + 1)
    async with running(url, folder, images=images) as parts:
        job_id = (await parts.submissions.images(PICTURES, None)).job.id
        while PICTURES.seed + 1 not in parts.images.begun:
            await asyncio.sleep(0.05)
        yield parts, job_id


async def test_all_watchers_cost_one_query_a_period_and_none_when_they_left(
    job_database: str, tmp_path: Path
) -> None:
    async with stuck_job(job_database, tmp_path) as (parts, job_id):
        began = time.monotonic()
        with counted_reads() as reads:
            watching = [asyncio.create_task(ended(parts, job_id)) for _ in range(WATCHERS)]
            await asyncio.sleep(3)
        polls = (time.monotonic() - began) * PERIODS + 1
        assert 0 < len(reads) <= WATCHERS + polls  # each reads the job once at first
        parts.images.stuck_at = None
        for job in await asyncio.gather(*watching):
            assert (job.status, job.done) == (JobStatus.SUCCEEDED, PICTURES.count)
        for _ in range(10):  # the last poll may be under way, on a busy machine for long
            with counted_reads() as reads:
                await asyncio.sleep(1)
            if not reads:
                break
        assert reads == []


async def test_a_slow_watcher_holds_up_no_other_and_sees_the_end(
    job_database: str, tmp_path: Path
) -> None:
    async with stuck_job(job_database, tmp_path) as (parts, job_id):
        slow = parts.watchers.watch(job_id)
        assert (await anext(slow)).status is JobStatus.RUNNING
        parts.images.stuck_at = None
        assert (await ended(parts, job_id)).status is JobStatus.SUCCEEDED
        assert [job.status async for job in slow][-1] is JobStatus.SUCCEEDED


async def test_a_watcher_that_comes_during_a_query_waits_for_the_next(
    job_database: str, tmp_path: Path
) -> None:
    async with stuck_job(job_database, tmp_path) as (parts, first):
        watching = [asyncio.create_task(ended(parts, first))]
        others = []
        for _ in range(20):  # at all moments of a period
            others.append((await parts.submissions.images(PICTURES, None)).job.id)
            watching.append(asyncio.create_task(ended(parts, others[-1])))
            await asyncio.sleep(0.03)
        for job_id in others:
            await parts.canceller.cancel(job_id)
        parts.images.stuck_at = None
        statuses = [job.status for job in await asyncio.gather(*watching)]
        assert statuses == [JobStatus.SUCCEEDED, *(JobStatus.CANCELLED for _ in others)]
