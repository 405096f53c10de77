"""Several Jobs replicas on one PostgreSQL that restarts, and replicas that die or lose it."""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from deployments.errors import Unavailable
from deployments.jobs.records import fetch_job
from deployments.types import JobStatus
from tests.support.job_engine import PICTURES, Images, ended, running
from tests.support.job_replica import (
    GATED,
    SEEDS_OF_A_JOB,
    SHORT_LEASE,
    LoggedImages,
    logged,
    replica,
    until,
)
from tests.support.postgres import postgres_server

pytestmark = pytest.mark.anyio
JOBS = 4
WITHIN_S = 60


async def test_every_job_ends_once_though_its_database_restarts_and_its_replica_dies(
    tmp_path: Path,
) -> None:
    def at_gate() -> Counter[int]:
        begun = logged(tmp_path, "begun")
        return Counter({seed: begun[seed] for seed in begun if seed % SEEDS_OF_A_JOB == GATED})

    with (
        postgres_server() as postgres,
        replica(postgres.url, tmp_path) as first,
    ):
        assert await asyncio.to_thread(first.jobs) == []
        with replica(postgres.url, tmp_path, JOBS) as second:
            jobs = await asyncio.to_thread(second.jobs)
            # Each replica is at work on two jobs.
            await until(lambda: len(at_gate()) == JOBS)
            began = time.monotonic()
            await asyncio.to_thread(postgres.stop)
            await asyncio.to_thread(postgres.start)
            second.end()
        images = LoggedImages(tmp_path)
        async with running(postgres.url, tmp_path, images=images, images_concurrency=4) as parts:
            # The jobs of the killed replica are taken over, and are at the gate again.
            await until(lambda: at_gate().total() >= JOBS + 2)
            await asyncio.sleep(3)  # for jobs that are taken over though their replica lives
            (tmp_path / "gate").touch()
            for job_id in jobs:
                assert (await ended(parts, job_id)).status is JobStatus.SUCCEEDED
        assert time.monotonic() - began < WITHIN_S
    begun, made = logged(tmp_path, "begun"), logged(tmp_path, "made")
    assert set(made.values()) == {1}
    assert len(made) == JOBS * PICTURES.count
    assert begun.total() == made.total() + 2  # those at the gate as their replica was killed


async def test_a_replica_that_cannot_renew_its_lease_stops_and_is_unhealthy(
    tmp_path: Path,
) -> None:
    with postgres_server() as postgres:
        images = Images(stuck_at=GATED)
        async with running(postgres.url, tmp_path, images=images, lease_times=SHORT_LEASE) as parts:
            job_id = (await parts.submissions.images(PICTURES, None)).job.id
            await until(lambda: GATED in images.begun)
            parts.engine.check_health()
            await asyncio.to_thread(postgres.stop)
            await until(lambda: GATED in images.stopped)
            with pytest.raises(Unavailable, match="lease"):
                parts.engine.check_health()
            await asyncio.to_thread(postgres.start)
            images.stuck_at = None
            with pytest.raises(Unavailable):
                await fetch_job(job_id)
        assert images.begun == [PICTURES.seed, GATED]  # and nothing after
        async with running(postgres.url, tmp_path, lease_times=SHORT_LEASE) as parts:
            assert (await ended(parts, job_id)).status is JobStatus.SUCCEEDED
            assert parts.images.begun == [GATED, GATED + 1]


async def test_a_replica_that_stood_still_begins_nothing_of_what_was_taken_over(
    tmp_path: Path,
) -> None:
    with (
        postgres_server() as postgres,
        replica(postgres.url, tmp_path, jobs=1, times=SHORT_LEASE) as stale,
    ):
        (job_id,) = await asyncio.to_thread(stale.jobs)
        await until(lambda: logged(tmp_path, "begun")[GATED] == 1)
        stale.process.send_signal(signal.SIGSTOP)
        images = LoggedImages(tmp_path)
        async with running(postgres.url, tmp_path, images=images, lease_times=SHORT_LEASE) as parts:
            await until(lambda: logged(tmp_path, "begun")[GATED] == 2)
            (tmp_path / "gate").touch()
            assert (await ended(parts, job_id)).status is JobStatus.SUCCEEDED
            stale.process.send_signal(signal.SIGCONT)
            await asyncio.sleep(3)
            assert (await fetch_job(job_id)).status is JobStatus.SUCCEEDED
    assert logged(tmp_path, "begun") == {PICTURES.seed: 1, GATED: 2, GATED + 1: 1}
