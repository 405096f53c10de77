"""Jobs on a real DBOS, with SQLite and with PostgreSQL; the work is done by stand-ins."""

from __future__ import annotations

import asyncio
import contextlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.errors import Conflict, NotFound, Overloaded
from deployments.jobs.queries import list_jobs
from deployments.jobs.records import fetch_job, fetch_jobs
from deployments.types import ImagesSpec, JobKind, JobQuery, JobStatus, Submitted
from tests.support.job_engine import CHUNKS, PICTURES, Images, ended, running

pytestmark = pytest.mark.anyio


async def test_an_upload_becomes_one_document(job_database: str, tmp_path: Path) -> None:
    async with running(job_database, tmp_path) as parts:
        spec = await parts.uploaded(b"some text")
        first = await parts.submissions.ingest(spec, None)
        again = await parts.submissions.ingest(spec, None)
        assert (first.created, again.created) == (True, False)
        assert again.job.id == first.job.id
        job = await ended(parts, first.job.id)
        assert (job.status, job.done, job.total) == (JobStatus.SUCCEEDED, CHUNKS, CHUNKS)
        assert parts.retriever.published["default", "doc_a"].chunks == CHUNKS
        # Nothing of it lies about, and the same file is still the same job.
        assert await parts.files.names("uploads") == []
        assert await parts.files.names(f"chunks/{job.id}") == []
        later = await parts.submissions.ingest(await parts.uploaded(b"some text"), None)
        assert (later.created, later.job.id) == (False, first.job.id)


async def test_a_job_that_ended_says_so_and_an_unknown_one_is_not_found(
    job_database: str, tmp_path: Path
) -> None:
    async with running(job_database, tmp_path) as parts:
        job_id = (await parts.submissions.images(PICTURES, None)).job.id
        await ended(parts, job_id)
        with pytest.raises(Conflict, match="succeeded already"):
            await parts.canceller.cancel(job_id)
        for ask in (fetch_job, parts.canceller.cancel):
            with pytest.raises(NotFound):
                await ask(f"job_{0:032}")
        with pytest.raises(NotFound):
            await anext(parts.watchers.watch(f"job_{0:032}"))


async def test_a_key_is_one_job(job_database: str, tmp_path: Path) -> None:
    async with running(job_database, tmp_path) as parts:
        first, second = [await parts.submissions.images(PICTURES, "key") for _ in range(2)]
        assert (first.created, second.created) == (True, False)
        assert first.job.id == second.job.id
        with pytest.raises(Conflict, match="Idempotency-Key"):
            await parts.submissions.images(ImagesSpec("other", 1, 64, 64, 4, 1), "key")


async def test_jobs_are_listed_in_pages_newest_first(job_database: str, tmp_path: Path) -> None:
    async with running(job_database, tmp_path) as parts:
        ids = [(await parts.submissions.images(PICTURES, None)).job.id for _ in range(5)]
        bad = (await parts.submissions.ingest(await parts.uploaded(b"bad"), None)).job.id
        for job_id in (*ids, bad):
            await ended(parts, job_id)
        seen: list[str] = []
        after = None
        while True:
            page = await list_jobs(JobQuery(None, None, 2, after))
            assert len(page.jobs) <= 2
            seen += [job.id for job in page.jobs]
            if (after := page.next_after) is None:
                break
        assert sorted(seen) == sorted([*ids, bad])
        failed = await list_jobs(JobQuery(None, JobStatus.FAILED, 10, None))
        assert [job.id for job in failed.jobs] == [bad]
        images = await list_jobs(JobQuery(JobKind.IMAGES, None, 10, None))
        assert sorted(job.id for job in images.jobs) == sorted(ids)


async def test_no_owner_takes_all_places_for_waiting(job_database: str, tmp_path: Path) -> None:
    busy = Images(stuck_at=PICTURES.seed)
    async with running(
        job_database, tmp_path, images=busy, images_concurrency=1, max_queued=4
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
            assert (await parts.canceller.cancel(submitted.job.id)).status is JobStatus.CANCELLED
        busy.stuck_at = None
        await parts.canceller.cancel(first.job.id)


async def test_paging_goes_on_from_behind_a_job_that_has_ended_meanwhile(
    job_database: str, tmp_path: Path
) -> None:
    async with running(job_database, tmp_path) as parts:
        parts.retriever.open.clear()  # one is at work, the others wait
        for number in range(7):
            spec = await parts.uploaded(b"x", str(number))
            await parts.submissions.ingest(spec, None)
        await parts.retriever.reached.wait()
        seen: list[str] = []
        after = None
        while True:
            page = await list_jobs(JobQuery(JobKind.INGEST, JobStatus.QUEUED, 2, after))
            for job in page.jobs:
                seen.append(job.id)
                assert (await parts.canceller.cancel(job.id)).status is JobStatus.CANCELLED
            if (after := page.next_after) is None:
                break
        assert len(set(seen)) == len(seen) == 6
        parts.retriever.open.set()


async def test_jobs_of_an_owner_are_found_and_no_others(job_database: str, tmp_path: Path) -> None:
    async with running(job_database, tmp_path) as parts:
        owned = {}
        for owner in ("", "alice", "bob"):
            spec = replace(PICTURES, owner=owner)
            owned[owner] = [(await parts.submissions.images(spec, None)).job.id for _ in range(3)]
        for owner, ids in owned.items():
            first = await list_jobs(JobQuery(None, None, 2, None, owner))
            rest = await list_jobs(JobQuery(None, None, 2, first.next_after, owner))
            assert sorted(job.id for job in (*first.jobs, *rest.jobs)) == sorted(ids)
            assert {job.spec.owner for job in first.jobs} == {owner}
        some = [ids[0] for ids in owned.values()]
        found = await fetch_jobs([*some, "job_" + "0" * 32])
        assert sorted(job.id for job in found) == sorted(some)
        for ids in owned.values():
            for job_id in ids:
                await ended(parts, job_id)


async def test_a_key_says_nothing_of_a_document_deleted_since(
    job_database: str, tmp_path: Path
) -> None:
    async with running(job_database, tmp_path) as parts:
        first = await parts.submissions.ingest(await parts.uploaded(b"x"), "key")
        await ended(parts, first.job.id)
        again = await parts.submissions.ingest(await parts.uploaded(b"x"), "key")
        assert (again.created, again.job.id) == (False, first.job.id)
        await parts.remove()
        anew = await parts.submissions.ingest(await parts.uploaded(b"x"), "key")
        assert anew.created
        assert (await ended(parts, anew.job.id)).status is JobStatus.SUCCEEDED
        assert ("default", "doc_a") in parts.retriever.published


async def test_of_two_requests_with_one_key_one_begins_the_job(
    job_database: str, tmp_path: Path
) -> None:
    async with running(job_database, tmp_path) as parts:
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


async def test_watchers_are_bounded_and_leave_their_place(
    job_database: str, tmp_path: Path
) -> None:
    async with running(job_database, tmp_path, images=Images(stuck_at=7), max_watchers=1) as parts:
        job_id = (await parts.submissions.images(PICTURES, None)).job.id
        first = parts.watchers.watch(job_id)
        await anext(first)
        with pytest.raises(Overloaded):
            await anext(parts.watchers.watch(job_id))
        await first.aclose()
        second = parts.watchers.watch(job_id)
        await anext(second)
        await second.aclose()
        await parts.canceller.cancel(job_id)


async def test_no_owner_takes_all_places_for_watching(job_database: str, tmp_path: Path) -> None:
    async with (
        running(job_database, tmp_path, images=Images(stuck_at=7), max_watchers=16) as parts,
        contextlib.AsyncExitStack() as watching,
    ):
        ids = {}
        for owner in ("alice", "bob", "carol"):
            spec = replace(PICTURES, owner=owner)
            ids[owner] = (await parts.submissions.images(spec, None)).job.id

        async def watch(owner: str) -> None:
            jobs = parts.watchers.watch(ids[owner])
            await watching.enter_async_context(contextlib.aclosing(jobs))
            await anext(jobs)

        for owner in ("alice", "bob"):
            for _ in range(8):
                await watch(owner)
            with pytest.raises(Overloaded):
                await watch(owner)
        await watch("carol")  # all places are taken, but she has none
        with pytest.raises(Overloaded):
            await watch("carol")
        for job_id in ids.values():
            await parts.canceller.cancel(job_id)


async def test_old_jobs_are_forgotten(job_database: str, tmp_path: Path) -> None:
    async with running(job_database, tmp_path) as parts:
        job_id = (await parts.submissions.images(PICTURES, None)).job.id
        await ended(parts, job_id)
        for path in ("pages/crashed/page.pdf", "chunks/crashed/0.json", "pages/fresh/page.pdf"):
            await parts.files.put(path, b"left by a crash")
            if "crashed" in path:
                os.utime(tmp_path / "files" / path, (0, 0))
    await asyncio.sleep(2)
    async with running(job_database, tmp_path, keep_days=1 / 86400) as parts:
        async with asyncio.timeout(10):
            while await parts.files.names(f"images/{job_id}"):
                await asyncio.sleep(0.1)
        async with asyncio.timeout(10):
            while await fetch_jobs([job_id]):
                await asyncio.sleep(0.1)
        async with asyncio.timeout(10):
            while await parts.files.names("chunks/crashed"):
                await asyncio.sleep(0.1)
        assert await parts.files.names("pages/crashed") == []
        assert await parts.files.names("pages/fresh") == ["page.pdf"]
