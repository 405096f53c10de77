"""Backup and restore: what was acknowledged before a backup began answers after its restore.

Whatever the copied database refers to is replaced, deleted or finished right after it was copied,
before vectors and files are.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml

from deployments.catalogue.opening import open_catalogue
from deployments.catalogue.removals import Removal
from deployments.errors import Conflict
from deployments.jobs.reconciliation import reconcile
from serve_app.backup import command
from serve_app.backup.command import back_up
from serve_app.backup.database import copy_database
from serve_app.backup.manifest import MANIFEST, Manifest
from serve_app.backup.restore import restore
from serve_app.launch.configuration import read, settings
from serve_app.launch.progress import StartError
from serve_app.settings import AppSettings
from tests.support.api_keys import ALICE
from tests.support.job_clients import ENDED
from tests.support.job_engine import Images
from tests.support.paths import ROOT
from tests.support.postgres import client_programs
from tests.support.processes import started
from tests.support.qdrant_stand_in import qdrant_stand_in
from tests.support.whole_service import WholeService, whole_service

pytestmark = pytest.mark.anyio

TIMEOUT_S = 60.0
STUCK = 4711  # the seed of a picture that is never finished


@dataclass
class Client:
    """Uses the service, and knows what it was promised."""

    http: httpx.AsyncClient
    documents: dict[str, dict[str, Any]] = field(default_factory=dict)  # by their names

    async def upload(self, name: str, content: str, **form: str) -> dict[str, Any]:
        answer = await self.http.post("/upload", files={"file": (name, content)}, data=form)
        assert answer.status_code in {200, 202}, answer.text
        uploaded: dict[str, Any] = answer.json()
        return uploaded

    async def add(self, name: str, content: str, **form: str) -> dict[str, Any]:
        uploaded = await self.upload(name, content, **form)
        assert (await self.ended(uploaded["job_id"]))["status"] == "succeeded"
        return uploaded

    async def ended(self, job_id: str) -> dict[str, Any]:
        async with asyncio.timeout(TIMEOUT_S):
            while True:
                job = await self.get(f"/v1/jobs/{job_id}")
                if job["status"] in ENDED:
                    return job
                await asyncio.sleep(0.05)

    async def get(self, path: str) -> dict[str, Any]:
        answer = await self.http.get(path)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def found(self, query: str, store: str = "default", **body: Any) -> list[str]:
        """Search, and return the first chunk of each passage; all chunks of a file are the same."""
        answer = await self.http.post(
            f"/v1/vector_stores/{store}/search", json={"query": query, **body}
        )
        assert answer.status_code == 200, answer.text
        return [one["content"][0]["text"].split("\n\n")[0] for one in answer.json()["data"]]

    async def keep(self, content: str) -> str:
        kept = await self.http.post(
            "/v1/files", files={"file": (f"{content}.txt", content)}, data={"purpose": "user_data"}
        )
        return str(kept.json()["id"])

    async def until(self, holds: Callable[[], Awaitable[bool]]) -> None:
        async with asyncio.timeout(TIMEOUT_S):
            while not await holds():
                await asyncio.sleep(0.1)


@dataclass
class Promised:
    """What was acknowledged before the backup began."""

    replaced: str
    deleted: str
    marked: str
    collection: str
    store: str
    attached: str
    kept: str
    drawn: str
    drawing: str
    slow: dict[str, Any]
    waiting: dict[str, Any]
    cancelled: dict[str, Any]


async def furnish(client: Client) -> Promised:
    """Store something of every kind; a picture is being drawn, and documents wait."""
    http = client.http
    await client.add("replaced.md", "okapi one")
    replaced = await client.add("replaced.md", "okapi two")
    deleted = await client.add("deleted.md", "zebra")
    marked = await client.add("marked.md", "tapir", attributes='{"colour": "red"}')
    await client.add("other.md", "lemur", collection="animals")
    attached, kept = await client.keep("gecko"), await client.keep("heron")
    store = (
        await http.post("/v1/vector_stores", json={"name": "s", "file_ids": [attached]})
    ).json()
    url = f"/v1/vector_stores/{store['id']}/files/{attached}"

    async def is_attached() -> bool:
        return bool((await client.get(url))["status"] == "completed")

    await client.until(is_attached)
    draw = {"prompt": "a circle", "steps": 2}
    drawn = (await http.post("/generate/image/background", json=draw | {"seed": 3})).json()
    assert (await client.ended(drawn["job_id"]))["status"] == "succeeded"
    stuck = draw | {"seed": STUCK - 1, "count": 2}  # the second one
    drawing = (await http.post("/generate/image/background", json=stuck)).json()

    async def is_drawn() -> bool:
        return bool((await client.get(f"/v1/jobs/{drawing['job_id']}"))["progress"]["done"] == 1)

    await client.until(is_drawn)
    slow = await client.upload("slow.md", "slow 3")
    waiting = await client.upload("waiting.md", "ibis waits")
    cancelled = await client.upload("cancelled.md", "dingo waits")
    return Promised(
        *(replaced["document_id"], deleted["document_id"], marked["document_id"], "animals"),
        *(store["id"], attached, kept, drawn["job_id"], drawing["job_id"]),
        *(slow, waiting, cancelled),
    )


async def change_everything(client: Client, promised: Promised) -> None:
    """Replace, delete or finish all that was promised."""
    http = client.http
    for job_id in (promised.cancelled["job_id"], promised.drawing):
        assert (await http.post(f"/v1/jobs/{job_id}/cancel")).status_code == 200
    for job in (promised.slow, promised.waiting):
        assert (await client.ended(job["job_id"]))["status"] == "succeeded"
    await client.add("replaced.md", "okapi three")
    await client.add("replaced.md", "okapi four")
    await client.add("new.md", "quokka")
    body = {"attributes": {"colour": "blue"}}
    assert (await http.post(f"/v1/documents/{promised.marked}", json=body)).status_code == 200
    for path in (
        f"/v1/documents/{promised.deleted}",
        f"/v1/files/{promised.attached}",
        f"/v1/files/{promised.kept}",
        f"/v1/vector_stores/{promised.store}",
        f"/v1/vector_stores/{promised.collection}",
    ):
        assert (await http.delete(path)).is_success
    # It takes effect at once.
    assert (await http.get(f"/v1/documents/{promised.deleted}")).status_code == 404
    assert (await http.get(f"/v1/files/{promised.kept}/content")).status_code == 404
    assert "zebra" not in await client.found("zebra")
    assert "okapi two" not in await client.found("okapi two")


async def check_everything(client: Client, promised: Promised) -> None:
    """Ask for all that was promised."""
    for job in (promised.slow, promised.waiting, promised.cancelled):
        ended = await client.ended(job["job_id"])
        assert ended["status"] == "succeeded", ended
    assert "ibis waits" in await client.found("ibis waits")
    assert "dingo waits" in await client.found("dingo waits")
    ended = await client.ended(promised.drawing)
    assert ended["status"] == "succeeded", ended
    for job_id, count in ((promised.drawn, 1), (promised.drawing, 2)):
        for number in range(count):
            picture = await client.http.get(f"/v1/images/{job_id}/{number}.png")
            assert picture.content.startswith(b"\x89PNG")
    replaced = await client.get(f"/v1/documents/{promised.replaced}")
    assert replaced["version"] == 2
    found = await client.found("okapi two")
    assert found[0] == "okapi two"
    assert {"okapi one", "okapi three", "okapi four", "quokka"}.isdisjoint(found)
    assert "zebra" in await client.found("zebra")
    red = {"type": "eq", "key": "colour", "value": "red"}

    async def is_red() -> bool:
        return await client.found("tapir", filters=red) == ["tapir"]

    await client.until(is_red)
    assert await client.found("lemur", promised.collection) == ["lemur"]
    assert await client.found("gecko", promised.store) == ["gecko"]
    for file, content in ((promised.attached, b"gecko"), (promised.kept, b"heron")):
        assert (await client.http.get(f"/v1/files/{file}/content")).content == content
    listed = {one["filename"] for one in (await client.get("/v1/documents"))["data"]}
    assert listed == {
        *("replaced.md", "deleted.md", "marked.md", "slow.md", "waiting.md", "cancelled.md")
    }
    # The content of the version before is kept, too; and what is new has a place.
    again = await client.http.post(f"/v1/documents/{promised.replaced}/restore")
    assert (await client.ended(again.json()["job_id"]))["status"] == "succeeded"
    assert "okapi one" in await client.found("okapi one")
    await client.add("replaced.md", "okapi five")
    assert (await client.found("okapi five"))[0] == "okapi five"
    await client.add("new.md", "quokka")
    assert "quokka" in await client.found("quokka")


@asynccontextmanager
async def running(
    url: str, data: Path, *, stuck: int | None = None, qdrant: str | None = None
) -> AsyncIterator[tuple[WholeService, Client]]:
    async with (
        whole_service(url, data, images=Images(stuck_at=stuck), qdrant=qdrant) as service,
        service.client(ALICE) as http,
    ):
        yield service, Client(http)


def configured(
    data: Path, url: str, monkeypatch: pytest.MonkeyPatch, qdrant: str | None = None
) -> AppSettings:
    """Read the shipped configuration with another folder, database and Qdrant server."""
    monkeypatch.setenv("GENSERVE_DATABASE_URL", url)
    document = yaml.safe_load((ROOT / "configs" / "cpu.yaml").read_text())
    args = document["applications"][0]["args"]
    args["data_dir"] = str(data)
    if qdrant is not None:
        args["retriever"] = {"store": "qdrant", "url": qdrant}
    path = data.parent / f"{data.name}.yaml"
    path.write_text(yaml.safe_dump(document))
    return settings(read(str(path)), str(path))


@dataclass
class Installation:
    """Where an installation has its database, its folder and, if not in that, its vectors."""

    url: str
    data: Path
    qdrant: str | None = None


@pytest.fixture(params=["one machine", pytest.param("cluster", marks=pytest.mark.long)])
def installations(
    request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[tuple[Installation, Installation]]:
    """Two empty ones: SQLite and embedded Qdrant, or PostgreSQL and a stand-in for a server."""
    folders = tmp_path / "data", tmp_path / "restored"
    folders[0].mkdir()
    if request.param == "one machine":
        one, other = (Installation(f"sqlite:///{each}/jobs.sqlite", each) for each in folders)
        yield one, other
        return
    address: str = request.getfixturevalue("postgres_database")
    name = f"test_{os.urandom(6).hex()}"
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    addresses = address, address.rsplit("/", 1)[0] + f"/{name}"
    servers = qdrant_stand_in(), qdrant_stand_in()
    with started(servers[0], tmp_path / "0.log"), started(servers[1], tmp_path / "1.log"):
        one, other = map(Installation, addresses, folders, (server.ready_url for server in servers))
        yield one, other


@pytest.fixture(autouse=True)
def programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", f"{client_programs()}{os.pathsep}{os.environ['PATH']}")


def then(change: Callable[[], Awaitable[None]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a change happen between the copy of the database and that of the rest."""
    loop = asyncio.get_running_loop()

    async def changed() -> None:
        await change()

    def copy_and_change(url: str, folder: Path) -> Path:
        copied = copy_database(url, folder)
        asyncio.run_coroutine_threadsafe(changed(), loop).result(TIMEOUT_S)
        return copied

    monkeypatch.setattr(command, "copy_database", copy_and_change)


async def test_what_was_acknowledged_before_answers_after_the_restore(
    installations: tuple[Installation, Installation],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    one, other = installations
    folder = tmp_path / "backup"
    async with running(one.url, one.data, stuck=STUCK, qdrant=one.qdrant) as (service, client):
        promised = await furnish(client)
        parts = service.parts
        monkeypatch.setattr("deployments.jobs.reconciliation._AGE_S", 0.0)

        async def change() -> None:
            await change_everything(client, promised)
            await reconcile(parts.catalogue, parts.searching, parts.files)

        then(change, monkeypatch)
        manifest = await back_up(configured(one.data, one.url, monkeypatch, one.qdrant), folder)
        assert manifest.files
        # What had to wait for the backup is removed now.
        await reconcile(parts.catalogue, parts.searching, parts.files)
        assert await parts.catalogue.removals.claim(0) is None
        contents = sorted(path.name for path in (one.data / "files" / "contents").glob("*/*/*"))
        assert contents == ["1", "1", "1", "1", "3", "4"]
        assert await parts.files.stored("kept") == []
        assert len(await parts.files.stored("images")) == 1
    assert not (one.data / "vectors" / "backups").exists()

    await restore(folder, configured(other.data, other.url, monkeypatch, other.qdrant))
    async with running(other.url, other.data, qdrant=other.qdrant) as (_, client):
        await check_everything(client, promised)


async def test_without_a_service_a_backup_is_taken_again_and_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, restored, folder = tmp_path / "data", tmp_path / "restored", tmp_path / "backup"
    url, into_url = (f"sqlite:///{each}/jobs.sqlite" for each in (data, restored))
    data.mkdir()
    async with running(url, data) as (_, client):
        await client.add("one.md", "okapi one")
        kept = await client.keep("heron")
    (path,) = (data / "files" / "kept").rglob("file-*")
    saved = folder / "files" / path.relative_to(data / "files")

    def to_back_up() -> AppSettings:
        return configured(data, url, monkeypatch)

    def to_restore() -> AppSettings:
        return configured(restored, into_url, monkeypatch)

    # One that fails leaves nothing that could be taken for a backup.
    with monkeypatch.context() as failing:
        failing.setattr(command, "save_files", None)
        with pytest.raises(TypeError):
            await back_up(to_back_up(), folder)
    with pytest.raises(StartError, match="not finished"):
        await restore(folder, to_restore())
    first = await back_up(to_back_up(), folder)
    copied = saved.stat()
    with monkeypatch.context() as failing:
        failing.setattr(command, "save_files", None)
        with pytest.raises(TypeError):
            await back_up(to_back_up(), folder)
    assert Manifest.read(folder) == first
    async with running(url, data) as (_, client):
        await client.add("one.md", "okapi two")
    again = await back_up(to_back_up(), folder)
    assert again.folder != first.folder
    assert [each.name for each in folder.glob("parts-*")] == [again.folder]
    assert saved.stat().st_mtime_ns == copied.st_mtime_ns  # it was not copied again
    with pytest.raises(StartError, match="nor a backup: name another folder"):
        await back_up(to_back_up(), data)
    await check_refusals(folder, saved, to_back_up, to_restore, monkeypatch)
    assert not restored.exists()
    await restore(folder, to_restore())
    async with running(into_url, restored) as (_, client):
        assert await client.found("okapi") == ["okapi two"]
        assert (await client.http.get(f"/v1/files/{kept}/content")).content == b"heron"


async def check_refusals(
    folder: Path,
    saved: Path,
    occupied: Callable[[], AppSettings],
    to_restore: Callable[[], AppSettings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(StartError, match="has data of GenServe"):
        await restore(folder, occupied())
    monkeypatch.setattr("serve_app.backup.restore.is_known_schema", lambda _: False)
    with pytest.raises(StartError, match="that this version does not know"):
        await restore(folder, to_restore())
    monkeypatch.undo()
    change(saved, "heron", "haron")
    with pytest.raises(StartError, match="damaged"):
        await restore(folder, to_restore())
    change(saved, "haron", "heron")
    for lie in ("../parts-", "/parts-"):
        change(folder / MANIFEST, "parts-", lie)
        with pytest.raises(StartError, match="not the manifest"):
            await restore(folder, to_restore())
        change(folder / MANIFEST, lie, "parts-")


def change(path: Path, before: str, after: str) -> None:
    content = path.read_bytes()
    path.write_bytes(content.replace(before.encode(), after.encode()))


async def test_a_hold_belongs_to_one_backup_and_ends_by_itself(
    job_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = open_catalogue(job_database)
    backups = catalogue.backups
    try:
        token = await backups.begin()
        assert await catalogue.removals.held()
        with pytest.raises(Conflict, match="another backup"):
            await backups.begin()
        token = await backups.renew(token)
        number = await backups.want_vectors()
        assert await backups.wanted() == number
        assert await backups.made(number) is None
        await backups.set_made(number, made=False)
        assert (await backups.wanted(), await backups.made(number)) == (None, False)
        await backups.end(token)
        assert not await catalogue.removals.held()

        monkeypatch.setattr("deployments.catalogue.backups.HOLD_S", 0.0)
        killed = await backups.begin()
        assert not await catalogue.removals.held()
        with pytest.raises(Conflict, match="interrupted for too long"):
            await backups.renew(killed)
        monkeypatch.undo()
        token = await backups.begin()
        await backups.end(killed)
        assert await catalogue.removals.held()
    finally:
        catalogue.close()


@pytest.mark.long
async def test_a_removal_that_a_short_backup_defers_is_not_forgotten(job_database: str) -> None:
    catalogue = open_catalogue(job_database)
    removals = catalogue.removals
    removal = Removal("alice.papers", "doc_1")
    try:
        token = await catalogue.backups.begin()
        assert await removals.deferred(removal)
        await catalogue.backups.end(token)
        claimed = await removals.claim(0)
        assert claimed == removal
        # A backup begins before its vectors are removed, and ends before that is recorded.
        token = await catalogue.backups.begin()
        assert await removals.deferred(removal)
        await catalogue.backups.end(token)
        await removals.done(removal)
        assert await removals.claim(0) == removal
        await removals.done(removal)
        assert await removals.claim(0) is None
    finally:
        catalogue.close()
