"""`/v1/jobs`: lists, single jobs, cancelling, and events until the end."""

from __future__ import annotations

import asyncio
import functools
import json
from typing import Any

import pytest

from deployments.errors import Unavailable
from deployments.types import ImagesSpec, IngestSpec, JobStatus
from serve_app.http.event_streams import opened
from serve_app.routes import jobs as job_routes
from serve_app.testing import Fakes
from tests.support.event_streams import events

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("below_a_path")]
PICTURES = ImagesSpec("a red circle", 3, 128, 64, 20, 7)
PAPER = IngestSpec("doc_" + "a" * 32, "papers", "a.pdf", 1234, "uploads/1")
NOWHERE = "job_" + "f" * 32


async def pictures(fakes: Fakes) -> str:
    return (await fakes.jobs.submit_images(PICTURES, None)).job.id


async def paper(fakes: Fakes) -> str:
    return (await fakes.jobs.submit_ingest(PAPER, None)).job.id


async def test_a_job_tells_what_it_was_given_how_far_it_is_and_what_came_of_it() -> None:
    fakes = Fakes()
    a, b = await pictures(fakes), await paper(fakes)
    async with fakes.client() as http:
        queued = (await http.get(f"/v1/jobs/{a}")).json()
        assert queued == {
            "id": a,
            "object": "job",
            "kind": "images",
            "status": "queued",
            "created_at": 1e9,
            "updated_at": 1e9,
            "progress": {"done": 0, "total": 3},
            "cancel_requested": False,
            "input": {
                "prompt": "a red circle",
                "count": 3,
                "width": 128,
                "height": 64,
                "steps": 20,
                "seed": 7,
            },
            "result": {"images": []},
            "error": None,
        }
        await fakes.jobs.change(a, status=JobStatus.RUNNING, done=2, updated_at=1e9 + 0.12345)
        running = (await http.get(f"/v1/jobs/{a}")).json()
        assert running["updated_at"] == 1e9 + 0.123
        assert running["progress"] == {"done": 2, "total": 3}
        assert running["result"]["images"] == [
            {"number": 0, "url": f"/genserve/v1/images/{a}/0.png"},
            {"number": 1, "url": f"/genserve/v1/images/{a}/1.png"},
        ]
        assert (await http.get(f"/v1/jobs/{b}")).json()["result"] is None
        await fakes.jobs.change(b, status=JobStatus.SUCCEEDED, done=9, total=9)
        assert (await http.get(f"/v1/jobs/{b}")).json()["result"] == {
            "document_id": PAPER.document_id,
            "collection": "papers",
            "warnings": [],
        }
        bad = {"error_code": "encrypted_pdf", "error_message": "It needs a password."}
        await fakes.jobs.change(b, status=JobStatus.FAILED, **bad)
        failed = (await http.get(f"/v1/jobs/{b}")).json()
    assert failed["error"] == {"code": "encrypted_pdf", "message": "It needs a password."}
    assert failed["result"] is None


async def test_an_unknown_job_is_not_found_whatever_its_id_looks_like() -> None:
    async with Fakes().client() as http:
        for job_id in (NOWHERE, NOWHERE + "0", "job_1", "doc_" + "0" * 32, "..%2Fx", "%00"):
            for method, rest in (("GET", ""), ("POST", "/cancel"), ("GET", "/events")):
                answer = await http.request(method, f"/v1/jobs/{job_id}{rest}")
                seen = (answer.status_code, answer.json()["error"]["code"])
                assert seen == (404, "not_found"), (method, job_id, rest)


async def test_jobs_are_listed_newest_first_by_pages_and_filters() -> None:
    fakes = Fakes()
    made = [await pictures(fakes) for _ in range(4)] + [await paper(fakes)]
    await fakes.jobs.change(made[1], status=JobStatus.RUNNING)

    async with fakes.client() as http:

        async def ids(**params: Any) -> tuple[list[str], str | None]:
            listed = (await http.get("/v1/jobs", params=params)).json()
            assert listed["has_more"] is (listed["next_after"] is not None)
            return [job["id"] for job in listed["data"]], listed["next_after"]

        assert await ids() == (made[::-1], None)
        assert await ids(kind="ingest") == ([made[4]], None)
        assert await ids(status="running") == ([made[1]], None)
        first, after = await ids(limit=3)
        assert (first, await ids(limit=3, after=after)) == (made[:1:-1], (made[1::-1], None))
        for params, named in (
            ({"kind": "video"}, "kind"),
            ({"status": "done"}, "status"),
            ({"limit": 0}, "limit"),
            ({"limit": 101}, "limit"),
            ({"after": "x"}, "after"),
        ):
            answer = await http.get("/v1/jobs", params=params)
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, named)


async def test_cancelling_twice_is_fine_and_cancelling_what_has_ended_is_not() -> None:
    fakes = Fakes()
    job_id, other = await pictures(fakes), await paper(fakes)
    async with fakes.client() as http:
        once = await http.post(f"/v1/jobs/{job_id}/cancel")
        twice = await http.post(f"/v1/jobs/{job_id}/cancel")
        await fakes.jobs.change(other, status=JobStatus.SUCCEEDED)
        late = await http.post(f"/v1/jobs/{other}/cancel")
    assert once.status_code == twice.status_code == 200
    assert (once.json()["status"], once.json()["cancel_requested"]) == ("cancelled", True)
    assert once.json()["result"] is None
    assert (late.status_code, late.json()["error"]["code"]) == (409, "conflict")
    assert late.json()["error"]["type"] == "invalid_request_error"
    assert "succeeded already" in late.json()["error"]["message"]


async def test_events_come_at_every_change_and_close_with_the_end() -> None:
    fakes = Fakes()
    job_id = await pictures(fakes)

    async def goes_on() -> None:
        await fakes.jobs.watched.wait()
        for change in ({"status": JobStatus.RUNNING}, {"done": 1}, {"done": 3}):
            await fakes.jobs.change(job_id, **change)
            await asyncio.sleep(0.02)
        await fakes.jobs.change(job_id, status=JobStatus.SUCCEEDED)

    async with fakes.client() as http, asyncio.timeout(5):
        answer, _ = await asyncio.gather(http.get(f"/v1/jobs/{job_id}/events"), goes_on())
        ended = await http.get(f"/v1/jobs/{job_id}/events")
        last = (await http.get(f"/v1/jobs/{job_id}")).json()
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = events(answer.text)
    assert {name for name, _ in told} == {"job"}
    assert [(job["status"], job["progress"]["done"]) for _, job in told] == [
        ("queued", 0),
        ("running", 0),
        ("running", 1),
        ("running", 3),
        ("succeeded", 3),
    ]
    assert told[-1][1] == last
    assert events(ended.text) == [("job", last)]


async def test_a_watch_that_breaks_is_told() -> None:
    fakes = Fakes()
    fakes.jobs.lost_watches = 1
    job_id = await pictures(fakes)
    async with fakes.client() as http, asyncio.timeout(5):
        told = events((await http.get(f"/v1/jobs/{job_id}/events")).text)
    assert [name for name, _ in told] == ["job", "error"]
    assert told[1][1]["error"]["code"] == Unavailable.code


async def test_a_quiet_job_sends_comments_and_a_client_that_leaves_ends_the_watch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(job_routes, "opened", functools.partial(opened, max_silence_s=0.01))
    fakes = Fakes()
    job_id = await pictures(fakes)
    sent: list[bytes] = []
    commented = asyncio.Event()
    requests = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if requests:
            return requests.pop()
        await commented.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))
        if b": keep-alive\n\n" in sent and any(b"data: " in body for body in sent):
            commented.set()

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "path": f"/v1/jobs/{job_id}/events",
        "raw_path": b"",
        "query_string": b"",
        "client": ("127.0.0.1", 1),
        "headers": [(b"host", b"127.0.0.1")],
    }
    async with asyncio.timeout(5):
        await fakes.app()(scope, receive, send)
        await fakes.jobs.unwatched.wait()
    (event,) = [body for body in sent if b"data: " in body]
    assert json.loads(event.partition(b"data: ")[2])["id"] == job_id
