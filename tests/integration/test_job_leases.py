"""Executor leases in SQLite and PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
import sqlalchemy as sa

from deployments.jobs.leases import Lease, LeaseTimes

pytestmark = pytest.mark.anyio
RENEWED = LeaseTimes(heartbeat_s=0.1, deadline_s=20, expiry_s=40)
NOT_RENEWED = LeaseTimes(heartbeat_s=60, deadline_s=2, expiry_s=40)


@contextlib.contextmanager
def acquired(url: str, times: LeaseTimes = RENEWED) -> Iterator[Lease]:
    lease = Lease(url, times)
    lease.acquire()
    try:
        yield lease
    finally:
        lease.release()


def let_expire(lease: Lease) -> None:
    """Set the expiry of the row into the past, and wait for the deadline of its holder."""
    table = sa.table("genserve_executor_leases", sa.column("fence"), sa.column("expires_at"))
    with lease._engine.begin() as connection:
        row = table.c.fence == lease._fence
        connection.execute(table.update().where(row).values(expires_at=1.0))
    time.sleep(NOT_RENEWED.deadline_s + 0.1)


def test_replicas_that_start_at_once_on_an_empty_database_are_different(job_database: str) -> None:
    leases = [Lease(job_database, RENEWED) for _ in range(6)]
    with ThreadPoolExecutor(len(leases)) as threads:
        list(threads.map(Lease.acquire, leases))
    assert len({lease.executor_id for lease in leases}) == len(leases)
    assert leases[0].live_executors() == {lease.executor_id for lease in leases}
    for lease in leases:
        lease.release()


def test_a_released_lease_is_gone_and_its_number_is_not_used_again(job_database: str) -> None:
    with acquired(job_database) as first:
        pass
    with acquired(job_database) as second:
        assert second.executor_id != first.executor_id
        assert second.live_executors() == {second.executor_id}
    assert not first.valid


def test_a_lease_that_another_replica_saw_expire_is_lost(job_database: str) -> None:
    with acquired(job_database, NOT_RENEWED) as stale, acquired(job_database) as live:
        assert stale.executor_id in live.live_executors()
        let_expire(stale)
        assert not stale.valid
        assert not stale.lost  # until somebody has noticed
        assert live.live_executors() == {live.executor_id}
        stale.renew()
        assert stale.lost
        assert not stale.valid


def test_a_replica_of_version_0_1_counts_as_live_while_it_holds_its_lock(postgres: str) -> None:
    with acquired(postgres) as lease:
        with psycopg.connect(postgres, autocommit=True) as old:
            old.execute("SELECT pg_advisory_lock(%s, %s)", (0x6A6F6273, 3))
            assert lease.live_executors() == {lease.executor_id, "jobs-3"}
            old.execute("SELECT pg_advisory_unlock_all()")
        assert lease.live_executors() == {lease.executor_id}


def test_version_0_1_cannot_take_over_the_jobs_of_a_lease(job_database: str) -> None:
    """It takes over those of every `jobs-NUMBER` whose advisory lock is free, thus of all."""
    with acquired(job_database) as lease, pytest.raises(ValueError, match="invalid literal"):
        int(lease.executor_id.removeprefix("jobs-"))


def test_a_number_that_a_failover_gives_again_makes_another_executor(job_database: str) -> None:
    with acquired(job_database) as first:
        with first._engine.begin() as connection:  # as if the newest rows had been lost
            connection.execute(sa.text("DROP TABLE genserve_executor_leases"))
        with acquired(job_database) as second:
            assert second._fence == first._fence
            assert second.live_executors() == {second.executor_id}
            assert first.executor_id != second.executor_id


def test_a_late_renewal_keeps_a_lease_that_nobody_saw_expire(job_database: str) -> None:
    with acquired(job_database, NOT_RENEWED) as late, acquired(job_database) as other:
        let_expire(late)
        assert not late.valid
        late.renew()
        assert late.valid
        assert late.executor_id in other.live_executors()


def test_a_dead_lease_does_not_outlive_a_clock_that_was_set_back(job_database: str) -> None:
    with acquired(job_database, NOT_RENEWED) as dead, acquired(job_database) as live:
        with live._engine.begin() as connection:
            connection.execute(
                sa.text("UPDATE genserve_executor_leases SET expires_at = expires_at + 86400")
            )
        live.renew()
        assert live.live_executors() == {live.executor_id}
        dead.renew()
        assert dead.lost


async def test_a_lease_is_renewed_though_the_event_loop_is_blocked(job_database: str) -> None:
    times = LeaseTimes(heartbeat_s=0.1, deadline_s=1, expiry_s=2)
    with acquired(job_database, times) as lease:
        began = lease._valid_until
        until = time.monotonic() + 30
        while lease._valid_until == began and time.monotonic() < until:
            time.sleep(0.1)  # noqa: ASYNC251 - it is the point
        assert lease._valid_until > began
        async with asyncio.timeout(10):
            await lease.wait_until_valid()
        assert not lease.lost
