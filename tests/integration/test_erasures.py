"""Erasures: of a key or a document nothing is left on the disk, and everything else answers."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from deployments.catalogue.entries import ErasureEntry
from deployments.databases import create_engine, is_sqlite
from deployments.file_store import CHUNKS, RECHUNKED
from deployments.retriever.edge.store import EdgeStore
from deployments.retriever.embedding import read_as
from tests.support.api_keys import ALICE, BOB
from tests.support.job_clients import ENDED
from tests.support.job_engine import Images
from tests.support.leftovers import files_with
from tests.support.paths import ROOT
from tests.support.postgres import LONG_ON_POSTGRES
from tests.support.whole_service import (
    WholeService,
    configuration,
    vector_of,
    whole_service,
)

pytestmark = pytest.mark.anyio

TIMEOUT_S = 60.0
STUCK = 4711  # the seed of a picture that is never finished


@dataclass
class Tenant:
    """A key's client; `secret` is a word in everything that it stores."""

    http: httpx.AsyncClient
    secret: str = field(default_factory=lambda: f"zebra{secrets.token_hex(6)}")
    versions: list[str] = field(default_factory=list)
    jobs: int = 0
    document: str = ""
    file: str = ""
    batched: str = ""
    label: str = field(default_factory=lambda: f"tapir{secrets.token_hex(6)}")
    store: str = ""
    picture: str = ""
    responses: list[str] = field(default_factory=list)

    async def upload(
        self, name: str, content: str, collection: str = "default", status: str = "succeeded"
    ) -> dict[str, Any]:
        answer = await self.http.post(
            "/upload", files={"file": (name, content)}, data={"collection": collection}
        )
        assert answer.status_code in {200, 202}, answer.text
        uploaded: dict[str, Any] = answer.json()
        self.jobs += 1
        assert (await self.ended(uploaded["job_id"]))["status"] == status
        return uploaded

    async def ended(self, job_id: str) -> dict[str, Any]:
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                job: dict[str, Any] = (await self.http.get(f"/v1/jobs/{job_id}")).json()
                if job["status"] in ENDED:
                    return job
                await asyncio.sleep(0.05)

    async def picture_job(self, prompt: str, seed: int) -> str:
        answer = await self.http.post(
            "/generate/image/background",
            json={"prompt": prompt, "seed": seed, "steps": 2},
        )
        assert answer.status_code == 202, answer.text
        self.jobs += 1
        return str(answer.json()["job_id"])

    async def replace(self, times: int) -> None:
        """Upload a document in several versions, each with a word of its own."""
        for _ in range(times):
            word = f"okapi{secrets.token_hex(6)}"
            self.versions.append(word)
            uploaded = await self.upload(f"{self.secret}.md", f"{self.secret} {word}")
        self.document = uploaded["document_id"]

    async def furnish(self) -> None:
        """Store something of every kind."""
        await self.replace(3)
        await self.upload(f"{self.secret}-two.md", f"{self.secret} in a collection", self.secret)
        await self.upload(f"{self.secret}-bad.md", "bad", status="failed")
        self.file = await self.keep(f"kept {self.secret}")
        store = await self.http.post(
            "/v1/vector_stores",
            json={
                "name": f"store {self.secret}",
                "metadata": {"about": self.secret},
                "file_ids": [self.file],
            },
        )
        self.store = store.json()["id"]
        self.jobs += 1
        await self.attached(self.store)
        self.batched = await self.keep(f"batched {self.secret}")
        await self.attach_batch(self.batched)
        self.picture = await self.picture_job(f"a circle {self.secret}", 3)
        assert (await self.ended(self.picture))["status"] == "succeeded"
        await self.respond()

    async def respond(self) -> None:
        """Store a conversation with a response, and a response in the background."""
        said = {"role": "user", "content": f"say {self.secret}"}
        made = await self.http.post("/v1/conversations", json={"items": [said]})
        ask = {"model": "small", "input": [said]}
        for more in ({"conversation": made.json()["id"]}, {"background": True}):
            answer = await self.http.post("/v1/responses", json=ask | more)
            assert answer.status_code == 200, answer.text
            self.responses.append(answer.json()["id"])
        self.jobs += 1
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                answer = await self.http.get(f"/v1/responses/{self.responses[1]}")
                if answer.json()["status"] == "completed":
                    break
                await asyncio.sleep(0.05)

    async def keep(self, content: str) -> str:
        kept = await self.http.post(
            "/v1/files",
            files={"file": (f"{content}.txt", content)},
            data={"purpose": "user_data"},
        )
        return str(kept.json()["id"])

    async def attach_batch(self, file: str) -> None:
        """Attach a file by a batch, with the label as an attribute."""
        url = f"/v1/vector_stores/{self.store}/file_batches"
        files = [{"file_id": file, "attributes": {"label": self.label}}]
        batch = await self.http.post(url, json={"files": files})
        assert batch.status_code == 200, batch.text
        self.jobs += 1
        async with asyncio.timeout(TIMEOUT_S):
            while (await self.http.get(f"{url}/{batch.json()['id']}")).json()[
                "status"
            ] != "completed":
                await asyncio.sleep(0.05)

    async def attached(self, store: str) -> None:
        url = f"/v1/vector_stores/{store}/files/{self.file}"
        async with asyncio.timeout(TIMEOUT_S):
            while (await self.http.get(url)).json()["status"] != "completed":
                await asyncio.sleep(0.05)

    async def found(self, collection: str = "default", words: str = "") -> str:
        answer = await self.http.post(
            f"/v1/vector_stores/{collection}/search",
            json={"query": words or self.secret, "max_num_results": 50},
        )
        return answer.text

    async def erase(self, **body: str) -> dict[str, Any]:
        answer = await self.http.post("/v1/erasures", json=body)
        assert answer.status_code == 202, answer.text
        return await self.erased(answer.json()["id"])

    async def erased(self, erasure_id: str) -> dict[str, Any]:
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                erasure: dict[str, Any] = (await self.http.get(f"/v1/erasures/{erasure_id}")).json()
                if erasure["status"] == "completed":
                    return erasure
                await asyncio.sleep(0.05)

    async def check_answers(self) -> None:
        """Check that everything of `furnish` is there."""
        assert self.versions[-1] in await self.found()
        assert f"{self.secret} in a collection" in await self.found(self.secret)
        in_store = await self.found(self.store)
        assert f"kept {self.secret}" in in_store
        assert f"batched {self.secret}" in in_store
        assert self.label in in_store
        content = await self.http.get(f"/v1/files/{self.file}/content")
        assert content.text == f"kept {self.secret}"
        image = await self.http.get(f"/v1/images/{self.picture}/0.png")
        assert image.status_code == 200
        versions = (await self.http.get(f"/v1/documents/{self.document}/versions")).json()["data"]
        assert len(versions) == len(self.versions)
        jobs = (await self.http.get("/v1/jobs", params={"limit": 100})).json()["data"]
        assert len(jobs) == self.jobs


@pytest.fixture
async def running(job_database: str, tmp_path: Path) -> AsyncIterator[WholeService]:
    async with whole_service(
        job_database, tmp_path / "data", images=Images(stuck_at=STUCK)
    ) as service:
        yield service


@pytest.fixture
def database(job_database: str) -> str:
    return job_database


def rows_with(url: str, word: str) -> list[str]:
    """Name the tables of PostgreSQL that contain a word."""
    if is_sqlite(url):
        return []  # its file is in the folder that is searched
    engine = create_engine(url, connections=1, sqlite_timeout_s=1)
    metadata = sa.MetaData()
    for schema in ("public", "dbos"):
        metadata.reflect(engine, schema)
    with engine.connect() as connection:
        found = [
            name
            for name, table in metadata.tables.items()
            if word in str(connection.execute(table.select()).all())
        ]
    engine.dispose()
    return found


@LONG_ON_POSTGRES
async def test_an_erased_key_leaves_nothing_on_the_disk(
    running: WholeService, database: str, tmp_path: Path
) -> None:
    async with running.client(ALICE) as one, running.client(BOB) as other:
        alice, bob = Tenant(one), Tenant(other)
        for tenant in (alice, bob):
            await tenant.furnish()
            await tenant.check_answers()
        # This erasure is recorded under the name of a collection.
        nothing = await alice.erase(document_id="doc_" + "0" * 32, collection=alice.secret)
        assert not any(nothing["removed"].values())
        stuck = await alice.picture_job(f"never made {alice.secret}", STUCK)
        vectors = [
            vector_of(read_as(f"title of {alice.secret}.md", "", f"{alice.secret} {word}"))
            for word in alice.versions
        ]
        assert files_with(tmp_path, alice.secret)
        assert files_with(tmp_path, vectors[-1].tobytes())

        wrong = await one.post("/v1/erasures", json={"confirm": "bob"})
        assert wrong.status_code == 400
        assert wrong.json()["error"]["code"] == "not_confirmed"
        assert alice.versions[-1] in await alice.found()
        begun = (await one.post("/v1/erasures", json={"confirm": "alice"})).json()
        assert (await one.post("/v1/erasures", json={"confirm": "alice"})).json() == begun
        refused = await asyncio.gather(
            one.post("/upload", files={"file": ("a.md", "some text")}),
            one.post("/v1/files", files={"file": ("a.md", "b")}, data={"purpose": "user_data"}),
            one.post("/v1/vector_stores", json={"name": "another"}),
            one.post("/generate/image/background", json={"prompt": "a circle"}),
            one.post("/v1/responses", json={"model": "small", "input": "a circle"}),
        )
        assert [answer.json()["error"]["code"] for answer in refused] == ["being_erased"] * 5
        # Another key is not held up.
        await bob.upload(f"{bob.secret}-meanwhile.md", "uploaded meanwhile", "meanwhile")

        report = await alice.erased(begun["id"])
        assert report["removed"] == {
            "collections": 3,
            "documents": 5,
            "versions": 7,
            "files": 2,
            "jobs": 10,
            "bytes": report["removed"]["bytes"],
            "responses": 2,
            "conversations": 1,
        }
        assert report["removed"]["bytes"] > 100
        assert files_with(tmp_path, alice.secret, alice.label, *alice.versions) == []
        assert files_with(tmp_path, *(vector.tobytes() for vector in vectors)) == []
        assert rows_with(database, alice.secret) == []
        ids = (alice.document, alice.file, alice.store, alice.picture, stuck, *alice.responses)
        assert files_with(tmp_path, *ids) == []
        for path in ("/v1/documents", "/v1/files", "/v1/jobs"):
            assert (await one.get(path)).json()["data"] == []
        assert (await one.get(f"/v1/vector_stores/{alice.store}")).status_code == 404

        await bob.check_answers()

        # The same names can be used again.
        alice.versions.clear()
        await alice.replace(1)
        assert alice.versions[-1] in await alice.found()
        uploaded = f"{bob.secret}-meanwhile.md"
        (document,) = (await other.get("/v1/documents?collection=meanwhile")).json()["data"]
        assert document["filename"] == uploaded


def leave_new_chunks(data: Path, text: str) -> None:
    """Leave what a killed worker leaves that has cut a document anew."""
    path = data / "files" / CHUNKS / f"{RECHUNKED}1234" / "0.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@LONG_ON_POSTGRES
async def test_an_erased_document_leaves_nothing_of_any_version(
    running: WholeService, database: str, tmp_path: Path
) -> None:
    async with running.client(ALICE) as http:
        tenant, erased = Tenant(http), Tenant(http)
        await tenant.furnish()
        await erased.replace(3)
        report = await erased.erase(document_id=erased.document)
        assert report["removed"] == {
            "collections": 0,
            "documents": 1,
            "versions": 3,
            "files": 0,
            "jobs": 3,
            "bytes": len(f"{erased.secret} {erased.versions[0]}"),
            "responses": 0,
            "conversations": 0,
        }
        assert files_with(tmp_path, erased.secret, *erased.versions) == []
        assert rows_with(database, erased.secret) == []
        assert (await http.get(f"/v1/documents/{erased.document}")).status_code == 404
        await tenant.check_answers()

        # A document that has been deleted is erased too, with its kept file.
        attached = f"doc_{tenant.file.removeprefix('file-')}"
        await http.delete(f"/v1/vector_stores/{tenant.store}/files/{tenant.file}")
        assert files_with(tmp_path, f"kept {tenant.secret}")
        report = await tenant.erase(document_id=attached, collection=tenant.store)
        assert report["removed"]["files"] == 1
        assert files_with(tmp_path, f"kept {tenant.secret}") == []
        assert (await http.get(f"/v1/files/{tenant.file}")).status_code == 404
        # Of a file of a batch, the batch forgets the attributes.
        assert files_with(tmp_path, tenant.label) or rows_with(database, tenant.label)
        batched = f"doc_{tenant.batched.removeprefix('file-')}"
        report = await tenant.erase(document_id=batched, collection=tenant.store)
        assert (report["removed"]["documents"], report["removed"]["files"]) == (1, 1)
        assert files_with(tmp_path, tenant.label, f"batched {tenant.secret}") == []
        assert rows_with(database, tenant.label) == []
        assert tenant.versions[-1] in await tenant.found()


@pytest.mark.long
async def test_an_erasure_waits_for_the_end_of_a_backup(
    running: WholeService, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A backup begins right after the erasure."""
    catalogue, store = running.parts.catalogue, running.store
    claim, tokens, passes = catalogue.erasures.claim, list[int](), list[int]()
    held = catalogue.removals.held

    async def claimed(age_s: float, limit: int) -> list[ErasureEntry]:
        found = await claim(age_s, limit)
        if found and not tokens:
            tokens.append(await catalogue.backups.begin())
        return found

    async def counted() -> bool:
        passes.append(1)
        return await held()

    async with running.client(ALICE) as http:
        tenant = Tenant(http)
        await tenant.replace(1)
        vector = vector_of(
            read_as(f"title of {tenant.secret}.md", "", f"{tenant.secret} {tenant.versions[0]}")
        ).tobytes()
        copied = tmp_path / "data" / "vectors" / "backups" / "1" / "copied"
        copied.parent.mkdir(parents=True)
        copied.touch()
        monkeypatch.setattr(catalogue.erasures, "claim", claimed)
        begun = await http.post("/v1/erasures", json={"document_id": tenant.document})
        url = f"/v1/erasures/{begun.json()['id']}"
        async with asyncio.timeout(TIMEOUT_S):
            while not tokens:
                await asyncio.sleep(0.05)
        monkeypatch.setattr(catalogue.removals, "held", counted)
        async with asyncio.timeout(TIMEOUT_S):
            while len(passes) < 8 and (await http.get(url)).json()["status"] != "completed":
                await asyncio.sleep(0.05)
        assert (await http.get(url)).json()["status"] != "completed"
        assert files_with(tmp_path, vector)
        assert copied.exists()
        assert isinstance(store, EdgeStore)
        async with store._backing_up:
            await store.purge(0)
        assert copied.exists()
        await catalogue.backups.end(tokens[0])
        await tenant.erased(begun.json()["id"])
        assert files_with(tmp_path, vector) == []
        assert not copied.exists()


async def erased_by_command(config: Path, *arguments: str) -> tuple[int, str]:
    command = sys.executable, "-m", "serve_app.erase", str(config), *arguments
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=ROOT
    )
    output, _ = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    return process.returncode or 0, output.decode()


@LONG_ON_POSTGRES
async def test_a_command_erases_whether_the_service_runs_or_not(
    job_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    config = configuration(tmp_path)
    monkeypatch.setenv("GENSERVE_DATABASE_URL", job_database)
    wrong = await erased_by_command(config, "--key", "alice")
    assert wrong[0] == 2
    async with (
        whole_service(job_database, data, images=Images(stuck_at=STUCK)) as service,
        service.client(ALICE) as one,
        service.client(BOB) as other,
    ):
        alice, bob = Tenant(one), Tenant(other)
        for tenant in (alice, bob):
            await tenant.furnish()
        leave_new_chunks(data, f"{alice.secret} {alice.versions[-1]}")
        # The service does it.
        status, said = await erased_by_command(
            config, "--key", "alice", "--document", alice.document
        )
        assert (status, "1 documents in 3 versions" in said) == (0, True), said
        assert files_with(data, *alice.versions) == []
        assert "in a collection" in await alice.found(alice.secret)
        # What is begun here is finished below.
        await alice.picture_job(f"never made {alice.secret}", STUCK)
        begun = (await one.post("/v1/erasures", json={"confirm": "alice"})).json()
    assert files_with(tmp_path, alice.secret) or rows_with(job_database, alice.secret)
    leave_new_chunks(data, alice.secret)
    status, said = await erased_by_command(config, "--key", "alice", "--everything")
    assert (status, "erased: 3 collections, 4 documents" in said) == (0, True), said
    assert files_with(tmp_path, alice.secret) == []
    assert rows_with(job_database, alice.secret) == []
    async with (
        whole_service(job_database, data) as service,
        service.client(ALICE) as one,
        service.client(BOB) as other,
    ):
        bob.http, alice.http = other, one
        await bob.check_answers()
        assert (await alice.erased(begun["id"]))["removed"]["documents"] == 4
