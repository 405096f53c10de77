"""Jobs that are cancelled, wherever they are: at work, waiting, or just about to begin."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from dbos import DBOS

from deployments.catalogue.clock import now_ms
from deployments.catalogue.response_rows import StoredResponse
from deployments.errors import InvalidRequest, NotFound, Overloaded, Unavailable
from deployments.file_store import image_path
from deployments.jobs import cancellation
from deployments.jobs.cancellation import Cancellations
from deployments.jobs.records import fetch_job
from deployments.jobs.retrying import WORK_RETRIES
from deployments.observability.metrics import JOBS_ENDED
from deployments.types import ImagesSpec, Job, JobStatus, ResponseSpec
from tests.support.job_engine import PICTURES, Images, Parts, ended, running

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait longer for a job to end than a busy machine takes."""
    monkeypatch.setattr(cancellation, "_CANCEL_WAIT_S", 30.0)


async def cancelled_at_work(parts: Parts) -> asyncio.Task[Job]:
    """Have an upload's job asked to stop while it is held up at the retriever."""
    parts.retriever.open.clear()
    job_id = (await parts.submissions.ingest(await parts.uploaded(b"x"), None)).job.id
    await parts.retriever.reached.wait()
    cancelling = asyncio.create_task(parts.canceller.cancel(job_id))
    async with asyncio.timeout(30):
        while not (await fetch_job(job_id)).cancel_requested:
            await asyncio.sleep(0.05)
    return cancelling


async def test_a_running_job_is_cancelled_and_cleaned_up_after(
    job_database: str, tmp_path: Path
) -> None:
    async with running(job_database, tmp_path) as parts:
        cancelling = await cancelled_at_work(parts)
        parts.retriever.open.set()
        job = await cancelling
        assert job.status is JobStatus.CANCELLED
        assert (parts.retriever.versions, parts.retriever.published) == ({}, {})
        assert await parts.files.names("uploads") == []
        again = await parts.canceller.cancel(job.id)  # twice is fine
        assert again.status is JobStatus.CANCELLED


async def test_a_file_sent_again_while_its_job_is_cancelled_gets_a_job_of_its_own(
    job_database: str, tmp_path: Path
) -> None:
    async with running(job_database, tmp_path) as parts:
        cancelling = await cancelled_at_work(parts)
        spec = await parts.uploaded(b"x")
        again = asyncio.create_task(parts.submissions.ingest(spec, None))
        await asyncio.sleep(0.3)
        parts.retriever.open.set()
        assert (await cancelling).status is JobStatus.CANCELLED
        second = await again
        assert second.created
        assert (await ended(parts, second.job.id)).status is JobStatus.SUCCEEDED


async def test_a_response_that_is_cancelled_deleted_or_erased_stops(
    job_database: str, tmp_path: Path
) -> None:
    async with running(job_database, tmp_path) as parts:
        responses, responder = parts.catalogue.responses, parts.responder
        responder.stuck = True

        async def begun(number: int) -> str:
            response = StoredResponse(
                f"resp_{number}", "queued", now_ms(), 2**52, {"status": "queued"}, [], request={}
            )
            await responses.add("alice", response)
            spec = ResponseSpec(response.id, "genserve", "alice")
            first, again = [await parts.submissions.responses(spec) for _ in range(2)]
            assert (first.created, again.created) == (True, False)
            async with asyncio.timeout(30):
                while responder.begun < number:
                    await asyncio.sleep(0.02)
            return first.job.id

        job = await parts.canceller.cancel(await begun(1))
        assert job.status is JobStatus.CANCELLED
        assert (await responses.response("alice", "resp_1")).status == "cancelled"
        await parts.canceller.cancel(await begun(2))
        await begun(3)
        erasures = parts.catalogue.erasures
        erasure = await erasures.request("alice")
        async with asyncio.timeout(30):
            while (await erasures.get("alice", erasure.id)).finished_at is None:
                await asyncio.sleep(0.1)
        assert responder.stopped == 3
        for number in (1, 2, 3):
            with pytest.raises(NotFound):
                await responses.response("alice", f"resp_{number}")


async def test_a_response_fails_with_the_error_of_its_job(
    job_database: str, tmp_path: Path
) -> None:
    async with running(job_database, tmp_path) as parts:
        parts.responder.failure = InvalidRequest("the input is too long")
        responses = parts.catalogue.responses
        body = {"status": "queued"}
        await responses.add(
            "", StoredResponse("resp_1", "queued", now_ms(), 2**52, body, [], request={})
        )
        submitted = await parts.submissions.responses(ResponseSpec("resp_1", "genserve"))
        job = await ended(parts, submitted.job.id)
        assert (job.status, job.error_message) == (JobStatus.FAILED, "the input is too long")
        assert parts.responder.begun == 1
        failed = await responses.response("", "resp_1")
        error = {"code": "invalid_prompt", "message": "the input is too long"}
        assert (failed.status, failed.body["error"]) == ("failed", error)


async def test_pictures_stop_within_a_step(job_database: str, tmp_path: Path) -> None:
    async with running(job_database, tmp_path, images=Images(stuck_at=8)) as parts:
        job_id = (await parts.submissions.images(PICTURES, None)).job.id
        while 8 not in parts.images.begun:
            await asyncio.sleep(0.05)
        assert await parts.files.get(image_path(job_id, 0)) == parts.images.draw(
            PICTURES.request(0)
        )
        assert (await parts.canceller.cancel(job_id)).status is JobStatus.CANCELLED
        assert 8 in parts.images.stopped
        assert 9 not in parts.images.begun
        assert await parts.files.names(f"images/{job_id}") == []


async def test_a_queued_job_is_cancelled_without_beginning(
    job_database: str, tmp_path: Path
) -> None:
    busy = Images(stuck_at=7)
    async with running(
        job_database, tmp_path, images=busy, images_concurrency=1, max_queued=2
    ) as parts:
        first = await parts.submissions.images(PICTURES, None)
        while 7 not in busy.begun:
            await asyncio.sleep(0.05)
        waiting = await parts.submissions.images(ImagesSpec("other", 1, 64, 64, 4, 100), None)
        assert waiting.job.status is JobStatus.QUEUED
        await parts.submissions.images(PICTURES, None)
        with pytest.raises(Overloaded):
            await parts.submissions.images(PICTURES, None)
        assert (await parts.canceller.cancel(waiting.job.id)).status is JobStatus.CANCELLED
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


async def test_a_queued_job_that_several_cancel_is_counted_once(
    job_database: str, tmp_path: Path, ends: list[dict[str, str]]
) -> None:
    busy = Images(stuck_at=PICTURES.seed)
    async with running(job_database, tmp_path, images=busy, images_concurrency=1) as parts:
        waiting = await one_that_waits(parts, busy)
        for job in await asyncio.gather(*(parts.canceller.cancel(waiting) for _ in range(8))):
            assert job.status is JobStatus.CANCELLED
        assert len(ends) == 1
        busy.stuck_at = None


@pytest.mark.parametrize("first", ["the job", "the caller"])
async def test_a_job_that_begins_just_as_it_is_cancelled_is_counted_once(
    job_database: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ends: list[dict[str, str]],
    first: str,
) -> None:
    busy = Images(stuck_at=PICTURES.seed)
    async with running(job_database, tmp_path, images=busy, images_concurrency=1) as parts:
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
        assert (await parts.canceller.cancel(waiting)).status is JobStatus.CANCELLED
        async with asyncio.timeout(20):
            while not any(labels["state"] == JobStatus.CANCELLED for labels in ends):
                await asyncio.sleep(0.05)
        assert [labels["state"] for labels in ends].count(JobStatus.CANCELLED) == 1


async def test_a_queued_upload_is_cancelled_with_all_that_belongs_to_it(
    job_database: str, tmp_path: Path
) -> None:
    async with running(job_database, tmp_path) as parts:
        parts.retriever.open.clear()
        first = await parts.submissions.ingest(await parts.uploaded(b"x", "a"), None)
        await parts.retriever.reached.wait()
        second = await parts.submissions.ingest(await parts.uploaded(b"y", "b"), None)
        assert (await parts.canceller.cancel(second.job.id)).status is JobStatus.CANCELLED
        assert len(await parts.files.names("uploads")) == 1
        again = await parts.submissions.ingest(await parts.uploaded(b"y", "b"), None)
        assert again.created
        parts.retriever.open.set()
        for submitted in (first, again):
            assert (await ended(parts, submitted.job.id)).status is JobStatus.SUCCEEDED
        assert (await fetch_job(second.job.id)).status is JobStatus.CANCELLED


async def test_a_picture_is_cancelled_while_its_backend_is_away_or_busy(
    job_database: str, tmp_path: Path
) -> None:
    async with running(job_database, tmp_path) as parts:
        parts.images.away = True
        waiting = (await parts.submissions.images(PICTURES, None)).job.id
        while (await fetch_job(waiting)).status is JobStatus.QUEUED:
            await asyncio.sleep(0.1)
        assert (await parts.canceller.cancel(waiting)).status is JobStatus.CANCELLED
        assert parts.images.begun == []
        parts.images.away, parts.images.silent = False, True
        drawn = (await parts.submissions.images(PICTURES, None)).job.id
        while not parts.images.begun:
            await asyncio.sleep(0.05)
        assert (await parts.canceller.cancel(drawn)).status is JobStatus.CANCELLED
        assert parts.images.stopped == [7]


async def test_a_job_is_cancelled_between_the_attempts_of_a_step(
    job_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(WORK_RETRIES, "max_attempts", 10)
    async with running(job_database, tmp_path) as parts:
        parts.parser.error = Unavailable("the document parser stopped")
        job_id = (await parts.submissions.ingest(await parts.uploaded(b"x"), None)).job.id
        async with asyncio.timeout(30):
            while not parts.parser.calls:
                await asyncio.sleep(0.05)
        assert (await parts.canceller.cancel(job_id)).status is JobStatus.CANCELLED
        assert parts.parser.calls < 10
