"""Jobs of a newer version in this one: after a rollback, or in a rolling update."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from deployments.jobs import ingest, submissions
from deployments.jobs.records import fields_of
from deployments.types import JobStatus
from tests.support.job_engine import CHUNKS, PICTURES, ended, running

pytestmark = pytest.mark.anyio


def newer(record: Any) -> dict[str, Any]:
    return {**dataclasses.asdict(record), "added": {"by": "a newer version"}}


async def test_fields_that_a_newer_version_stored_are_ignored(
    job_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(submissions, "fields_of", lambda spec: {**fields_of(spec), "added": 1})
    monkeypatch.setattr(ingest, "asdict", newer)  # of documents and chunks, between the steps
    async with running(job_database, tmp_path) as parts:
        upload = await parts.submissions.ingest(await parts.uploaded(b"some text"), None)
        drawing = await parts.submissions.images(PICTURES, "key")
        job = await ended(parts, upload.job.id)
        assert (job.status, job.done) == (JobStatus.SUCCEEDED, CHUNKS)
        assert parts.retriever.published["default", "doc_a"].chunks == CHUNKS
        job = await ended(parts, drawing.job.id)
        assert (job.status, job.spec) == (JobStatus.SUCCEEDED, PICTURES)
        # The key still means the same request.
        assert not (await parts.submissions.images(PICTURES, "key")).created
