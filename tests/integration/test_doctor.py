"""The doctor finds each kind of damage and nothing else, and mends what can be mended."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployments.jobs.doctor.findings import Kind
from tests.support.api_keys import ALICE
from tests.support.damage import LASTING, MENDABLE, Furnished
from tests.support.whole_service import whole_service

pytestmark = pytest.mark.anyio

VECTORS = (
    "no vectors",
    "chunks missing",
    "hidden chunks",
    "hidden chunks of a current version",
    "old vectors",
    "unknown document",
    "unknown collection",
    "attributes",
)
"""The damage that is of the vector store."""


@contextlib.asynccontextmanager
async def furnished(
    url: str, folder: Path, *, qdrant: str | None = None, anew: bool = True
) -> AsyncIterator[Furnished]:
    async with (
        whole_service(url, folder, qdrant=qdrant) as service,
        service.client(ALICE) as http,
    ):
        at = Furnished(service, http, url)
        if anew:
            await at.furnish()
            await at.check_answers()
        yield at


async def test_each_damage_is_found_and_mended(job_database: str, tmp_path: Path) -> None:
    async with furnished(job_database, tmp_path / "data") as at:
        assert (await at.examine()).record()["kinds"] == []
        for name, (kind, plant) in MENDABLE.items():
            await plant(at)
            found = await at.examine()
            assert found.found == {kind: 1}, name
            assert found.left == 1
            mended = await at.examine(mend=True)
            assert (mended.found, mended.left) == ({kind: 1}, 0), name
            await at.idle()
            assert (await at.examine()).record()["kinds"] == [], name
            await at.check_answers()
        for name, (kind, plant, path) in LASTING.items():
            damaged = path(at)
            before = damaged.read_bytes()
            await plant(at)
            found = await at.examine(mend=True)
            assert (found.found, found.left) == ({kind: 1}, 1), name
            damaged.write_bytes(before)
        assert (await at.examine()).record()["kinds"] == []


async def test_vectors_on_a_server_are_mended_too(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/data/jobs.sqlite"
    async with furnished(url, tmp_path / "data", qdrant=":memory:") as at:
        for name in VECTORS:
            kind, plant = MENDABLE[name]
            await plant(at)
            mended = await at.examine(mend=True)
            assert (mended.found, mended.left) == ({kind: 1}, 0), name
            await at.idle()
            assert (await at.examine()).record()["kinds"] == [], name
            await at.check_answers()


async def test_documents_of_a_lost_index_are_ingested_again(tmp_path: Path) -> None:
    url, data = f"sqlite:///{tmp_path}/data/jobs.sqlite", tmp_path / "data"
    async with furnished(url, data) as first:
        lost = first.content("blue tapir")
    shutil.rmtree(data / "vectors" / "indexes")
    lost.unlink()
    async with furnished(url, data, anew=False) as at:
        at.documents, at.store, at.file = first.documents, first.store, first.file
        found = await at.examine(mend=True)
        assert found.found == {Kind.INDEX_MISSING: 1, Kind.NO_VECTORS: 4, Kind.CONTENT_MISSING: 1}
        assert found.mended == {Kind.NO_VECTORS: 4}
        await at.idle()
        assert "red zebra 3" in await at.found("default", "red zebra")
        assert "kept gnu" in await at.found(at.store, "kept gnu")
        # Nothing is left of one: its owner sees why, and can upload it again.
        document = at.documents["blue tapir"]
        versions = (await at.http.get(f"/v1/documents/{document}/versions")).json()["data"]
        assert versions[-1]["status"] == "failed"
        assert "upload the file again" in str(versions[-1])
        await at.upload("blue tapir.md", "blue tapir")
        assert at.documents["blue tapir"] == document
        assert (await at.examine()).record()["kinds"] == []
        await at.check_answers()
