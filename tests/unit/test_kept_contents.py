"""Uploads whose jobs have ended: kept as long as their versions can be restored."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from deployments.catalogue.catalogue import Catalogue
from deployments.catalogue.database import Database
from deployments.catalogue.entries import VersionStatus
from deployments.catalogue.migrate import migrate
from deployments.catalogue.uploads import new_document, upload_of
from deployments.contents import content_path
from deployments.errors import NotFound
from deployments.file_store import FileStore
from deployments.jobs.ingest import IngestSteps
from deployments.types import Document, IngestSpec

pytestmark = pytest.mark.anyio
UPLOAD = "uploads/a"
JOB = "job_1"


class Ended:
    """A job at its end, with its upload still there."""

    def __init__(self, folder: Path) -> None:
        self.database = Database(f"sqlite:///{folder / 'catalogue.sqlite'}")
        migrate(self.database)
        self.catalogue = Catalogue(self.database)
        self.files = FileStore(str(folder / "files"))
        unused = cast("Any", None)
        self.steps = IngestSteps(unused, unused, self.files, unused, self.catalogue, 4)

    async def begin(self) -> tuple[IngestSpec, Document]:
        spec = IngestSpec("", "alice.papers", "a.txt", 5, UPLOAD, digest="a" * 64)
        document = (await self.catalogue.versions.begin(upload_of(spec, JOB))).document
        await self.files.put(UPLOAD, b"Snow.")
        spec = IngestSpec(document.id, "alice.papers", "a.txt", 5, UPLOAD, digest="a" * 64)
        return spec, new_document(spec, JOB, document.version)

    async def kept(self, document: Document) -> bytes | None:
        path = content_path(document.collection, document.id, document.version)
        try:
            return await self.files.get(path)
        except NotFound:
            return None


@pytest.fixture
async def ended(tmp_path: Path) -> AsyncIterator[Ended]:
    ended = Ended(tmp_path)
    yield ended
    ended.database.close()


async def test_the_content_of_a_completed_version_is_kept_however_its_job_ended(
    ended: Ended,
) -> None:
    spec, document = await ended.begin()
    await ended.catalogue.versions.complete(document)
    await ended.steps.discard(JOB, spec, RuntimeError("it broke after that"))
    for _ in range(2):
        await ended.steps.settle_upload(JOB, spec)
        assert await ended.kept(document) == b"Snow."
    # It was removed after its content had been moved, and before that was noted.
    await ended.catalogue.documents.remove(document.collection, document.id)
    await ended.steps.settle_upload(JOB, spec)
    assert await ended.kept(document) is None


async def test_the_content_of_a_failed_version_is_not_kept(ended: Ended) -> None:
    spec, document = await ended.begin()
    await ended.catalogue.versions.settle(document, VersionStatus.FAILED, "bad", "for a reason")
    await ended.steps.settle_upload(JOB, spec)
    assert await ended.kept(document) is None
    assert await ended.files.names("uploads") == []


async def test_a_disk_that_is_full_does_not_fail_the_job(
    ended: Ended, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, document = await ended.begin()
    await ended.catalogue.versions.complete(document)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    for method in ("_move", "_delete"):
        monkeypatch.setattr(ended.files, method, full)
    await ended.steps.settle_upload(JOB, spec)
    monkeypatch.undo()
    await ended.steps.settle_upload(JOB, spec)
    assert await ended.kept(document) == b"Snow."
