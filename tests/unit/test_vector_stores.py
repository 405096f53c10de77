"""`/v1/vector_stores`: names, attached files and how they stand."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, TypeAlias

import openai
import pytest

from deployments.errors import Overloaded, Unavailable
from deployments.file_store import FileStore
from deployments.types import Chunking, Document, IngestSpec, JobStatus
from serve_app.testing import Fakes
from tests.support.openai_client import openai_client
from tests.support.vector_stores import STORES, keep, make

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("below_a_path")]


Values: TypeAlias = dict[str, str | float | bool]
FILES = "/default/files/file-" + "0" * 32


@pytest.fixture
def fakes(tmp_path: Path) -> Fakes:
    return Fakes(files=FileStore(str(tmp_path)))


async def finish(fakes: Fakes, status: JobStatus, **changes: Any) -> None:
    """End the newest job, as the job runner would."""
    job = list(fakes.jobs.known.values())[-1]
    assert isinstance(job.spec, IngestSpec)
    if status is JobStatus.SUCCEEDED:
        spec = job.spec
        await fakes.retriever.publish(
            Document(
                spec.document_id, spec.collection, spec.filename, "A title", "text/plain",
                spec.size_bytes, None, 1, 1e9, job.id,
            )
        )  # fmt: skip
    await fakes.jobs.change(job.id, status=status, **changes)


async def test_a_store_has_its_name_and_what_was_noted_of_it(fakes: Fakes) -> None:
    async with fakes.client() as http:
        store = await make(http, name="Reports 2026", metadata={"team": "north"})
        assert store["id"].startswith("vs_")
        assert (store["name"], store["metadata"]) == ("Reports 2026", {"team": "north"})
        assert store["file_counts"]["total"] == 0
        changed = (await http.post(f"{STORES}/{store['id']}", json={"name": "Old"})).json()
        assert (changed["name"], changed["metadata"]) == ("Old", {"team": "north"})
        assert (await http.get(f"{STORES}/{store['id']}")).json() == changed
        gone = await http.delete(f"{STORES}/{store['id']}")
        assert gone.json()["deleted"] is True
        for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/files")):
            answer = await http.request(method, f"{STORES}/{store['id']}{path}")
            assert answer.status_code == 404


async def test_stores_are_listed_newest_first_and_default_is_always_there(fakes: Fakes) -> None:
    async with fakes.client() as http:
        made = {(await make(http, name=str(n)))["id"] for n in range(3)}
        first = (await http.get(STORES, params={"limit": 2})).json()
        assert first["has_more"]
        rest = (await http.get(STORES, params={"after": first["last_id"]})).json()
        ids = [store["id"] for store in first["data"] + rest["data"]]
        assert (set(ids), ids[-1], rest["has_more"]) == ({*made, "default"}, "default", False)
        # Who deletes what was listed goes on from behind what is no longer there.
        await http.delete(f"{STORES}/{first['last_id']}")
        again = (await http.get(STORES, params={"after": first["last_id"]})).json()
        assert [store["id"] for store in again["data"]] == [each["id"] for each in rest["data"]]
        back = await http.get(STORES, params={"before": "vs_x"})
        assert (back.status_code, back.json()["error"]["param"]) == (400, "before")


async def test_a_file_is_attached_by_a_job_and_stands_as_it_does(fakes: Fakes) -> None:
    async with fakes.client() as http:
        file = await keep(http, "a.txt", b"Snow is white.")
        store = await make(http, name="a", file_ids=[file["id"]])
        assert (store["status"], store["file_counts"]["in_progress"]) == ("in_progress", 1)
        path = f"{STORES}/{store['id']}/files/{file['id']}"
        assert (await http.get(path)).json()["status"] == "in_progress"
        spec = next(iter(fakes.jobs.known.values())).spec
        assert isinstance(spec, IngestSpec)
        assert spec.document_id == "doc_" + file["id"].removeprefix("file-")
        # It is read where it is kept, and not copied.
        assert (await fakes.files.get(spec.upload_path))[spec.start_byte :] == b"Snow is white."
        assert await fakes.files.names("uploads") == []
        await finish(fakes, JobStatus.SUCCEEDED)
        stands = (await http.get(path)).json()
        assert (stands["status"], stands["usage_bytes"]) == ("completed", 14)
        counts = (await http.get(f"{STORES}/{store['id']}")).json()["file_counts"]
        assert (counts["completed"], counts["total"]) == (1, 1)
        listed = (await http.get(f"{STORES}/{store['id']}/files")).json()
        assert [each["id"] for each in listed["data"]] == [file["id"]]
        failed = await http.get(f"{STORES}/{store['id']}/files", params={"filter": "failed"})
        assert failed.json()["data"] == []
        # Long after, when its job is forgotten, it is known still.
        fakes.jobs.known.clear()
        assert (await http.get(path)).json()["status"] == "completed"
        assert (await http.delete(path)).json()["deleted"] is True
        assert (await http.get(path)).status_code == 404
        assert fakes.retriever.published == {}
        assert (await http.get(f"/v1/files/{file['id']}")).status_code == 200


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("no_text", "invalid_file"),
        ("unsupported_media_type", "unsupported_file"),
        ("internal_error", "server_error"),
    ],
)
async def test_a_file_that_cannot_be_read_says_why(fakes: Fakes, code: str, shown: str) -> None:
    async with fakes.client() as http:
        file = await keep(http, "a.txt", b"Snow is white.")
        store = await make(http, file_ids=[file["id"]])
        await finish(fakes, JobStatus.FAILED, error_code=code, error_message="for a reason")
        answer = (await http.get(f"{STORES}/{store['id']}/files/{file['id']}")).json()
        assert answer["status"] == "failed"
        assert answer["last_error"] == {"code": shown, "message": "for a reason"}
        counts = (await http.get(f"{STORES}/{store['id']}")).json()["file_counts"]
        assert (counts["failed"], counts["total"]) == (1, 1)
        again = await http.post(f"{STORES}/{store['id']}/files", json={"file_id": file["id"]})
        assert again.json()["status"] == "in_progress"


async def test_a_store_or_file_that_goes_stops_the_jobs_of_it(fakes: Fakes) -> None:
    async with fakes.client() as http:
        files = [await keep(http, f"{n}.txt", b"Snow is white.") for n in range(3)]
        store = await make(http, file_ids=[file["id"] for file in files])
        job, *others = fakes.jobs.known
        await http.delete(f"{STORES}/{store['id']}/files/{files[0]['id']}")
        assert fakes.jobs.known[job].status is JobStatus.CANCELLED
        await http.delete(f"{STORES}/{store['id']}")
        assert {fakes.jobs.known[each].status for each in others} == {JobStatus.CANCELLED}


async def test_files_are_found_by_their_attributes(fakes: Fakes) -> None:
    fakes.jobs.runs = True
    hostile: Values = {'"].a[0]\0': "'; --", "année": 2026, "ratio": 0.5, "draft": False}
    given: dict[str, Values | None] = {"old": {"year": 1}, "new": hostile, "bare": None}
    async with openai_client(fakes.app()) as (client, _):
        store = (await client.vector_stores.create(name="a")).id
        files = {}
        for name, attributes in given.items():
            content = f"{name}.txt", f"{name} snow".encode()
            file = await client.files.create(file=content, purpose="user_data")
            files[name] = file.id
            attached = await client.vector_stores.files.create(
                store, file_id=file.id, attributes=attributes
            )
            assert attached.attributes == (attributes or {})
        shown = await client.vector_stores.files.retrieve(files["new"], vector_store_id=store)
        assert shown.attributes == hostile

        async def found(kind: str, key: str, value: Any) -> set[str]:
            filters: Any = {"type": kind, "key": key, "value": value}
            page = await client.vector_stores.search(store, query="snow", filters=filters)
            return {each.filename.removesuffix(".txt") for each in page.data}

        assert await found("eq", "année", 2026.0) == {"new"}
        assert await found("ne", "draft", value=False) == {"old", "bare"}
        assert await found("lt", "year", 2) == {"old"}
        changed = await client.vector_stores.files.update(
            files["old"], vector_store_id=store, attributes={"year": 5, "page": "cover"}
        )
        assert changed.attributes == {"year": 5, "page": "cover"}
        assert await found("lt", "year", 2) == set()
        assert await found("in", "year", [5, "x"]) == {"old"}
        assert fakes.retriever.applied == [(store, f"doc_{files['old'].removeprefix('file-')}")]
        assert fakes.parser.calls == 3  # nothing is ingested again
        page = await client.vector_stores.search(store, query="old")
        assert page.data[0].attributes is not None
        assert page.data[0].attributes.items() >= {"year": 5, "page": "cover"}.items()
        # To attach a file again changes nothing, unless it comes with other attributes.
        again: tuple[Values | None, ...] = (None, {}, {"a": 1})
        for attributes in again:
            attached = await client.vector_stores.files.create(
                store, file_id=files["old"], attributes=attributes
            )
            expected = {"year": 5, "page": "cover"} if attributes is None else attributes
            assert (attached.attributes, fakes.parser.calls) == (expected, 3)
        gone = await client.vector_stores.files.update(
            files["old"], vector_store_id=store, attributes=None
        )
        assert gone.attributes == {}
        with pytest.raises(openai.NotFoundError):
            await client.vector_stores.files.update(
                f"file-{0:032}", vector_store_id=store, attributes={}
            )


async def test_a_change_of_attributes_outlives_the_vector_store_s_absence(fakes: Fakes) -> None:
    fakes.jobs.runs = True
    async with fakes.client() as http:
        file = await keep(http, "a.txt", b"snow")
        body = {"file_id": file["id"], "attributes": {"year": 1}}
        await http.post(f"{STORES}/default/files", json=body)
        fakes.retriever.publish_error = Unavailable("the document store is away")
        path = f"{STORES}/default/files/{file['id']}"
        changed = await http.post(path, json={"attributes": {"year": 2}})
        assert (changed.status_code, changed.json()["attributes"]) == (200, {"year": 2})
    change = await fakes.catalogue.attribute_changes.claim(0)
    assert change is not None
    assert change.document_id == f"doc_{file['id'].removeprefix('file-')}"


async def test_a_document_that_cannot_be_shown_is_not_changed(fakes: Fakes) -> None:
    async with fakes.client() as http:
        file = await keep(http, "a.txt", b"snow")
        body = {"file_id": file["id"], "attributes": {"year": 1}}
        await http.post(f"{STORES}/default/files", json=body)
        document = f"/v1/documents/doc_{file['id'].removeprefix('file-')}"
        refused = await http.post(document, json={"attributes": {"year": 2}})
        assert refused.status_code == 404
        shown = (await http.get(f"{STORES}/default/files/{file['id']}")).json()
        assert (shown["status"], shown["attributes"]) == ("in_progress", {"year": 1})


async def test_deleting_a_file_takes_it_out_of_every_store(fakes: Fakes) -> None:
    async with fakes.client() as http:
        file = await keep(http, "a.txt", b"Snow is white.")
        store = await make(http, file_ids=[file["id"]])
        await finish(fakes, JobStatus.SUCCEEDED)
        await http.delete(f"/v1/files/{file['id']}")
        listed = (await http.get(f"{STORES}/{store['id']}/files")).json()
        assert (listed["data"], fakes.retriever.published) == ([], {})


async def test_a_document_that_is_deleted_is_no_longer_attached(fakes: Fakes) -> None:
    async with fakes.client() as http:
        file = await keep(http, "a.txt", b"Snow is white.")
        store = await make(http, file_ids=[file["id"]])
        await finish(fakes, JobStatus.SUCCEEDED)
        document = "doc_" + file["id"].removeprefix("file-")
        url = f"/v1/documents/{document}?collection={store['id']}"
        assert (await http.delete(url)).status_code == 204
        listed = (await http.get(f"{STORES}/{store['id']}/files")).json()
        assert listed["data"] == []


AFTER_A_DAY = {"anchor": "last_active_at", "days": 1}
F = "file-" + "0" * 32
SIZES = "chunking_strategy.static"


def static(size: int, overlap: int) -> dict[str, Any]:
    sizes = {"max_chunk_size_tokens": size, "chunk_overlap_tokens": overlap}
    return {"type": "static", "static": sizes}


async def test_an_expired_store_says_so_until_it_is_renewed(
    fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with fakes.client() as http:
        file = (await keep(http, "1.txt", b"Snow."))["id"]
        store = await make(http, file_ids=[file], expires_after=AFTER_A_DAY)
        assert store["expires_after"] == AFTER_A_DAY
        assert store["expires_at"] == store["last_active_at"] + 86_400
        url = f"{STORES}/{store['id']}"
        later_ms = (store["expires_at"] + 1) * 1000
        for module in ("expiry", "collections"):
            monkeypatch.setattr(f"deployments.catalogue.{module}.now_ms", lambda: later_ms)
        assert (await http.get(url)).json()["status"] == "expired"
        assert (await http.get(f"{url}/files/{file}")).status_code == 200
        for path, body in (
            ("search", {"query": "snow"}),
            ("files", {"file_id": file}),
            ("file_batches", {"file_ids": [file]}),
        ):
            refused = await http.post(f"{url}/{path}", json=body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (
                400,
                "vector_store_expired",
            )
        renewed = (await http.post(url, json={"expires_after": AFTER_A_DAY})).json()
        assert (renewed["status"], renewed["last_active_at"]) == ("in_progress", later_ms // 1000)
        assert (await http.post(f"{url}/search", json={"query": "snow"})).status_code == 200
        for body in ({"name": "kept"}, {"expires_after": None}):
            changed = (await http.post(url, json=body)).json()
        assert (changed["expires_after"], changed["expires_at"]) == (None, None)


async def test_the_text_of_a_file_is_fetched_as_it_was_read(fakes: Fakes) -> None:
    text = "\n\n".join(f"Paragraph {number} is short." for number in range(150))
    async with openai_client(fakes.app()) as (client, _):
        file = await client.files.create(file=("1.txt", text.encode()), purpose="assistants")
        store = await client.vector_stores.create(file_ids=[file.id])
        with pytest.raises(openai.NotFoundError, match="in progress"):
            await client.vector_stores.files.content(file.id, vector_store_id=store.id)
        await fakes.jobs.run(next(iter(fakes.jobs.known)))
        page = await client.vector_stores.files.content(file.id, vector_store_id=store.id)
        assert "".join(item.text or "" for item in page.data) == text
        assert {item.type for item in page.data} == {"text"}
        with pytest.raises(openai.NotFoundError):
            await client.vector_stores.files.content(file.id, vector_store_id="default")


async def test_a_file_is_cut_as_its_request_says(fakes: Fakes) -> None:
    async with fakes.client() as http:
        one, two = [(await keep(http, f"{n}.txt", b"Snow."))["id"] for n in range(2)]
        store = await make(http, file_ids=[one], chunking_strategy=static(200, 50))
        url = f"{STORES}/{store['id']}"
        shown = (await http.get(f"{url}/files/{one}")).json()
        assert shown["chunking_strategy"] == static(200, 50)
        own = {"type": "auto"}
        plain = await http.post(f"{url}/files", json={"file_id": two, "chunking_strategy": own})
        assert plain.json()["chunking_strategy"] == {"type": "other"}
        for job_id in list(fakes.jobs.known):
            await fakes.jobs.run(job_id)
        # The same file cut in another way is another version.
        body = {"file_id": one, "chunking_strategy": static(400, 0)}
        again = await http.post(f"{url}/files", json=body)
        assert again.json()["chunking_strategy"] == static(200, 50)  # until the new one is whole
        await fakes.jobs.run(list(fakes.jobs.known)[-1])
        assert (await http.get(f"{url}/files/{one}")).json()["chunking_strategy"] == static(400, 0)
        files = [{"file_id": one, "chunking_strategy": static(100, 50)}, {"file_id": two}]
        batch = (await http.post(f"{url}/file_batches", json={"files": files})).json()
        assert batch["file_counts"]["completed"] == 1
        listed = await http.get(f"{url}/file_batches/{batch['id']}/files", params={"order": "asc"})
        assert [file["chunking_strategy"] for file in listed.json()["data"]] == [
            static(100, 50),
            {"type": "other"},
        ]
        specs = [job.spec for job in fakes.jobs.known.values() if isinstance(job.spec, IngestSpec)]
        assert [spec.chunking for spec in specs] == [
            Chunking(200, 50),
            None,
            Chunking(400, 0),
            Chunking(100, 50),
        ]


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("", {"file_ids": ["file-" + "0" * 32]}, 404, "file_id"),
        ("", {"file_ids": ["x"]}, 400, "file_ids[0]"),
        ("", {"expires_after": {"anchor": "created_at", "days": 1}}, 400, "expires_after.anchor"),
        (
            "",
            {"expires_after": {"anchor": "last_active_at", "days": 366}},
            400,
            "expires_after.days",
        ),
        ("/default", {"expires_after": AFTER_A_DAY}, 400, "expires_after"),
        ("", {"chunking_strategy": {"type": "static"}}, 400, "chunking_strategy.static"),
        ("", {"chunking_strategy": {"type": "other"}}, 400, "chunking_strategy"),
        (
            "/default/files",
            {"file_id": F, "chunking_strategy": static(99, 0)},
            400,
            f"{SIZES}.max_chunk_size_tokens",
        ),
        (
            "/default/files",
            {"file_id": F, "chunking_strategy": static(4097, 0)},
            400,
            f"{SIZES}.max_chunk_size_tokens",
        ),
        (
            "/default/files",
            {"file_id": F, "chunking_strategy": static(100, 51)},
            400,
            f"{SIZES}.chunk_overlap_tokens",
        ),
        (
            "/default/files",
            {"file_id": F, "chunking_strategy": static(100, -1)},
            400,
            f"{SIZES}.chunk_overlap_tokens",
        ),
        ("", {"metadata": {"k": "v" * 513}}, 400, "metadata.k"),
        ("/default/files", {"file_id": "file-" + "0" * 32}, 404, "file_id"),
        ("/nowhere/files", {"file_id": "file-" + "0" * 32}, 404, "vector_store_id"),
        ("/A/files", {"file_id": "file-" + "0" * 32}, 404, "vector_store_id"),
        ("/default/files", {"file_id": "f", "attributes": None}, 400, "file_id"),
        (FILES, {"attributes": {"k" * 65: 1}}, 400, f"attributes.{'k' * 65}"),
        (FILES, {"attributes": {"": 1}}, 400, "attributes."),
        (FILES, {"attributes": {"a": "x" * 513}}, 400, "attributes.a"),
        (FILES, {"attributes": {"a": None}}, 400, "attributes.a"),
        (FILES, {"attributes": {"a": ["b"]}}, 400, "attributes.a"),
        (FILES, {"attributes": {"a": 2**53 + 1}}, 400, "attributes.a"),
        (FILES, {"attributes": {str(n): n for n in range(17)}}, 400, "attributes"),
        (FILES, {}, 400, "attributes"),
        (FILES, {"attributes": {}}, 404, "file_id"),
    ],
)
async def test_what_cannot_be_done_names_its_field(
    fakes: Fakes, path: str, body: dict[str, Any], status: int, param: str
) -> None:
    async with fakes.client() as http:
        answer = await http.post(STORES + path, json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
        assert (await http.get(STORES)).json()["data"][0]["id"] == "default"


async def test_a_file_in_no_known_format_is_attached_as_one_that_failed(fakes: Fakes) -> None:
    async with fakes.client() as http:
        file = await keep(http, "a.bin", b"\x7fELF" + bytes(99))
        answer = await http.post(f"{STORES}/default/files", json={"file_id": file["id"]})
        assert answer.status_code == 200
        assert answer.json()["status"] == "failed"
        assert answer.json()["last_error"]["code"] == "unsupported_file"
        listed = (await http.get(f"{STORES}/default/files", params={"filter": "failed"})).json()
        assert listed["data"] == [answer.json()]
        assert fakes.jobs.known == {}


async def test_a_store_that_cannot_be_made_whole_is_not_made(fakes: Fakes) -> None:
    async with fakes.client() as http:
        files = [await keep(http, f"{n}.txt", b"Snow is white.") for n in range(2)]
        submit, submitted = fakes.jobs.submit_ingest, 0

        async def full_at_the_second(*args: Any) -> Any:
            nonlocal submitted
            submitted += 1
            if submitted > 1:
                msg = "too many jobs are waiting"
                raise Overloaded(msg)
            return await submit(*args)

        fakes.jobs.submit_ingest = full_at_the_second  # type: ignore[method-assign, assignment]
        answer = await http.post(STORES, json={"file_ids": [file["id"] for file in files]})
        assert answer.status_code == 429
        stores = (await http.get(STORES)).json()["data"]
    assert [store["id"] for store in stores] == ["default"]
    assert {job.status for job in fakes.jobs.known.values()} == {JobStatus.CANCELLED}
    assert await fakes.files.names("vector_stores/_") == []


async def test_what_is_noted_of_a_file_does_not_outlive_it(fakes: Fakes) -> None:
    async with fakes.client() as http:
        file = await keep(http, "a.txt", b"Snow is white.")
        store = await make(http, file_ids=[file["id"]])
        path = f"{STORES}/{store['id']}/files/{file['id']}"
        polls = [http.get(path) for _ in range(20)]
        await asyncio.gather(*polls, http.delete(path))
        assert (await http.get(path)).status_code == 404
        assert (await http.get(f"{STORES}/{store['id']}/files")).json()["data"] == []


async def test_files_are_counted_without_asking_for_their_jobs(fakes: Fakes) -> None:
    async with fakes.client() as http:
        files = [await keep(http, f"{n}.txt", b"Snow %d." % n) for n in range(4)]
        store = await make(http)
        for file in files:
            await http.post(f"{STORES}/{store['id']}/files", json={"file_id": file["id"]})
        await finish(fakes, JobStatus.CANCELLED)
        fakes.jobs.known.clear()
        counts = (await http.get(f"{STORES}/{store['id']}")).json()["file_counts"]
    assert counts == {"in_progress": 3, "completed": 0, "failed": 0, "cancelled": 1, "total": 4}


async def test_uploads_are_listed_with_what_was_attached(fakes: Fakes) -> None:
    fakes.jobs.runs = True
    async with fakes.client() as http:
        answer = await http.post("/upload", files={"file": ("a.txt", b"Snow is white.")})
        document_id = answer.json()["document_id"]
        (listed,) = (await http.get(f"{STORES}/default/files")).json()["data"]
        assert (listed["status"], listed["usage_bytes"]) == ("completed", 14)
        assert listed["id"] == "file-" + document_id.removeprefix("doc_")
        gone = await http.delete(f"{STORES}/default/files/{listed['id']}")
        assert gone.json()["deleted"] is True
        assert (await http.get(f"/v1/documents/{document_id}")).status_code == 404
    assert fakes.retriever.published == {}
