"""Versions of documents through real jobs: repeated, failed, and finished in any order."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from deployments.catalogue.entries import (
    FILE_DELETED,
    CurrentVersion,
    DocumentStatus,
    PageQuery,
    VersionStatus,
)
from deployments.contents import content_path, contents_folder
from deployments.errors import Conflict, Unprocessable
from deployments.jobs import reconciliation
from deployments.jobs.reconciliation import reconcile
from deployments.kept_files import CARD_BYTES, kept_path
from deployments.types import IngestSpec, JobStatus, OnConflict
from tests.support.job_engine import Parts, ended, running

pytestmark = pytest.mark.anyio


async def named(
    parts: Parts, content: bytes, on_conflict: OnConflict = "replace", name: str = "a.txt"
) -> IngestSpec:
    """Store an upload that names its document, as the ingress does."""
    path, digest = f"uploads/{os.urandom(8).hex()}", hashlib.sha256(content).hexdigest()
    await parts.files.put(path, content)
    return IngestSpec(
        "", "default", name, len(content), path, digest=digest, on_conflict=on_conflict
    )


async def statuses(parts: Parts, document_id: str) -> list[VersionStatus]:
    page = await parts.catalogue.versions.page("default", document_id, PageQuery(9))
    return [entry.status for entry in page.entries]


async def test_a_replacement_is_found_once_it_is_whole(
    job_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(job_database, tmp_path) as parts:
        documents = parts.catalogue.documents
        first = await parts.submissions.ingest(await named(parts, b"one"), "key")
        assert first.version == 1
        await ended(parts, first.job.id)
        assert isinstance(first.job.spec, IngestSpec)
        document_id = first.job.spec.document_id
        parts.retriever.open.clear()
        parts.retriever.reached.clear()
        second = await parts.submissions.ingest(await named(parts, b"two"), None)
        same = await parts.submissions.ingest(await named(parts, b"two"), None)
        assert (second.version, same.version, same.job.id) == (2, 2, second.job.id)
        await parts.retriever.reached.wait()
        assert await documents.current("default", [document_id]) == {
            document_id: CurrentVersion(1, "a.txt")
        }
        parts.retriever.open.set()
        await ended(parts, second.job.id)
        assert parts.retriever.published["default", document_id].version == 2
        completed = VersionStatus.COMPLETED
        assert await statuses(parts, document_id) == [VersionStatus.SUPERSEDED, completed]
        # A request that is sent again is answered as it was.
        again = await parts.submissions.ingest(await named(parts, b"one"), "key")
        assert (again.created, again.job.id, again.version) == (False, first.job.id, 1)
        with pytest.raises(Conflict, match="Idempotency-Key"):
            await parts.submissions.ingest(await named(parts, b"two"), "key")

        bad = await parts.submissions.ingest(await named(parts, b"bad"), None)
        assert (await ended(parts, bad.job.id)).status is JobStatus.FAILED
        assert (await statuses(parts, document_id))[1:] == [completed, VersionStatus.FAILED]
        assert (await documents.get("default", document_id)).document.version == 2
        assert parts.retriever.published["default", document_id].version == 2
        # The contents of this version and the one before are kept, and nothing else.
        folder = contents_folder("default", document_id)
        assert await parts.files.names(folder) == ["1", "2"]

        old = await parts.catalogue.versions.to_restore("default", document_id, None)
        spec = replace(
            await named(parts, b"one"),
            document_id=document_id,
            upload_path=content_path("default", document_id, old.document.version),
            borrowed=True,
            restored_from=old.document.version,
        )
        restored = await parts.submissions.ingest(spec, None)
        assert (await ended(parts, restored.job.id)).status is JobStatus.SUCCEEDED
        assert (await statuses(parts, document_id))[-1] is VersionStatus.COMPLETED
        chunks = parts.retriever.versions["default", document_id, 4].values()
        assert {chunk.text for chunk in chunks} == {"one"}
        assert await parts.files.names(folder) == ["2", "4"]
        assert await parts.files.get(content_path("default", document_id, 4)) == b"one"

        # A deletion that was interrupted is finished, with the contents.
        monkeypatch.setattr(reconciliation, "_AGE_S", 0)
        await documents.remove("default", document_id)
        await reconcile(parts.catalogue, parts.retriever, parts.files)
        assert await parts.files.names(folder) == []


async def test_content_of_a_document_that_was_removed_meanwhile_is_not_kept(
    job_database: str, tmp_path: Path
) -> None:
    async with running(job_database, tmp_path) as parts:
        parts.retriever.open.clear()
        submitted = await parts.submissions.ingest(await named(parts, b"one"), None)
        assert isinstance(submitted.job.spec, IngestSpec)
        document_id = submitted.job.spec.document_id
        await parts.retriever.reached.wait()
        await parts.catalogue.documents.remove("default", document_id)
        parts.retriever.open.set()
        assert (await ended(parts, submitted.job.id)).status is JobStatus.FAILED
        assert await parts.files.names(contents_folder("default", document_id)) == []
        assert await parts.files.names("uploads") == []


async def test_an_upload_that_keeps_both_is_one_document_however_often_it_is_sent(
    job_database: str, tmp_path: Path
) -> None:
    async with running(job_database, tmp_path) as parts:
        first = await parts.submissions.ingest(await named(parts, b"one"), None)
        await ended(parts, first.job.id)
        jobs = set()
        for key in ("key", "key", None, None):
            spec = await named(parts, b"two", "keep")
            submitted = await parts.submissions.ingest(spec, key)
            assert isinstance(submitted.job.spec, IngestSpec)
            assert (submitted.job.spec.filename, submitted.version) == ("a (2).txt", 1)
            jobs.add(submitted.job.id)
            await ended(parts, submitted.job.id)
        assert len(jobs) == 1
        with pytest.raises(Conflict, match=r"a\.txt"):
            await parts.submissions.ingest(await named(parts, b"three", "reject"), None)
        assert (await parts.catalogue.collections.get("default")).completed == 2


async def test_a_version_is_kept_though_the_one_before_cannot_be_discarded(
    job_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(job_database, tmp_path) as parts:
        first = await parts.submissions.ingest(await named(parts, b"one"), None)
        await ended(parts, first.job.id)
        assert isinstance(first.job.spec, IngestSpec)
        document_id = first.job.spec.document_id
        discarded: list[Sequence[int]] = []

        async def fails_once(_collection: str, _id: str, versions: Sequence[int]) -> None:
            discarded.append(versions)
            if len(discarded) == 1:
                msg = "not now"
                raise Unprocessable(msg)

        monkeypatch.setattr(parts.retriever, "discard", fails_once)
        second = await parts.submissions.ingest(await named(parts, b"two"), None)
        assert (await ended(parts, second.job.id)).status is JobStatus.SUCCEEDED
        assert (await statuses(parts, document_id))[1] is VersionStatus.COMPLETED
        assert parts.retriever.published["default", document_id].version == 2
        third = await parts.submissions.ingest(await named(parts, b"three"), None)
        await ended(parts, third.job.id)
        assert discarded == [[1], [2, 1]]  # with the next version


async def test_two_replacements_at_once_end_with_the_newer_one(
    job_database: str, tmp_path: Path
) -> None:
    async with running(job_database, tmp_path, short_places=4) as parts:
        contents = [b"slow 0.5", b"two", b"three"]
        specs = [await named(parts, content) for content in contents]
        submitted = [await parts.submissions.ingest(spec, None) for spec in specs]
        assert [each.version for each in submitted] == [1, 2, 3]
        jobs = await asyncio.gather(*(ended(parts, each.job.id) for each in submitted))
        assert {job.status for job in jobs} == {JobStatus.SUCCEEDED}
        spec = submitted[0].job.spec
        assert isinstance(spec, IngestSpec)
        entry = await parts.catalogue.documents.get("default", spec.document_id)
        assert entry.document.version == 3
        assert (await parts.catalogue.collections.get("default")).completed == 1


async def test_two_files_at_once_with_one_key_are_a_conflict(
    job_database: str, tmp_path: Path
) -> None:
    async with running(job_database, tmp_path) as parts:
        specs = [await named(parts, b"one", name="a.txt"), await named(parts, b"two", name="b.txt")]
        results = await asyncio.gather(
            *(parts.submissions.ingest(spec, "key") for spec in specs), return_exceptions=True
        )
        (submitted,) = [each for each in results if not isinstance(each, BaseException)]
        assert [type(each) for each in results if isinstance(each, BaseException)] == [Conflict]
        assert (await ended(parts, submitted.job.id)).status is JobStatus.SUCCEEDED
        default = await parts.catalogue.collections.get("default")
        assert (default.completed, default.in_progress) == (1, 0)


async def kept(parts: Parts, number: int, content: bytes) -> IngestSpec:
    """Keep a file, and specify the job that reads it in place."""
    file_id = f"file-{number:032x}"
    path = kept_path("", file_id)
    await parts.files.put(path, content, head=b"a card".ljust(CARD_BYTES))
    return IngestSpec(
        f"doc_{number:032x}",
        "default",
        f"{number}.txt",
        len(content),
        path,
        digest=hashlib.sha256(content).hexdigest(),
        start_byte=CARD_BYTES,
        borrowed=True,
    )


async def test_a_kept_file_is_read_in_place_and_stays(job_database: str, tmp_path: Path) -> None:
    async with running(job_database, tmp_path) as parts:
        parts.retriever.open.clear()
        first = await kept(parts, 1, b"Snow is white.")
        submitted = await parts.submissions.ingest(first, None)
        await parts.retriever.reached.wait()
        second = await kept(parts, 2, b"Snow is cold.")
        late = await parts.submissions.ingest(second, None)
        await parts.files.delete(second.upload_path)
        parts.retriever.open.set()
        assert (await ended(parts, submitted.job.id)).status is JobStatus.SUCCEEDED
        chunks = parts.retriever.versions["default", first.document_id, 1].values()
        assert {chunk.text for chunk in chunks} == {"Snow is white."}
        assert (await parts.files.get(first.upload_path)).endswith(b"Snow is white.")
        job = await ended(parts, late.job.id)
        assert (job.status, job.error_code) == (JobStatus.FAILED, FILE_DELETED)
        entry = await parts.catalogue.documents.get("default", second.document_id)
        assert (entry.status, entry.error_code) == (DocumentStatus.FAILED, FILE_DELETED)
        # A job that is cancelled leaves the kept file as well.
        parts.retriever.open.clear()
        again = await parts.submissions.ingest(await kept(parts, 2, b"Snow is deep."), None)
        await parts.canceller.cancel(again.job.id)
        parts.retriever.open.set()
        assert (await ended(parts, again.job.id)).status is JobStatus.CANCELLED
        assert (await parts.files.get(second.upload_path)).endswith(b"Snow is deep.")
