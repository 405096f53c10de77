"""Jobs on a real DBOS, with SQLite and with PostgreSQL; the work is done by stand-ins."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
from dbos import DBOS
from fsspec.implementations.local import LocalFileSystem

from deployments.errors import Conflict, NotFound, Overloaded, Unavailable
from deployments.file_store import FileStore
from deployments.jobs.cancelling import Cancellations
from deployments.metrics import JOBS_ENDED
from deployments.types import ImagesSpec, Job, JobKind, JobQuery, JobStatus, Submitted, image_path
from tests.integration.job_parts import CHUNKS, PICTURES, Images, Parts, running
from tests.integration.postgres import serve_postgres

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    with serve_postgres() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/jobs.sqlite"
    server: str = request.getfixturevalue("postgres")
    name = f"test_{os.urandom(6).hex()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return server.rsplit("/", 1)[0] + f"/{name}"


async def ended(parts: Parts, job_id: str) -> Job:
    async with asyncio.timeout(30):
        jobs = [job async for job in parts.board.watch(job_id)]
    done = [job.done for job in jobs]
    assert done == sorted(done)
    return jobs[-1]


async def test_an_upload_becomes_one_document(url: str, tmp_path: Path) -> None:
    async with running(url, tmp_path) as parts:
        spec = await parts.uploaded(b"some text")
        first = await parts.submissions.ingest(spec, None)
        again = await parts.submissions.ingest(spec, None)
        assert (first.created, again.created) == (True, False)
        assert again.job.id == first.job.id
        job = await ended(parts, first.job.id)
        assert (job.status, job.done, job.total) == (JobStatus.SUCCEEDED, CHUNKS, CHUNKS)
        assert parts.retriever.published["doc_a"].chunks == CHUNKS
        # Nothing of it lies about, and the same file is still the same job.
        assert await parts.files.names("uploads") == []
        assert await parts.files.names(f"chunks/{job.id}") == []
        later = await parts.submissions.ingest(await parts.uploaded(b"some text"), None)
        assert (later.created, later.job.id) == (False, first.job.id)


async def test_a_file_store_that_is_away_is_waited_for(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(url, tmp_path) as parts:
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
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError("AccessDenied")

    monkeypatch.setattr(LocalFileSystem, "rm", denied)
    async with running(url, tmp_path) as parts:
        for data, status in ((b"some text", JobStatus.SUCCEEDED), (b"bad", JobStatus.FAILED)):
            spec = await parts.uploaded(data, status)
            submitted = await parts.submissions.ingest(spec, None)
            assert (await ended(parts, submitted.job.id)).status is status
        parts.images.stuck_at = PICTURES.seed + 1
        drawn = (await parts.submissions.images(PICTURES, None)).job.id
        while PICTURES.seed + 1 not in parts.images.begun:
            await asyncio.sleep(0.05)
        assert (await parts.board.cancel(drawn)).status is JobStatus.CANCELLED
        # Left to the sweep, which knows that no job needs them.
        assert len(await parts.files.names("uploads")) == 2
        assert await parts.files.names(f"images/{drawn}") == ["0.png"]


async def test_a_job_that_may_not_read_its_file_fails_at_once_and_says_so(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def denied(_: object, path: str, **__: object) -> bytes:
        asked.append(path)
        raise PermissionError("AccessDenied")

    monkeypatch.setattr(LocalFileSystem, "cat_file", denied)
    async with running(url, tmp_path) as parts:
        submitted = await parts.submissions.ingest(await parts.uploaded(b"x"), None)
        job = await ended(parts, submitted.job.id)
    assert (job.status, job.error_code) == (JobStatus.FAILED, "refused")
    assert "file store" in (job.error_message or "")
    assert len(asked) == 1


async def test_poison_fails_with_its_reason_and_leaves_nothing(url: str, tmp_path: Path) -> None:
    async with running(url, tmp_path) as parts:
        submitted = await parts.submissions.ingest(await parts.uploaded(b"bad"), None)
        job = await ended(parts, submitted.job.id)
        assert (job.status, job.error_code) == (JobStatus.FAILED, "no_text")
        assert job.error_message == "There is no text in this file."
        assert parts.parser.calls == 1  # it would be as bad another time
        assert parts.retriever.hidden == {}
        assert await parts.files.names("uploads") == []
        # The next try is a job of its own.
        better = await parts.submissions.ingest(await parts.uploaded(b"good"), None)
        assert better.created
        assert (await ended(parts, better.job.id)).status is JobStatus.SUCCEEDED


async def test_what_breaks_its_backend_is_tried_three_times(url: str, tmp_path: Path) -> None:
    async with running(url, tmp_path) as parts:
        parts.parser.failure = Unavailable("the document parser stopped")
        submitted = await parts.submissions.ingest(await parts.uploaded(b"x"), None)
        job = await ended(parts, submitted.job.id)
        assert (job.status, job.error_message) == (JobStatus.FAILED, "the document parser stopped")
        assert parts.parser.calls == 3


async def test_a_running_job_is_cancelled_and_cleaned_up_after(url: str, tmp_path: Path) -> None:
    async with running(url, tmp_path) as parts:
        parts.retriever.open.clear()
        submitted = await parts.submissions.ingest(await parts.uploaded(b"x"), None)
        await parts.retriever.reached.wait()
        cancelling = asyncio.create_task(parts.board.cancel(submitted.job.id))
        await asyncio.sleep(0.3)
        assert (await parts.board.job(submitted.job.id)).cancel_requested
        parts.retriever.open.set()
        assert (await cancelling).status is JobStatus.CANCELLED
        assert (parts.retriever.hidden, parts.retriever.published) == ({}, {})
        assert await parts.files.names("uploads") == []
        again = await parts.board.cancel(submitted.job.id)  # twice is fine
        assert again.status is JobStatus.CANCELLED


async def test_a_file_sent_again_while_its_job_is_cancelled_gets_a_job_of_its_own(
    url: str, tmp_path: Path
) -> None:
    async with running(url, tmp_path) as parts:
        parts.retriever.open.clear()
        first = await parts.submissions.ingest(await parts.uploaded(b"x"), None)
        await parts.retriever.reached.wait()
        cancelling = asyncio.create_task(parts.board.cancel(first.job.id))
        await asyncio.sleep(0.3)
        spec = await parts.uploaded(b"x")
        again = asyncio.create_task(parts.submissions.ingest(spec, None))
        await asyncio.sleep(0.3)
        parts.retriever.open.set()
        assert (await cancelling).status is JobStatus.CANCELLED
        second = await again
        assert second.created
        assert (await ended(parts, second.job.id)).status is JobStatus.SUCCEEDED


async def test_pictures_stop_within_a_step(url: str, tmp_path: Path) -> None:
    async with running(url, tmp_path, images=Images(stuck_at=8)) as parts:
        job_id = (await parts.submissions.images(PICTURES, None)).job.id
        while 8 not in parts.images.begun:
            await asyncio.sleep(0.05)
        assert await parts.files.get(image_path(job_id, 0)) == b"png 7"
        assert (await parts.board.cancel(job_id)).status is JobStatus.CANCELLED
        assert 8 in parts.images.stopped
        assert 9 not in parts.images.begun
        assert await parts.files.names(f"images/{job_id}") == []


async def test_a_queued_job_is_cancelled_without_beginning(url: str, tmp_path: Path) -> None:
    busy = Images(stuck_at=7)
    async with running(url, tmp_path, images=busy, images_concurrency=1, max_queued=2) as parts:
        first = await parts.submissions.images(PICTURES, None)
        while 7 not in busy.begun:
            await asyncio.sleep(0.05)
        waiting = await parts.submissions.images(ImagesSpec("other", 1, 64, 64, 4, 100), None)
        assert waiting.job.status is JobStatus.QUEUED
        await parts.submissions.images(PICTURES, None)
        with pytest.raises(Overloaded):
            await parts.submissions.images(PICTURES, None)
        assert (await parts.board.cancel(waiting.job.id)).status is JobStatus.CANCELLED
        busy.stuck_at = None
        assert (await ended(parts, first.job.id)).status is JobStatus.SUCCEEDED
        assert 100 not in busy.begun


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """The labels of every job that was counted as ended."""
    counted: list[dict[str, str]] = []

    class Exported:
        def inc(self, _amount: float, labels: dict[str, str]) -> None:
            counted.append(labels)

    monkeypatch.setattr(JOBS_ENDED, "_exported", Exported())
    return counted


async def one_that_waits(parts: Parts, busy: Images) -> str:
    """Submit a job that is at work on a picture, and another behind it; the id of the latter."""
    await parts.submissions.images(PICTURES, None)
    while PICTURES.seed not in busy.begun:
        await asyncio.sleep(0.05)
    return (await parts.submissions.images(PICTURES, None)).job.id


async def test_a_queued_job_that_two_cancel_is_counted_once(
    url: str, tmp_path: Path, ends: list[dict[str, str]]
) -> None:
    busy = Images(stuck_at=PICTURES.seed)
    async with running(url, tmp_path, images=busy, images_concurrency=1) as parts:
        waiting = await one_that_waits(parts, busy)
        for job in await asyncio.gather(*(parts.board.cancel(waiting) for _ in "12")):
            assert job.status is JobStatus.CANCELLED
        assert len(ends) == 1
        busy.stuck_at = None


@pytest.mark.parametrize("first", ["the job", "the board"])
async def test_a_job_that_begins_just_as_it_is_cancelled_is_counted_once(
    url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ends: list[dict[str, str]],
    first: str,
) -> None:
    busy = Images(stuck_at=PICTURES.seed)
    async with running(url, tmp_path, images=busy, images_concurrency=1) as parts:
        waiting = await one_that_waits(parts, busy)
        cancel, check = DBOS.cancel_workflow_async, Cancellations.check
        begun, cancelled = asyncio.Event(), asyncio.Event()

        async def late(job_id: str) -> None:
            monkeypatch.setattr(DBOS, "cancel_workflow_async", cancel)
            busy.stuck_at = None
            await begun.wait()
            if first == "the job":
                cancelled.set()
                await ended(parts, job_id)
            await cancel(job_id)
            cancelled.set()

        async def checked(self: Cancellations, job_id: str) -> None:
            if job_id == waiting:
                begun.set()
                await cancelled.wait()
            await check(self, job_id)

        monkeypatch.setattr(DBOS, "cancel_workflow_async", late)
        monkeypatch.setattr(Cancellations, "check", checked)
        assert (await parts.board.cancel(waiting)).status is JobStatus.CANCELLED
        async with asyncio.timeout(20):
            while not any(labels["state"] == JobStatus.CANCELLED for labels in ends):
                await asyncio.sleep(0.05)
        assert [labels["state"] for labels in ends].count(JobStatus.CANCELLED) == 1


async def test_a_queued_upload_is_cancelled_with_all_that_belongs_to_it(
    url: str, tmp_path: Path
) -> None:
    async with running(url, tmp_path) as parts:
        parts.retriever.open.clear()
        first = await parts.submissions.ingest(await parts.uploaded(b"x", "a"), None)
        await parts.retriever.reached.wait()
        second = await parts.submissions.ingest(await parts.uploaded(b"y", "b"), None)
        assert (await parts.board.cancel(second.job.id)).status is JobStatus.CANCELLED
        assert len(await parts.files.names("uploads")) == 1
        again = await parts.submissions.ingest(await parts.uploaded(b"y", "b"), None)
        assert again.created
        parts.retriever.open.set()
        for submitted in (first, again):
            assert (await ended(parts, submitted.job.id)).status is JobStatus.SUCCEEDED
        assert (await parts.board.job(second.job.id)).status is JobStatus.CANCELLED


async def test_a_job_that_ended_says_so_and_an_unknown_one_is_not_found(
    url: str, tmp_path: Path
) -> None:
    async with running(url, tmp_path) as parts:
        job_id = (await parts.submissions.images(PICTURES, None)).job.id
        await ended(parts, job_id)
        with pytest.raises(Conflict, match="succeeded already"):
            await parts.board.cancel(job_id)
        for ask in (parts.board.job, parts.board.cancel):
            with pytest.raises(NotFound):
                await ask(f"job_{0:032}")
        with pytest.raises(NotFound):
            await anext(parts.board.watch(f"job_{0:032}"))


async def test_a_key_is_one_job(url: str, tmp_path: Path) -> None:
    async with running(url, tmp_path) as parts:
        first, second = [await parts.submissions.images(PICTURES, "key") for _ in range(2)]
        assert (first.created, second.created) == (True, False)
        assert first.job.id == second.job.id
        with pytest.raises(Conflict, match="Idempotency-Key"):
            await parts.submissions.images(ImagesSpec("other", 1, 64, 64, 4, 1), "key")


async def test_jobs_are_listed_in_pages_newest_first(url: str, tmp_path: Path) -> None:
    async with running(url, tmp_path) as parts:
        ids = [(await parts.submissions.images(PICTURES, None)).job.id for _ in range(5)]
        bad = (await parts.submissions.ingest(await parts.uploaded(b"bad"), None)).job.id
        for job_id in (*ids, bad):
            await ended(parts, job_id)
        seen: list[str] = []
        after = None
        while True:
            page = await parts.board.jobs(JobQuery(None, None, 2, after))
            assert len(page.jobs) <= 2
            seen += [job.id for job in page.jobs]
            if (after := page.next_after) is None:
                break
        assert sorted(seen) == sorted([*ids, bad])
        failed = await parts.board.jobs(JobQuery(None, JobStatus.FAILED, 10, None))
        assert [job.id for job in failed.jobs] == [bad]
        images = await parts.board.jobs(JobQuery(JobKind.IMAGES, None, 10, None))
        assert sorted(job.id for job in images.jobs) == sorted(ids)


async def test_no_owner_takes_all_places_for_waiting(url: str, tmp_path: Path) -> None:
    busy = Images(stuck_at=PICTURES.seed)
    async with running(
        url, tmp_path, images=busy, images_concurrency=1, max_queued=4, max_queued_of_key=2
    ) as parts:
        alices, bobs = (replace(PICTURES, owner=owner) for owner in ("alice", "bob"))
        first = await parts.submissions.images(PICTURES, None)
        while PICTURES.seed not in busy.begun:
            await asyncio.sleep(0.05)
        waiting = [await parts.submissions.images(alices, None) for _ in range(2)]
        with pytest.raises(Overloaded):
            await parts.submissions.images(alices, None)
        waiting += [await parts.submissions.images(bobs, None)]
        for submitted in waiting:
            assert (await parts.board.cancel(submitted.job.id)).status is JobStatus.CANCELLED
        busy.stuck_at = None
        await parts.board.cancel(first.job.id)


async def test_paging_goes_on_from_behind_a_job_that_has_ended_meanwhile(
    url: str, tmp_path: Path
) -> None:
    async with running(url, tmp_path) as parts:
        parts.retriever.open.clear()  # one is at work, the others wait
        for number in range(7):
            spec = await parts.uploaded(b"x", str(number))
            await parts.submissions.ingest(spec, None)
        await parts.retriever.reached.wait()
        seen: list[str] = []
        after = None
        while True:
            page = await parts.board.jobs(JobQuery(JobKind.INGEST, JobStatus.QUEUED, 2, after))
            for job in page.jobs:
                seen.append(job.id)
                assert (await parts.board.cancel(job.id)).status is JobStatus.CANCELLED
            if (after := page.next_after) is None:
                break
        assert len(set(seen)) == len(seen) == 6
        parts.retriever.open.set()


async def test_jobs_of_an_owner_are_found_and_no_others(url: str, tmp_path: Path) -> None:
    async with running(url, tmp_path) as parts:
        owned = {}
        for owner in ("", "alice", "bob"):
            spec = replace(PICTURES, owner=owner)
            owned[owner] = [(await parts.submissions.images(spec, None)).job.id for _ in range(3)]
        for owner, ids in owned.items():
            first = await parts.board.jobs(JobQuery(None, None, 2, None, owner))
            rest = await parts.board.jobs(JobQuery(None, None, 2, first.next_after, owner))
            assert sorted(job.id for job in (*first.jobs, *rest.jobs)) == sorted(ids)
            assert {job.spec.owner for job in first.jobs} == {owner}
        some = [ids[0] for ids in owned.values()]
        found = await parts.board.find([*some, "job_" + "0" * 32])
        assert sorted(job.id for job in found) == sorted(some)
        for ids in owned.values():
            for job_id in ids:
                await ended(parts, job_id)


def begun(url: str, folder: Path) -> subprocess.Popen[str]:
    """Another replica, which begins a job and stands still at its second picture."""
    command = [sys.executable, "-m", "tests.integration.job_parts", url, str(folder)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> str:
    """The id of its job, once it stands still."""
    assert process.stdout is not None
    with process.stdout as output:
        return output.readline().strip()


def begun_and_killed(url: str, folder: Path) -> str:
    process = begun(url, folder)
    job_id = said(process)
    process.kill()
    process.wait()
    return job_id


async def test_the_work_of_a_killed_replica_goes_on_in_its_successor(
    url: str, tmp_path: Path
) -> None:
    job_id = await asyncio.to_thread(begun_and_killed, url, tmp_path)
    async with running(url, tmp_path) as parts:
        job = await ended(parts, job_id)
        assert (job.status, job.done) == (JobStatus.SUCCEEDED, 3)
        assert parts.images.begun == [8, 9]  # 7 was kept
        assert await parts.files.names(f"images/{job_id}") == ["0.png", "1.png", "2.png"]


async def test_a_replica_that_lives_on_adopts_the_work_of_one_that_does_not(
    url: str, tmp_path: Path
) -> None:
    """As after a rolling update, where the new replica is there before the old one is gone."""
    old = begun(url, tmp_path)
    try:
        job_id = await asyncio.to_thread(said, old)
        async with running(url, tmp_path) as parts:
            await asyncio.sleep(6)  # longer than it takes to look for work to adopt
            assert parts.images.begun == []  # the other one is still there
            old.kill()
            job = await ended(parts, job_id)
            assert (job.status, job.done) == (JobStatus.SUCCEEDED, 3)
            assert parts.images.begun == [8, 9]
    finally:
        old.kill()
        old.wait()


async def test_a_job_is_cancelled_while_what_it_needs_is_away(url: str, tmp_path: Path) -> None:
    async with running(url, tmp_path) as parts:
        parts.images.away = True
        pictures = (await parts.submissions.images(PICTURES, None)).job.id
        while (await parts.board.job(pictures)).status is JobStatus.QUEUED:
            await asyncio.sleep(0.1)
        assert (await parts.board.cancel(pictures)).status is JobStatus.CANCELLED
        assert parts.images.begun == []


async def test_a_picture_that_waits_for_its_turn_is_cancelled(url: str, tmp_path: Path) -> None:
    async with running(url, tmp_path) as parts:
        parts.images.silent = True
        pictures = (await parts.submissions.images(PICTURES, None)).job.id
        while not parts.images.begun:
            await asyncio.sleep(0.05)
        assert (await parts.board.cancel(pictures)).status is JobStatus.CANCELLED
        assert parts.images.stopped == [7]


async def test_a_job_cancelled_when_it_was_just_published_leaves_nothing_visible(
    url: str, tmp_path: Path
) -> None:
    """Its replica died between publishing and recording that it had."""
    async with running(url, tmp_path) as parts:
        parts.retriever.loses_replies = True
        submitted = await parts.submissions.ingest(await parts.uploaded(b"x"), None)
        job = await ended(parts, submitted.job.id)
        assert job.status is JobStatus.FAILED
        assert (parts.retriever.hidden, parts.retriever.published) == ({}, {})


async def test_a_clean_up_waits_for_what_is_away(url: str, tmp_path: Path) -> None:
    async with running(url, tmp_path, backend_wait_s=1) as parts:
        parts.retriever.away = True
        submitted = await parts.submissions.ingest(await parts.uploaded(b"x"), None)
        await asyncio.sleep(4)
        assert (await parts.board.job(submitted.job.id)).status is JobStatus.RUNNING
        parts.retriever.away = False
        job = await ended(parts, submitted.job.id)
        assert (job.status, job.error_code) == (JobStatus.FAILED, "unavailable")
        assert await parts.files.names("uploads") == []


async def test_a_key_says_nothing_of_a_document_deleted_since(url: str, tmp_path: Path) -> None:
    async with running(url, tmp_path) as parts:
        first = await parts.submissions.ingest(await parts.uploaded(b"x"), "key")
        await ended(parts, first.job.id)
        again = await parts.submissions.ingest(await parts.uploaded(b"x"), "key")
        assert (again.created, again.job.id) == (False, first.job.id)
        await parts.retriever.delete("default", "doc_a")
        anew = await parts.submissions.ingest(await parts.uploaded(b"x"), "key")
        assert anew.created
        assert (await ended(parts, anew.job.id)).status is JobStatus.SUCCEEDED
        assert "doc_a" in parts.retriever.published


async def test_of_two_requests_with_one_key_one_begins_the_job(url: str, tmp_path: Path) -> None:
    async with running(url, tmp_path) as parts:
        other = ImagesSpec("other", 1, 64, 64, 4, 1)
        both = await asyncio.gather(
            *(parts.submissions.images(PICTURES, "key") for _ in "12"),
            parts.submissions.images(other, "key"),
            return_exceptions=True,
        )
        submitted = [one for one in both if isinstance(one, Submitted)]
        assert sum(one.created for one in submitted) == 1
        assert len({one.job.id for one in submitted}) == 1
        assert any(isinstance(one, Conflict) for one in both)


async def test_watchers_are_bounded_and_leave_their_place(url: str, tmp_path: Path) -> None:
    async with running(url, tmp_path, images=Images(stuck_at=7), max_watchers=1) as parts:
        job_id = (await parts.submissions.images(PICTURES, None)).job.id
        first = parts.board.watch(job_id)
        await anext(first)
        with pytest.raises(Overloaded):
            await anext(parts.board.watch(job_id))
        await first.aclose()
        second = parts.board.watch(job_id)
        await anext(second)
        await second.aclose()
        await parts.board.cancel(job_id)


async def test_old_jobs_are_forgotten(url: str, tmp_path: Path) -> None:
    async with running(url, tmp_path) as parts:
        job_id = (await parts.submissions.images(PICTURES, None)).job.id
        await ended(parts, job_id)
    await asyncio.sleep(2)
    async with running(url, tmp_path, keep_days=1 / 86400) as parts:
        async with asyncio.timeout(10):
            while await parts.files.names(f"images/{job_id}"):
                await asyncio.sleep(0.1)
        with pytest.raises(NotFound):
            await parts.board.job(job_id)
