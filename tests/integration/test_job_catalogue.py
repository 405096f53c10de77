"""The catalogue follows the jobs of documents, whatever becomes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from deployments.catalogue.entries import CollectionEntry, DocumentEntry, DocumentStatus
from deployments.catalogue.uploads import upload_of
from deployments.contents import content_path, contents_folder
from deployments.errors import NotFound
from deployments.jobs import reconciliation, submissions
from deployments.jobs.reconciliation import reconcile
from deployments.types import Chunk, Document, JobStatus
from tests.support.job_engine import CHUNKS, Parts, ended, running

pytestmark = pytest.mark.anyio
ANY = Document("doc_any", "default", "a.txt", "A", "text/plain", 1, None, 1, 1.0)


async def entry(parts: Parts, name: str = "a") -> DocumentEntry:
    return await parts.catalogue.documents.get("default", f"doc_{name}")


async def test_documents_in_progress_become_completed_failed_or_cancelled(
    job_database: str, tmp_path: Path
) -> None:
    async with running(job_database, tmp_path) as parts:
        parts.retriever.open.clear()
        good = await parts.submissions.ingest(await parts.uploaded(b"some text"), None)
        await parts.retriever.reached.wait()
        bad = await parts.submissions.ingest(await parts.uploaded(b"bad", "bad"), None)
        waiting = await parts.submissions.ingest(await parts.uploaded(b"x", "waiting"), None)
        assert {(await entry(parts, name)).status for name in ("a", "bad", "waiting")} == {
            DocumentStatus.IN_PROGRESS
        }
        await parts.canceller.cancel(waiting.job.id)
        assert (await entry(parts, "waiting")).status is DocumentStatus.CANCELLED
        parts.retriever.open.set()
        for submitted in (good, bad):
            await ended(parts, submitted.job.id)
        found = await entry(parts)
        assert (found.status, found.document.chunks) == (DocumentStatus.COMPLETED, CHUNKS)
        assert (found.document.title, found.document.job_id) == ("title of a.txt", good.job.id)
        found = await entry(parts, "bad")
        assert (found.status, found.error_code) == (DocumentStatus.FAILED, "no_text")
        counts = await parts.catalogue.collections.get("default")
        assert (counts.completed, counts.failed, counts.cancelled) == (1, 1, 1)
        # The same file with other attributes changes those of the document, without a job.
        spec = replace(await parts.uploaded(b"some text"), attributes={"year": 2026})
        same = await parts.submissions.ingest(spec, None)
        assert (same.created, same.job.id) == (False, good.job.id)
        assert (await entry(parts)).document.attributes == {"year": 2026}
        # What failed or was cancelled may be sent again.
        again = await parts.submissions.ingest(await parts.uploaded(b"x", "waiting"), None)
        assert again.created
        assert (await entry(parts, "waiting")).document.job_id == again.job.id
        await ended(parts, again.job.id)
        assert (await entry(parts, "waiting")).status is DocumentStatus.COMPLETED


async def test_a_document_that_is_removed_while_it_is_stored_does_not_come_back(
    job_database: str, tmp_path: Path
) -> None:
    async with running(job_database, tmp_path) as parts:
        parts.retriever.open.clear()
        submitted = await parts.submissions.ingest(await parts.uploaded(b"some text"), None)
        await parts.retriever.reached.wait()
        await parts.catalogue.documents.remove("default", "doc_a")
        parts.retriever.open.set()
        assert (await ended(parts, submitted.job.id)).status is JobStatus.FAILED
        assert (parts.retriever.versions, parts.retriever.published) == ({}, {})
        with pytest.raises(NotFound):
            await entry(parts)


async def test_a_job_that_version_0_1_submitted_is_added_to_the_catalogue(
    job_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(job_database, tmp_path) as parts:
        monkeypatch.setattr(submissions, "CATALOGUED", "unknown to 0.1")
        parts.retriever.open.clear()
        first = await parts.submissions.ingest(await parts.uploaded(b"some text"), None)
        await parts.retriever.reached.wait()
        second = await parts.submissions.ingest(await parts.uploaded(b"more text", "b"), None)
        await parts.remove("b")  # was never added
        parts.retriever.open.set()
        for submitted in (first, second):
            assert (await ended(parts, submitted.job.id)).status is JobStatus.SUCCEEDED
        assert (await entry(parts, "b")).status is DocumentStatus.COMPLETED


async def test_documents_whose_jobs_ended_without_the_catalogue_are_reconciled(
    job_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(job_database, tmp_path) as parts:
        versions = parts.catalogue.versions
        for name, content in (("good", b"some text"), ("bad", b"bad")):
            spec = await parts.uploaded(content, name)
            submitted = await parts.submissions.ingest(spec, None)
            await ended(parts, submitted.job.id)
            # As if it had been run by version 0.1.
            stored = dict(parts.retriever.versions), dict(parts.retriever.published)
            await parts.remove(name)
            parts.retriever.versions, parts.retriever.published = stored
            await versions.begin(upload_of(spec, submitted.job.id))
        lost = replace(upload_of(spec, f"job_{0:032}"), document_id="doc_lost")
        await versions.begin(lost)
        monkeypatch.setattr(reconciliation, "_AGE_S", 0)
        await parts.catalogue.versions.begin(replace(lost, document_id="doc_gone"))
        await parts.retriever.publish(replace(ANY, id="doc_gone"), [Chunk(0, "x", 1)])
        await parts.catalogue.documents.remove("default", "doc_gone")  # and then interrupted
        documents = parts.catalogue.documents
        await documents.set_attributes("default", "doc_good", {"year": 1})  # interrupted, too
        expired = CollectionEntry("vs_expired", "long ago", 1, expires_days=1)
        await parts.catalogue.collections.add(expired)
        await parts.retriever.create("vs_expired")
        await parts.files.put(content_path("vs_expired", "doc_gone", 1), b"content")
        await reconcile(parts.catalogue, parts.retriever, parts.files)
        assert parts.retriever.applied == [("default", "doc_good")]
        assert await parts.catalogue.attribute_changes.claim(0) is None
        assert "vs_expired" not in await parts.retriever.collections()
        assert await parts.files.names(contents_folder("vs_expired")) == []
        assert ("default", "doc_gone") not in parts.retriever.published
        assert await parts.catalogue.removals.claim(0) is None
        good = await entry(parts, "good")
        assert (good.status, good.document.chunks) == (DocumentStatus.COMPLETED, CHUNKS)
        bad = await entry(parts, "bad")
        assert (bad.status, bad.error_code) == (DocumentStatus.FAILED, "no_text")
        assert (await entry(parts, "lost")).error_code == "lost"
