"""Jobs whose files, backends or replicas fail: waited for, tried again, taken up by others."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from dbos import DBOS
from fsspec.implementations.local import LocalFileSystem

from deployments.errors import NOT_STORED_WHOLE, InvalidRequest, Unavailable, Unprocessable
from deployments.file_store import FileStore
from deployments.jobs.engine import _LEASE_CHECK_S, _LEASE_GRACE_S
from deployments.jobs.leases import LEASE_TIMES, LeaseTimes
from deployments.jobs.records import fetch_job
from deployments.jobs.workflows import _STOP_TIMEOUT_S
from deployments.types import Chunk, Document, JobStatus
from tests.support.job_engine import CHUNKS, PICTURES, Parts, ended, running
from tests.support.job_replica import GATED, LONG_LEASE, SHORT_LEASE, logged, replica, until

pytestmark = pytest.mark.anyio


async def test_chunks_are_stored_again_if_the_index_has_changed_meanwhile(
    job_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The embedding model was switched before the document was complete."""
    async with running(job_database, tmp_path) as parts:
        publish, switched = parts.retriever.publish, False

        async def to_another_index(document: Document, chunks: Sequence[Chunk] = ()) -> None:
            nonlocal switched
            if not switched:
                switched = True
                parts.retriever.versions.clear()
                raise InvalidRequest("0 of its chunks are stored", code=NOT_STORED_WHOLE)
            await publish(document, chunks)

        monkeypatch.setattr(parts.retriever, "publish", to_another_index)
        spec = await parts.uploaded(b"some text")
        submitted = await parts.submissions.ingest(spec, None)
        assert (await ended(parts, submitted.job.id)).status is JobStatus.SUCCEEDED
        assert parts.retriever.published["default", "doc_a"].chunks == CHUNKS


async def test_a_file_store_that_is_away_is_waited_for(
    job_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(job_database, tmp_path) as parts:
        away, asked = asyncio.Event(), asyncio.Event()

        def unless_away(method: str) -> None:
            real = getattr(FileStore, method)

            async def perhaps(*args: Any) -> Any:
                if away.is_set():
                    asked.set()
                    raise Unavailable("the file store does not answer")
                return await real(*args)

            monkeypatch.setattr(FileStore, method, perhaps)

        for method in ("check_health", "put", "get", "names", "delete"):
            unless_away(method)
        spec = await parts.uploaded(b"some text")
        away.set()
        uploaded = await parts.submissions.ingest(spec, None)
        drawn = await parts.submissions.images(PICTURES, None)
        await asked.wait()
        await asyncio.sleep(3)  # some tries more than a step has
        away.clear()
        for submitted in (uploaded, drawn):
            assert (await ended(parts, submitted.job.id)).status is JobStatus.SUCCEEDED
        assert await parts.files.names("uploads") == []


async def test_no_job_is_held_up_by_files_that_may_not_be_removed(
    job_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError("AccessDenied")

    monkeypatch.setattr(LocalFileSystem, "rm", denied)
    async with running(job_database, tmp_path) as parts:
        for data, status in ((b"some text", JobStatus.SUCCEEDED), (b"bad", JobStatus.FAILED)):
            spec = await parts.uploaded(data, status)
            submitted = await parts.submissions.ingest(spec, None)
            assert (await ended(parts, submitted.job.id)).status is status
        parts.images.stuck_at = PICTURES.seed + 1
        drawn = (await parts.submissions.images(PICTURES, None)).job.id
        while PICTURES.seed + 1 not in parts.images.begun:
            await asyncio.sleep(0.05)
        assert (await parts.canceller.cancel(drawn)).status is JobStatus.CANCELLED
        # Left to the sweep, which knows that no job needs them.
        assert len(await parts.files.names("uploads")) == 1  # the other one is kept, as content
        assert await parts.files.names(f"images/{drawn}") == ["0.png"]


async def test_a_job_that_may_not_read_its_file_fails_at_once_and_says_so(
    job_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def denied(_: object, path: str, **__: object) -> bytes:
        asked.append(path)
        raise PermissionError("AccessDenied")

    monkeypatch.setattr(LocalFileSystem, "cat_file", denied)
    async with running(job_database, tmp_path) as parts:
        submitted = await parts.submissions.ingest(await parts.uploaded(b"x"), None)
        job = await ended(parts, submitted.job.id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "refused")
    assert "file store" in (job.error_message or "")
    assert len(asked) == 1


async def test_poison_fails_with_its_reason_and_leaves_nothing(
    job_database: str, tmp_path: Path
) -> None:
    async with running(job_database, tmp_path) as parts:
        submitted = await parts.submissions.ingest(await parts.uploaded(b"bad"), None)
        job = await ended(parts, submitted.job.id)
        assert (job.status, job.error_code) == (JobStatus.FAILED, "no_text")
        assert job.error_message == "There is no text in this file."
        assert parts.parser.calls == 1  # it would be as bad another time
        assert parts.retriever.versions == {}
        assert await parts.files.names("uploads") == []
        # The next try is a job of its own.
        better = await parts.submissions.ingest(await parts.uploaded(b"good"), None)
        assert better.created
        assert (await ended(parts, better.job.id)).status is JobStatus.SUCCEEDED


async def test_what_breaks_its_backend_is_tried_three_times(
    job_database: str, tmp_path: Path
) -> None:
    async with running(job_database, tmp_path) as parts:
        parts.parser.error = Unavailable("the document parser stopped")
        submitted = await parts.submissions.ingest(await parts.uploaded(b"x"), None)
        job = await ended(parts, submitted.job.id)
        assert (job.status, job.error_message) == (JobStatus.FAILED, "the document parser stopped")
        assert parts.parser.calls == 3


async def test_a_batch_begins_while_the_one_before_is_stored_and_is_stored_once(
    job_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added: list[int] = []  # first chunks of batches that were stored
    second, go_on = asyncio.Event(), asyncio.Event()

    def gated(parts: Parts) -> None:
        add = parts.retriever.add

        async def at_gate(document: Document, chunks: Sequence[Chunk]) -> None:
            number = chunks[0].number
            if number == 0:
                await second.wait()
            elif number == 4:
                second.set()
            else:
                await go_on.wait()
            await add(document, chunks)
            added.append(number)

        monkeypatch.setattr(parts.retriever, "add", at_gate)

    async with running(job_database, tmp_path) as parts:
        gated(parts)
        job_id = (await parts.submissions.ingest(await parts.uploaded(b"text"), None)).job.id
        async with asyncio.timeout(30):
            # The parse step, and two batches.
            while len(await DBOS.list_workflow_steps_async(job_id)) < 3:
                await asyncio.sleep(0.05)
        assert (await fetch_job(job_id)).done == 8
        kept = parts.retriever.versions
    async with running(job_database, tmp_path) as parts:
        parts.retriever.versions = kept
        gated(parts)
        go_on.set()
        job = await ended(parts, job_id)
        assert (job.status, job.done) == (JobStatus.SUCCEEDED, CHUNKS)
        assert sorted(added) == [0, 4, 8]


async def test_a_batch_that_fails_stops_the_one_beside_it(
    job_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(job_database, tmp_path) as parts:
        add, second = parts.retriever.add, asyncio.Event()

        async def fail(document: Document, chunks: Sequence[Chunk]) -> None:
            if chunks[0].number:
                second.set()
                await asyncio.Event().wait()
            await second.wait()
            message = "it does not fit"
            raise Unprocessable(message)

        with monkeypatch.context() as broken:
            broken.setattr(parts.retriever, "add", fail)
            submitted = await parts.submissions.ingest(await parts.uploaded(b"text"), None)
            job = await ended(parts, submitted.job.id)
        assert (job.status, job.error_message) == (JobStatus.FAILED, "it does not fit")
        assert parts.retriever.versions == {}
        monkeypatch.setattr(parts.retriever, "add", add)
        better = await parts.submissions.ingest(await parts.uploaded(b"text"), None)
        assert (await ended(parts, better.job.id)).status is JobStatus.SUCCEEDED


def at_gate(folder: Path) -> bool:
    return logged(folder, "begun")[GATED] > 0


async def test_the_work_of_a_killed_replica_goes_on_in_its_successor(
    job_database: str, tmp_path: Path
) -> None:
    with replica(job_database, tmp_path, jobs=1, times=SHORT_LEASE) as killed:
        (job_id,) = await asyncio.to_thread(killed.jobs)
        await until(lambda: at_gate(tmp_path))
    async with running(job_database, tmp_path) as parts:
        job = await ended(parts, job_id)
        assert (job.status, job.done) == (JobStatus.SUCCEEDED, 3)
        assert parts.images.begun == [8, 9]  # 7 was kept
        assert await parts.files.names(f"images/{job_id}") == ["0.png", "1.png", "2.png"]


@pytest.mark.parametrize(
    ("stop", "times"), [(signal.SIGTERM, LONG_LEASE), (signal.SIGKILL, SHORT_LEASE)]
)
async def test_a_replica_that_lives_on_takes_over_from_one_that_does_not(
    postgres_database: str, tmp_path: Path, stop: signal.Signals, times: LeaseTimes
) -> None:
    """As after a rolling update; one that was not killed releases its lease."""
    with replica(postgres_database, tmp_path, jobs=1, times=times) as old:
        (job_id,) = await asyncio.to_thread(old.jobs)
        await until(lambda: at_gate(tmp_path))
        async with running(postgres_database, tmp_path) as parts:
            await asyncio.sleep(3)  # some turns of looking for jobs to take over
            assert parts.images.begun == []  # the other one is still there
            await asyncio.to_thread(old.end, stop)
            job = await ended(parts, job_id)
            assert (job.status, job.done) == (JobStatus.SUCCEEDED, 3)
            assert parts.images.begun == [8, 9]


async def test_a_heartbeat_that_is_late_does_not_end_the_lease(
    job_database: str, tmp_path: Path
) -> None:
    """As after the machine has slept: nobody has taken over."""
    times = LeaseTimes(heartbeat_s=60, deadline_s=1, expiry_s=60)
    async with running(job_database, tmp_path, lease_times=times) as parts:
        await asyncio.sleep(3)
        parts.engine.check_health()
        job_id = (await parts.submissions.images(PICTURES, None)).job.id
        assert (await ended(parts, job_id)).status is JobStatus.SUCCEEDED


def test_work_stops_before_another_replica_may_take_it_over() -> None:
    stopped_s = _LEASE_CHECK_S + _LEASE_GRACE_S + _STOP_TIMEOUT_S
    assert LEASE_TIMES.deadline_s + stopped_s < LEASE_TIMES.expiry_s


async def test_a_job_cancelled_when_it_was_just_published_leaves_nothing_visible(
    job_database: str, tmp_path: Path
) -> None:
    """Its replica died between publishing and recording that it had."""
    async with running(job_database, tmp_path) as parts:
        parts.retriever.loses_replies = True
        submitted = await parts.submissions.ingest(await parts.uploaded(b"x"), None)
        job = await ended(parts, submitted.job.id)
        assert job.status is JobStatus.FAILED
        assert (parts.retriever.versions, parts.retriever.published) == ({}, {})


async def test_a_clean_up_waits_for_what_is_away(job_database: str, tmp_path: Path) -> None:
    async with running(job_database, tmp_path, backend_wait_s=1) as parts:
        parts.retriever.away = True
        submitted = await parts.submissions.ingest(await parts.uploaded(b"x"), None)
        await until(lambda: parts.retriever.deletions > 0)  # by the clean-up
        assert (await fetch_job(submitted.job.id)).status is JobStatus.RUNNING
        parts.retriever.away = False
        job = await ended(parts, submitted.job.id)
        assert (job.status, job.error_code) == (JobStatus.FAILED, "unavailable")
        assert await parts.files.names("uploads") == []
