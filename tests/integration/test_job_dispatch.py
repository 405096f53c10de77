"""Whose job starts next, on a real DBOS: no key and no long file holds up what is short."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployments.jobs import dispatcher, workflows
from deployments.jobs.queries import list_jobs
from deployments.jobs.records import spec_of
from deployments.types import JobKind, JobQuery, JobStatus
from tests.support.job_engine import PICTURES, Parts, ended, running
from tests.support.job_replica import SEEDS_OF_A_JOB, LoggedImages, logged, replica, until

pytestmark = pytest.mark.anyio

FILES = 40  # 250 in the bench


async def queued(parts: Parts, owner: str, data: bytes, count: int) -> list[str]:
    """Queue several uploads of an owner; return the ids of their jobs."""

    async def one(number: int) -> str:
        spec = await parts.uploaded(data, f"{owner}{number}", owner)
        return (await parts.submissions.ingest(spec, None)).job.id

    return await asyncio.gather(*map(one, range(count)))


async def test_a_short_text_is_not_held_up_by_hostile_files_of_another_key(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    async with running(url, tmp_path, short_places=8, ingest_concurrency=2) as parts:
        hostile = await queued(parts, "mallory", b"slow 60", FILES)
        await until(lambda: len(parts.parser.begun) > 10)
        before = len(parts.parser.begun)
        (text,) = await queued(parts, "alice", b"thirty bytes of text, no more.", 1)
        assert (await ended(parts, text)).status is JobStatus.SUCCEEDED
        # Only what had a place already went first: eight short files, and two long ones.
        assert parts.parser.begun.index(("alice", True)) <= before + 10
        # A job that turned out to be long waits again, says so, and can be cancelled at once.
        assert ("mallory", False) in parts.parser.begun
        for job_id in hostile[-2:]:
            assert (await parts.canceller.cancel(job_id)).status is JobStatus.CANCELLED
        running_jobs = await list_jobs(JobQuery(None, JobStatus.RUNNING, 100, None, "mallory"))
        assert running_jobs.jobs


async def test_short_files_overtake_long_ones_of_their_own_key(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    async with running(url, tmp_path, short_places=4, ingest_concurrency=2) as parts:
        long = await queued(parts, "alice", b"slow 600", 3)
        await until(lambda: ("alice", False) in parts.parser.begun)
        spec = [await parts.uploaded(b"one page", f"page{n}", "alice") for n in range(12)]
        pages = [(await parts.submissions.ingest(one, None)).job.id for one in spec]
        for job_id in pages:
            assert (await ended(parts, job_id)).status is JobStatus.SUCCEEDED
        assert Counter(parts.parser.begun)["alice", False] == 1  # of which none has ended
        for job_id in long:
            assert (await parts.canceller.cancel(job_id)).status is JobStatus.CANCELLED


async def test_files_that_fail_cost_their_owner_what_they_took(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    async with running(url, tmp_path, ingest_concurrency=1) as parts:
        hostile = await queued(parts, "mallory", b"burn 60", 10)
        await until(lambda: len(parts.parser.begun) > 1)
        before = len(parts.parser.begun)
        for job_id in await queued(parts, "alice", b"text", 5):
            assert (await ended(parts, job_id)).status is JobStatus.SUCCEEDED
        # Only what ran already, and one file of a cost not yet known, went first.
        first = parts.parser.begun[before : before + 7]
        assert Counter(owner for owner, _ in first)["alice"] == 5
        for job_id in hostile:
            await ended(parts, job_id)


async def test_a_restart_keeps_what_waits(job_database: str, tmp_path: Path) -> None:
    async with running(job_database, tmp_path) as parts:
        parts.retriever.open.clear()
        ids = await queued(parts, "alice", b"text", 4) + await queued(parts, "bob", b"text", 2)
        await parts.retriever.reached.wait()
    async with running(job_database, tmp_path) as parts:
        for job_id in ids:
            assert (await ended(parts, job_id)).status is JobStatus.SUCCEEDED
        assert len(parts.retriever.published) == len(ids)
        # The two of the second key did not wait for all four of the first.
        order = [owner for owner, _ in parts.parser.begun]
        assert order.index("bob") < 3


async def test_a_job_starts_as_soon_as_a_place_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatcher, "_POLL_S", 3600.0)  # no job starts because the queue was read
    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    async with running(url, tmp_path, ingest_concurrency=1) as parts:
        for job_id in await queued(parts, "", b"text", 10):
            assert (await ended(parts, job_id)).status is JobStatus.SUCCEEDED


async def test_a_job_whose_record_cannot_be_read_frees_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(kind: str, fields: dict[str, Any]) -> Any:
        if fields.get("owner") == "newer":
            raise TypeError
        return spec_of(kind, fields)

    monkeypatch.setattr(workflows, "spec_of", read)
    url = f"sqlite:///{tmp_path}/jobs.sqlite"
    async with running(url, tmp_path, ingest_concurrency=1) as parts:
        await queued(parts, "newer", b"text", 2)
        (text,) = await queued(parts, "alice", b"text", 1)
        async with asyncio.timeout(30):
            assert (await ended(parts, text)).status is JobStatus.SUCCEEDED


async def test_two_replicas_share_a_queue_and_run_nothing_twice(
    tmp_path: Path, postgres_database: str
) -> None:
    (tmp_path / "gate").touch()
    images = LoggedImages(tmp_path)
    with replica(postgres_database, tmp_path) as other:
        assert await asyncio.to_thread(other.jobs) == []
        async with running(postgres_database, tmp_path, images=images) as parts:
            specs = [
                replace(PICTURES, seed=SEEDS_OF_A_JOB * number, owner="alice" if number % 2 else "")
                for number in range(24)
            ]
            jobs = [(await parts.submissions.images(spec, None)).job.id for spec in specs]
            for job_id in jobs:
                assert (await ended(parts, job_id)).status is JobStatus.SUCCEEDED
            rows = await list_jobs(JobQuery(JobKind.IMAGES, None, 100, None, "alice"))
            assert len(rows.jobs) == 12
    made = logged(tmp_path, "made")
    assert set(made.values()) == {1}
    assert len(made) == len(specs) * PICTURES.count
