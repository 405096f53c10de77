"""Whose things are whose: the capabilities of an account, and the routes that stand on them.

`tests/integration/test_ownership.py` asks the running service the same, a thousand times.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from deployments.file_store import FileStore
from deployments.jobs.submissions import _id_for_key
from deployments.types import ImagesSpec, IngestSpec, JobStatus
from serve_app.testing import Fakes

pytestmark = pytest.mark.anyio
ALICE, BOB = ({"authorization": f"Bearer {letter * 20}"} for letter in "ab")
PICTURES = {"prompt": "a red circle", "seed": 1}


@pytest.fixture
def fakes(tmp_path: Path) -> Fakes:
    return Fakes(files=FileStore(str(tmp_path)), api_keys=f"alice:{'a' * 20},bob:{'b' * 20}")


@pytest.mark.parametrize("stream", [False, True])
async def test_prompts_are_cached_for_the_owner_of_the_key(fakes: Fakes, *, stream: bool) -> None:
    """Whatever the caller names: these fields are the service's own."""
    message = {"messages": [{"role": "user", "content": "hi"}], "stream": stream}
    asked = {
        "/v1/chat/completions": [message | {"model": model} for model in ("genserve", "small")],
        "/v1/completions": [{"model": "small", "prompt": "hi", "stream": stream}],
        "/generate/text": [{"prompt": "hi", "stream": stream}],
    }
    async with fakes.client() as http:
        for path, bodies in asked.items():
            for body in bodies:
                for owner, headers in (("alice", ALICE), ("bob", BOB)):
                    answer = await http.post(path, json=body, headers=headers)
                    assert answer.status_code == 200, answer.text
                    assert fakes.llm.bodies[-1]["cache_salt"] == owner
                for field in ({"cache_salt": "alice"}, {"priority": -1}):
                    answer = await http.post(path, json=body | field, headers=BOB)
                    assert answer.status_code == 400, answer.text
                    assert answer.json()["error"]["param"] == next(iter(field))


async def begun(http: httpx.AsyncClient, headers: dict[str, str], **more: Any) -> str:
    answer = await http.post("/generate/image/background", json=PICTURES, headers=headers | more)
    job_id: str = answer.json()["job_id"]
    return job_id


async def test_a_job_is_its_owners_alone(fakes: Fakes) -> None:
    fakes.jobs.runs = True
    nobodys = "job_" + "f" * 32
    async with fakes.client() as http:
        job_id = await begun(http, ALICE)
        for method, path in (
            ("GET", "/v1/jobs/{}"),
            ("POST", "/v1/jobs/{}/cancel"),
            ("GET", "/v1/jobs/{}/events"),
            ("GET", "/v1/images/{}/0.png"),
            ("GET", "/v1/jobs?after={}"),
        ):
            theirs, unknown = [
                await http.request(method, path.format(each), headers=BOB)
                for each in (job_id, nobodys)
            ]
            assert theirs.status_code == 404, path
            assert theirs.content == unknown.content
        assert (await http.get("/v1/jobs", headers=BOB)).json()["data"] == []
        (listed,) = (await http.get("/v1/jobs", headers=ALICE)).json()["data"]
        assert listed["id"] == job_id
        picture = await http.get(f"/v1/images/{job_id}/0.png", headers=ALICE)
        assert picture.content.startswith(b"\x89PNG")
    assert fakes.jobs.known[job_id].status is JobStatus.SUCCEEDED


async def test_owners_are_written_into_the_orders_and_shown_to_nobody(fakes: Fakes) -> None:
    async with fakes.client() as http:
        await begun(http, ALICE)
        uploaded = await http.post("/upload", files={"file": ("a.txt", b"Snow.")}, headers=BOB)
        job = await http.get(uploaded.headers["location"], headers=BOB)
    pictures, ingest = (each.spec for each in fakes.jobs.known.values())
    assert isinstance(pictures, ImagesSpec)
    assert isinstance(ingest, IngestSpec)
    assert pictures.owner == "alice"
    assert (ingest.owner, ingest.collection) == ("bob", "bob.default")
    assert job.json()["input"]["collection"] == "default"
    assert "bob" not in job.text


async def test_a_search_and_an_answer_stay_in_ones_own_collections(fakes: Fakes) -> None:
    asked: list[str] = []
    search = fakes.retriever.search

    async def noted(queries: Any, collections: Any, *bounds: Any, **options: Any) -> Any:
        asked.append(collections)
        return await search(queries, collections, *bounds, **options)

    fakes.retriever.search = noted  # type: ignore[method-assign]
    async with fakes.client() as http:
        body = {"query": "x"}
        await http.post("/v1/vector_stores/default/search", json=body, headers=ALICE)
        await http.post("/generate/text", json={"prompt": "x"}, headers=BOB)
        chat = {"model": "genserve", "messages": [{"role": "user", "content": "x"}]}
        await http.post("/v1/chat/completions", json=chat, headers=ALICE)
        other = await http.post("/v1/vector_stores/bob.default/search", json=body, headers=ALICE)
        several = chat | {"context": {"collections": ["default", "papers"]}}
        nowhere = await http.post("/v1/chat/completions", json=several, headers=ALICE)
        for owner in (ALICE, BOB):
            upload = {"files": {"file": ("a.txt", b"snow")}, "data": {"collection": "papers"}}
            await http.post("/upload", **upload, headers=owner)  # type: ignore[arg-type]
        await http.post("/v1/chat/completions", json=several, headers=ALICE)
    assert asked == [
        "alice.default",
        "bob.default",
        "alice.default",
        ["alice.default", "alice.papers"],
    ]
    assert other.status_code == 404
    assert (nowhere.status_code, nowhere.json()["error"]["param"]) == (404, "collection")


async def test_the_same_key_for_repeating_is_each_owners_own() -> None:
    specs = [ImagesSpec("x", 1, 64, 64, 2, 1, owner) for owner in ("", "alice", "bob")]
    assert len({_id_for_key(spec, "again") for spec in specs}) == 3
