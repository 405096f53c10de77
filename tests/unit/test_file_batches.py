"""File batches through the routes: counts, failures, cancellation, and what is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from deployments.errors import Overloaded
from deployments.types import IngestSpec, JobStatus, Submitted
from serve_app.testing import Fakes
from tests.support.openai_client import openai_client
from tests.support.vector_stores import STORES, keep, make

pytestmark = pytest.mark.anyio


async def kept(http: httpx.AsyncClient, *texts: str) -> list[str]:
    return [
        (await keep(http, f"{number}.txt", text.encode()))["id"]
        for number, text in enumerate(texts)
    ]


async def created(http: httpx.AsyncClient, store: str, **body: Any) -> dict[str, Any]:
    answer = await http.post(f"{STORES}/{store}/file_batches", json=body)
    assert answer.status_code == 200, answer.text
    batch: dict[str, Any] = answer.json()
    return batch


def counts(**files: int) -> dict[str, int]:
    none = dict.fromkeys(("in_progress", "completed", "failed", "cancelled"), 0)
    return none | files | {"total": sum(files.values())}


async def test_openais_client_waits_for_a_batch_of_which_one_file_fails() -> None:
    fakes = Fakes()
    fakes.jobs.runs = True
    async with openai_client(fakes.app()) as (client, _):
        store = await client.vector_stores.create(name="facts")
        files = [(f"{n}.txt", f"Fact {n} is true.".encode()) for n in range(3)]
        batch = await client.vector_stores.file_batches.upload_and_poll(
            store.id, files=[*files, ("blank.txt", b" \n ")], poll_interval_ms=10
        )
        assert batch.id.startswith("vsfb_")
        assert (batch.status, batch.vector_store_id) == ("completed", store.id)
        assert batch.file_counts.to_dict() == counts(completed=3, failed=1)
        listed = client.vector_stores.file_batches.list_files(
            batch.id, vector_store_id=store.id, limit=2
        )
        assert len([file async for file in listed]) == 4
        failed = await client.vector_stores.file_batches.list_files(
            batch.id, vector_store_id=store.id, filter="failed"
        )
        assert [file.last_error.code for file in failed.data if file.last_error] == ["invalid_file"]
        found = await client.vector_stores.search(store.id, query="fact")
        assert len(found.data) == 3
        # Once more with the same files: nothing is done again.
        before = len(fakes.jobs.known)
        again = await client.vector_stores.file_batches.create_and_poll(
            store.id,
            file_ids=[found.data[0].file_id, found.data[1].file_id],
            attributes={"year": 2026},
            poll_interval_ms=10,
        )
        assert again.file_counts.to_dict() == counts(completed=2)
        assert len(fakes.jobs.known) == before
        since = await client.vector_stores.search(
            store.id, query="fact", filters={"type": "gte", "key": "year", "value": 2026}
        )
        assert {one.file_id for one in since.data} == {one.file_id for one in found.data[:2]}
        files_of_batch = client.vector_stores.file_batches.list_files(
            again.id, vector_store_id=store.id
        )
        assert [file.attributes async for file in files_of_batch] == [{"year": 2026}] * 2
        # What is taken out of the store is no longer a completed file of the batch.
        await client.vector_stores.files.delete(found.data[0].file_id, vector_store_id=store.id)
        shown = await client.vector_stores.file_batches.retrieve(again.id, vector_store_id=store.id)
        assert shown.file_counts.to_dict() == counts(completed=1, cancelled=1)


async def test_cancelling_ends_what_has_not_completed() -> None:
    fakes = Fakes()
    async with fakes.client() as http:
        files = await kept(http, "One.", "Two.", "Three.")
        store = (await make(http))["id"]
        batch = await created(http, store, file_ids=files)
        assert (batch["status"], batch["file_counts"]) == ("in_progress", counts(in_progress=3))
        await fakes.jobs.run(next(iter(fakes.jobs.known)))
        url = f"{STORES}/{store}/file_batches/{batch['id']}"
        cancelled = (await http.post(f"{url}/cancel")).json()
        assert cancelled["status"] == "cancelled"
        assert cancelled["file_counts"] == counts(completed=1, cancelled=2)
        assert (await http.get(url)).json() == cancelled
        statuses = [job.status for job in fakes.jobs.known.values()]
        assert statuses == [JobStatus.SUCCEEDED, JobStatus.CANCELLED, JobStatus.CANCELLED]
        # A batch that has ended is not cancelled any more.
        done = await created(http, store, files=[{"file_id": files[0]}])
        ended = (await http.post(f"{STORES}/{store}/file_batches/{done['id']}/cancel")).json()
        assert (ended["status"], ended["file_counts"]) == ("completed", counts(completed=1))
        # With its store, a batch is gone.
        await http.delete(f"{STORES}/{store}")
        assert (await http.get(url)).status_code == 404


async def test_files_wait_while_the_queue_is_full_and_may_be_deleted_meanwhile() -> None:
    fakes = Fakes()
    async with fakes.client() as http:
        files = await kept(http, "One.", "Two.")
        store = (await make(http))["id"]
        fakes.jobs.submit_error = Overloaded("full")
        batch = await created(http, store, file_ids=files)
        url = f"{STORES}/{store}/file_batches/{batch['id']}"
        assert (await http.get(url)).json()["file_counts"] == counts(in_progress=2)
        shown = (await http.get(f"{STORES}/{store}")).json()
        assert (shown["status"], shown["file_counts"]) == ("in_progress", counts(in_progress=2))
        await http.delete(f"/v1/files/{files[0]}")
        fakes.jobs.submit_error = None
        await fakes.jobs.begin_batches()
        assert (await http.get(url)).json()["file_counts"] == counts(in_progress=1, failed=1)
        failed = (await http.get(f"{url}/files", params={"filter": "failed"})).json()["data"]
        assert [file["id"] for file in failed] == [files[0]]
        assert "deleted before it was read" in failed[0]["last_error"]["message"]
        # What has not begun is cancelled without a job.
        fakes.jobs.submit_error = Overloaded("full")
        other = await created(http, store, file_ids=files[1:])
        await http.post(f"{STORES}/{store}/file_batches/{other['id']}/cancel")
        fakes.jobs.submit_error = None
        await fakes.jobs.begin_batches()
        assert len(fakes.jobs.known) == 1


async def test_a_file_that_waits_is_in_its_store() -> None:
    fakes = Fakes()
    fakes.jobs.runs = True
    async with fakes.client() as http:
        files = await kept(http, "One.", "Two.")
        store = (await make(http))["id"]
        fakes.jobs.submit_error = Overloaded("full")
        batch = await created(http, store, file_ids=files, attributes={"year": 1})
        first, second = (f"{STORES}/{store}/files/{file}" for file in files)
        shown = (await http.get(first)).json()
        assert (shown["id"], shown["status"]) == (files[0], "in_progress")
        assert shown["attributes"] == {"year": 1}
        changed = await http.post(first, json={"attributes": {"year": 2}})
        assert (changed.status_code, changed.json()["attributes"]) == (200, {"year": 2})
        assert (await http.delete(second)).status_code == 200
        assert (await http.get(second)).status_code == 404
        assert (await http.delete(second)).status_code == 404
        fakes.jobs.submit_error = None
        await fakes.jobs.begin_batches()
        url = f"{STORES}/{store}/file_batches/{batch['id']}"
        assert (await http.get(url)).json()["file_counts"] == counts(completed=1, cancelled=1)
        assert (await http.get(first)).json()["attributes"] == {"year": 2}
        # A file that is attached already, and waits once more, leaves the store and the batch.
        fakes.jobs.submit_error = Overloaded("full")
        again = await created(http, store, file_ids=files[:1])
        assert (await http.delete(first)).status_code == 200
        fakes.jobs.submit_error = None
        await fakes.jobs.begin_batches()
        url = f"{STORES}/{store}/file_batches/{again['id']}"
        assert (await http.get(url)).json()["file_counts"] == counts(cancelled=1)
        assert (await http.get(first)).status_code == 404


async def test_a_batch_changes_the_vectors_of_what_is_attached_at_once() -> None:
    fakes = Fakes()
    fakes.jobs.runs = True
    async with fakes.client() as http:
        files = await kept(http, "One.")
        store = (await make(http, file_ids=files))["id"]
        await created(http, store, file_ids=files, attributes={"year": 1})
        assert len(fakes.retriever.applied) == 1
        await created(http, store, file_ids=files, attributes={"year": 1})
        assert len(fakes.retriever.applied) == 1


async def test_owners_do_not_wait_for_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    fakes = Fakes(api_keys="alice:" + "a" * 32 + ",bob:" + "b" * 32)
    fakes.jobs.runs = True
    blocked, submit = asyncio.Event(), fakes.jobs.submit_ingest

    async def slow_for_alice(spec: IngestSpec, key: str | None) -> Submitted:
        if spec.owner == "alice":
            await blocked.wait()
        return await submit(spec, key)

    async with fakes.client() as http:
        fakes.jobs.submit_error = Overloaded("full")
        batches = {}
        for letter in "ab":
            http.headers["authorization"] = "Bearer " + letter * 32
            files = await kept(http, "One.")
            store = (await make(http))["id"]
            batch = await created(http, store, file_ids=files)
            batches[letter] = f"{STORES}/{store}/file_batches/{batch['id']}"
        fakes.jobs.submit_error = None
        monkeypatch.setattr(fakes.jobs, "submit_ingest", slow_for_alice)
        feeding = asyncio.create_task(fakes.jobs.begin_batches())
        async with asyncio.timeout(10):
            while (await http.get(batches["b"])).json()["status"] != "completed":
                await asyncio.sleep(0.01)
        assert not feeding.done()
        blocked.set()
        await feeding


async def test_a_batch_is_its_owners_alone() -> None:
    fakes = Fakes(api_keys="alice:" + "a" * 32 + ",bob:" + "b" * 32)
    fakes.jobs.runs = True
    alice = {"authorization": "Bearer " + "a" * 32}
    bob = {"authorization": "Bearer " + "b" * 32}
    async with fakes.client() as http:
        http.headers.update(alice)
        file = (await kept(http, "One."))[0]
        store = (await make(http))["id"]
        batch = await created(http, store, file_ids=[file])
        assert batch["file_counts"] == counts(completed=1)
        url = f"{STORES}/{store}/file_batches/{batch['id']}"
        assert (await http.get(url)).json()["vector_store_id"] == store
        http.headers.update(bob)
        for method, path in (("GET", ""), ("GET", "/files"), ("POST", "/cancel")):
            assert (await http.request(method, url + path)).status_code == 404
        own = (await make(http))["id"]
        other = await http.get(f"{STORES}/{own}/file_batches/{batch['id']}")
        stolen = await http.post(f"{STORES}/{own}/file_batches", json={"file_ids": [file]})
        assert (other.status_code, stolen.status_code) == (404, 404)
        assert stolen.json()["error"]["param"] == "file_ids"


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        ({}, 400, "file_ids"),
        ({"file_ids": ["file-" + "0" * 32], "files": []}, 400, "files"),
        ({"file_ids": []}, 400, "file_ids"),
        ({"file_ids": ["../x"]}, 400, "file_ids"),
        ({"file_ids": [f"file-{n:032x}" for n in range(2001)]}, 400, "file_ids"),
        ({"file_ids": ["file-" + "0" * 32]}, 404, "file_ids"),
        ({"files": [{"file_id": "file-" + "0" * 32, "attributes": {"a": []}}]}, 400, "files"),
        ({"file_ids": ["file-" + "0" * 32], "attributes": {"a": []}}, 400, "attributes"),
    ],
)
async def test_what_is_refused_by_name(body: dict[str, Any], status: int, param: str) -> None:
    async with Fakes().client() as http:
        store = (await make(http))["id"]
        answer = await http.post(f"{STORES}/{store}/file_batches", json=body)
        assert answer.status_code == status
        assert answer.json()["error"]["param"].startswith(param)
        for batch in ("vsfb_" + "0" * 24, "x"):
            missing = await http.get(f"{STORES}/{store}/file_batches/{batch}")
            assert missing.status_code == 404
        nowhere = f"{STORES}/vs_nowhere/file_batches"
        body = {"file_ids": ["file-" + "0" * 32]}
        assert (await http.post(nowhere, json=body)).status_code == 404
