"""The doctor finds each kind of damage and nothing else, and mends what can be mended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dbos import DBOS

from deployments.catalogue.import_0_1 import SOURCE
from deployments.databases import is_sqlite
from deployments.errors import Unavailable
from deployments.jobs import job_rows
from deployments.jobs.doctor import runs as runs_module
from deployments.jobs.doctor.requests import DOCTOR
from deployments.jobs.reconciliation import reconcile
from deployments.observability.metrics import DAMAGE, DOCTOR_RAN, DOCTOR_TOOK
from deployments.types import DamageKind, JobKind, StoredPoint
from serve_app.doctor.stopped import examine
from serve_app.testing import fake_settings
from tests.support.api_keys import ALICE
from tests.support.damage import COLLECTION, LASTING, MENDABLE, UNKNOWN, Furnished
from tests.support.paths import ROOT
from tests.support.postgres import LONG_ON_POSTGRES
from tests.support.whole_service import configuration, whole_service

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
        await service.parts.catalogue.set_imported(SOURCE)
        if anew:
            await at.furnish()
            await at.check_answers()
        yield at


@LONG_ON_POSTGRES
async def test_each_damage_is_found_and_mended(job_database: str, tmp_path: Path) -> None:
    async with furnished(job_database, tmp_path / "data") as at:
        assert (await at.examine()).record()["kinds"] == []
        for name, (kind, plant) in MENDABLE.items():
            if not is_sqlite(job_database) and kind is DamageKind.UNKNOWN_FILE:
                continue  # the same on every database
            await plant(at)
            found = await at.examine()
            assert found.found == {kind: 1}, name
            assert found.left == 1
            mended = await at.examine(mend=True)
            assert (mended.found, mended.left) == ({kind: 1}, 0), name
            await at.idle()
            assert (await at.examine()).record()["kinds"] == [], name
            await at.check_answers()
        for name, (kind, plant, path) in LASTING.items() if is_sqlite(job_database) else ():
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
        assert found.found == {
            DamageKind.INDEX_MISSING: 1,
            DamageKind.NO_VECTORS: 4,
            DamageKind.CONTENT_MISSING: 1,
        }
        assert found.mended == {DamageKind.NO_VECTORS: 4}
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


async def test_a_document_that_another_index_has_whole_is_copied_from_there(
    tmp_path: Path,
) -> None:
    """The second index is lost while the embedding model is changed."""
    url = f"sqlite:///{tmp_path}/data/jobs.sqlite"
    async with furnished(url, tmp_path / "data") as at:
        mending, document = at.service.parts.catalogue.mending, at.documents["blue tapir"]
        at.content("blue tapir").unlink()

        def check_mark(mark: str | None) -> None:
            with sqlite3.connect(tmp_path / "data" / "jobs.sqlite") as connection:
                query = "SELECT pair FROM genserve_versions WHERE document_id = ?"
                assert connection.execute(query, (document,)).fetchone() == (mark,)

        at.change(
            "UPDATE genserve_collections SET other_index_name = 'lost',"
            " other_embedding_model = 'lost', pair = 'p' WHERE id = :id",
            id=COLLECTION,
        )
        at.change("UPDATE genserve_versions SET pair = 'p' WHERE document_id = :id", id=document)
        report = await at.examine(mend=True)
        assert report.mended == {DamageKind.NO_VECTORS: 1}
        assert (await at.examine()).found == {DamageKind.CONTENT_MISSING: 1}
        check_mark(None)
        await at.check_answers()
        entry = await at.service.parts.catalogue.documents.get(COLLECTION, document)
        assert not await mending.correct_pair(entry.document, ["another"])
        assert await mending.correct_pair(entry.document, ["lost"])
        check_mark("p.second")
        # What is left of one is not thrown away.
        assert await mending.correct_pair(entry.document, [(await at.index()).name])
        await MENDABLE["chunks missing"][1](at)
        report = await at.examine(mend=True)
        assert report.found[DamageKind.CHUNKS_MISSING] == 1
        assert not report.mended
        assert (await at.examine()).found == report.found


async def test_the_command_runs_with_and_without_a_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    config, url = configuration(tmp_path), f"sqlite:///{data}/jobs.sqlite"
    assert (await run_command(config))[0] == 2  # nothing has been stored
    monkeypatch.setenv("GENSERVE_DATABASE_URL", url)
    async with furnished(url, data) as at:
        for name in ("unknown document", "counts", "no vectors"):
            await MENDABLE[name][1](at)
        status, output, _ = await run_command(config, "--json")
        assert status == 1
        kinds = {one["kind"]: one for one in json.loads(output)["kinds"]}
        assert kinds.keys() == {"unknown_document", "counts_wrong", "no_vectors"}
        assert kinds["unknown_document"]["examples"][0]["subject"] == f"{COLLECTION} {UNKNOWN}"
        status, output, _ = await run_command(config, "--mend")
        assert status == 0
        assert "3 found, 0 of them not mended" in output
        await at.idle()
        await at.check_answers()
        for name in ("unknown document", "counts", "version lost"):
            await MENDABLE[name][1](at)
        await LASTING["file differs"][1](at)
    status, output, error = await run_command(config, "--mend")
    assert status == 1, output + error
    assert "4 found, 1 of them not mended" in output
    assert "file_differs: 1" in output


async def test_a_damaged_database_and_index_are_found(tmp_path: Path) -> None:
    data = tmp_path / "data"
    url = f"sqlite:///{data}/jobs.sqlite"
    async with furnished(url, data) as at:
        index = await at.index()
    settings = fake_settings(data_dir=str(data), files=str(data / "files"))

    async def kinds() -> set[str]:
        record = await examine(settings, url, mend=False, thorough=True)
        return {one["kind"] for one in record["kinds"]}

    assert await kinds() == set()
    page = page_of(data / "jobs.sqlite", "genserve_erasures_by_owner")
    before = (data / "jobs.sqlite").read_bytes()
    (data / "jobs.sqlite").write_bytes(before[: page.start] + b"?" * 64 + before[page.start + 64 :])
    assert await kinds() == {DamageKind.DATABASE_DAMAGED}
    (data / "jobs.sqlite").write_bytes(before)
    shard = data / "vectors" / "indexes" / index.name / "1"
    for file in shard.rglob("*.json"):
        file.write_bytes(b"damaged")
    assert await kinds() == {DamageKind.INDEX_UNREADABLE}


async def test_a_stopped_service_that_has_not_imported_version_0_1_is_left_alone(
    tmp_path: Path,
) -> None:
    data = tmp_path / "data"
    settings = fake_settings(data_dir=str(data), files=str(data / "files"))
    kept = data / "files" / "kept" / "alice" / ("file-" + "0" * 32)
    kept.parent.mkdir(parents=True)
    kept.write_bytes(b"kept by version 0.1")
    os.utime(kept, (0, 0))
    with pytest.raises(Unavailable, match="start the service once first"):
        await examine(settings, f"sqlite:///{data}/jobs.sqlite", mend=True, thorough=False)
    assert kept.exists()


async def test_the_missing_upload_of_a_job_is_found(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/data/jobs.sqlite"
    async with furnished(url, tmp_path / "data", anew=False) as at:
        answer = await at.http.post("/upload", files={"file": ("slow.md", "slow 60")})
        assert (await at.examine()).record()["kinds"] == []
        (upload,) = at.path("uploads/alice").iterdir()
        upload.unlink()
        assert (await at.examine()).found == {DamageKind.UPLOAD_MISSING: 1}
        await at.http.post(f"/v1/jobs/{answer.json()['job_id']}/cancel")


@pytest.mark.long
async def test_the_upload_of_a_queued_job_stays_while_other_jobs_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The doctor lists the jobs in pages, and those of the first page end."""
    monkeypatch.setattr(job_rows, "_BATCH", 2)
    url = f"sqlite:///{tmp_path}/data/jobs.sqlite"
    async with furnished(url, tmp_path / "data", anew=False) as at:
        jobs = []
        for number in range(6):
            files = {"file": (f"{number}.md", f"slow 6{number}")}
            jobs.append((await at.http.post("/upload", files=files)).json()["job_id"])
        for upload in (uploads := sorted(at.path("uploads/alice").iterdir())):
            os.utime(upload, (0, 0))
        async with job_rows.open_rows(url) as rows:
            assert rows is not None
            listed = []
            async for job in rows.all_of(JobKind.INGEST, job_rows.ACTIVE_STATES):
                listed.append(job.id)
                if len(listed) <= 2:
                    await at.http.post(f"/v1/jobs/{job.id}/cancel")
                    while job.id in await rows.unfinished([job.id]):
                        await asyncio.sleep(0.05)
            assert listed == jobs
        assert (await at.examine(mend=True)).found[DamageKind.UNKNOWN_FILE] <= 2
        assert sum(upload.exists() for upload in uploads) >= 4
        for job_id in jobs[2:]:
            await at.http.post(f"/v1/jobs/{job_id}/cancel")


async def test_a_periodic_run_is_one_run_of_all_replicas_and_its_findings_are_metrics(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exported = {metric: Exported() for metric in (DAMAGE, DOCTOR_RAN, DOCTOR_TOOK)}
    for metric, recorder in exported.items():
        monkeypatch.setattr(metric, "_exported", recorder)
    url = f"sqlite:///{tmp_path}/data/jobs.sqlite"
    async with furnished(url, tmp_path / "data") as at:
        runs = at.service.parts.doctor_runs
        await runs.run_due()
        await runs.publish()
        assert exported[DOCTOR_RAN].values == {(): 0}
        await MENDABLE["counts"][1](at)
        monkeypatch.setattr(runs_module, "_FIRST_S", 0.0)
        async with asyncio.timeout(30):
            while not exported[DOCTOR_RAN].values[()]:
                await runs.run_due()
                await runs.publish()
                await asyncio.sleep(0.1)
        found = {kind for (kind,), number in exported[DAMAGE].values.items() if number}
        assert found == {DamageKind.COUNTS_WRONG}
        assert (await at.examine()).found == {DamageKind.COUNTS_WRONG: 1}  # it does not mend
        # A replica that starts, or looks again, in the same period begins no other run.
        monkeypatch.setattr(runs, "_scheduled", "")
        for _ in range(3):
            await runs.run_due()
        rows = await DBOS.list_workflows_async(name=DOCTOR)
        assert [row.status for row in rows] == ["SUCCESS"]


async def test_what_changes_during_a_run_is_no_damage(
    job_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything changes between the inventory of the vectors and the look at the catalogue."""
    async with furnished(job_database, tmp_path / "data") as at:
        inventory = at.service.retriever.inventory

        async def meddle() -> None:
            monkeypatch.setattr(at.service.retriever, "inventory", inventory)
            await at.upload("red zebra.md", "red zebra 4")
            await at.upload("new.md", "a giraffe")
            await at.http.delete(f"/v1/documents/{at.documents['green okapi']}")
            changed = f"/v1/documents/{at.documents['blue tapir']}"
            await at.http.post(changed, json={"attributes": {"colour": "blue"}})

        async def outdated(index: str, limit: int, after: str | None = None) -> list[StoredPoint]:
            page = await inventory(index, limit, after)
            await meddle()
            return page

        monkeypatch.setattr(at.service.retriever, "inventory", outdated)
        assert (await at.examine()).record()["kinds"] == []
        assert "giraffe" in await at.found("default", "giraffe")


@pytest.mark.long
async def test_a_report_names_nothing_that_is_erased_during_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path}/data/jobs.sqlite"
    async with furnished(url, tmp_path / "data") as at:
        await LASTING["content missing"][1](at)
        (kind,) = (await at.examine()).record()["kinds"]
        assert kind["examples"][0]["document_id"] == at.documents["green okapi"]
        inventory = at.service.retriever.inventory

        async def erase(index: str, limit: int, after: str | None = None) -> list[StoredPoint]:
            monkeypatch.setattr(at.service.retriever, "inventory", inventory)
            body = {"document_id": at.documents["blue tapir"]}
            assert (await at.http.post("/v1/erasures", json=body)).status_code == 202
            return await inventory(index, limit, after)

        monkeypatch.setattr(at.service.retriever, "inventory", erase)
        report = (await at.examine()).record()
        assert report["left"] >= 1
        assert not any(kind["examples"] for kind in report["kinds"])


@pytest.mark.long
async def test_what_waits_for_the_end_of_a_backup_is_no_damage(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/data/jobs.sqlite"
    async with furnished(url, tmp_path / "data") as at:
        parts = at.service.parts
        await MENDABLE["left waiting"][1](at)
        token = await parts.catalogue.backups.begin()
        await at.upload("red zebra.md", "red zebra 4")  # the version before is kept
        assert (await at.examine()).record()["kinds"] == []
        await parts.catalogue.backups.end(token)
        assert (await at.examine()).found == {DamageKind.LEFT_WAITING: 1}
        await reconcile(parts.catalogue, parts.searching, parts.files)
        assert (await at.examine()).record()["kinds"] == []
        removed = {point.version for point in await points_of(at, "red zebra")}
        assert removed == {4}


async def points_of(at: Furnished, words: str) -> list[StoredPoint]:
    of_document = COLLECTION, at.documents[words]
    return await at.service.store.inventory((await at.index()).name, 100, None, of_document)


class Exported:
    """In place of Ray's: the values that were set."""

    def __init__(self) -> None:
        self.values: dict[tuple[str, ...], float] = {}

    def set(self, value: float, labels: dict[str, str]) -> None:
        self.values[tuple(labels.values())] = value


async def run_command(config: Path, *arguments: str) -> tuple[int, str, str]:
    command = sys.executable, "-m", "serve_app.doctor", str(config), *arguments
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, cwd=ROOT
    )
    output, error = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, output.decode(), error.decode()


def page_of(database: Path, name: str) -> range:
    """Return the bytes of the first page of an index in a SQLite file."""
    with contextlib.closing(sqlite3.connect(database)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        (number,) = connection.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = ?", (name,)
        ).fetchone()
        (size,) = connection.execute("PRAGMA page_size").fetchone()
    return range((number - 1) * size, number * size)
