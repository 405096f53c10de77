"""Pictures over HTTP: bounds, background jobs, downloads, and OpenAI's route."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import openai
import pytest

from deployments.errors import Overloaded
from deployments.file_store import image_path
from deployments.types import ImagesSpec, Job, JobStatus
from serve_app.testing import Fakes
from tests.support.openai_client import openai_client

pytestmark = pytest.mark.anyio
BACKGROUND, OPENAI = "/generate/image/background", "/v1/images/generations"
ASKED = {"prompt": "a red circle"}
JSON = {"content-type": "application/json"}


def asked_for(fakes: Fakes) -> ImagesSpec:
    (job,) = fakes.jobs.known.values()
    assert isinstance(job.spec, ImagesSpec)
    return job.spec


async def job_of(fakes: Fakes) -> Job:
    async with asyncio.timeout(5):
        await fakes.jobs.watched.wait()
    return next(iter(fakes.jobs.known.values()))


async def until(fakes: Fakes, status: JobStatus) -> None:
    async with asyncio.timeout(5):
        while {job.status for job in fakes.jobs.known.values()} != {status}:
            await asyncio.sleep(0.01)


async def test_a_background_job_is_named_at_once_with_everything_it_will_do() -> None:
    fakes = Fakes()
    async with fakes.client() as http:
        body = ASKED | {"count": 2, "size": "128x64", "steps": 5, "seed": 2**32 - 1}
        answer = await http.post(BACKGROUND, json=body)
        job = (await http.get(answer.headers["location"])).json()
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")
    assert answer.json()["job"] == job
    assert answer.json()["job_id"] == job["id"]
    assert asked_for(fakes) == ImagesSpec("a red circle", 2, 128, 64, 5, 2**32 - 1)


async def test_what_is_left_open_is_filled_in_and_reported() -> None:
    fakes = Fakes()
    chosen = {"size": 96, "steps": 11}
    async with fakes.client(images=chosen) as http:
        given = (await http.post(BACKGROUND, json=ASKED)).json()["job"]["input"]
        another = (await http.post(BACKGROUND, json=ASKED)).json()["job"]["input"]
    assert {k: given[k] for k in ("count", "width", "height", "steps")} == {
        "count": 1,
        "width": 96,
        "height": 96,
        "steps": 11,
    }
    assert 0 <= given["seed"] < 2**32
    assert given["seed"] != another["seed"]


BAD: list[tuple[dict[str, Any], str, str]] = [
    ({"prompt": ""}, "prompt", "at least 1"),
    ({"prompt": " \n "}, "prompt", "1 to 1000"),
    ({"prompt": "x" * 1001}, "prompt", "1 to 1000"),
    ({"prompt": "x\0"}, "prompt", "NUL"),
    ({"count": 0}, "count", "1"),
    ({"count": 10_000}, "count", "1 to 100"),
    ({"count": 10**90}, "count", "1 to 100"),
    ({"size": "7x7"}, "size", "multiple of 8 from 64 to 256"),
    ({"size": "64x72.5"}, "size", "multiple of 8 from 64 to 256"),
    ({"size": "256x264"}, "size", "multiple of 8 from 64 to 256"),
    ({"size": "100x100"}, "size", "multiple of 8 from 64 to 256"),
    ({"size": "٦٤x٦٤"}, "size", "multiple of 8 from 64 to 256"),
    ({"size": "big"}, "size", "WIDTHxHEIGHT"),
    ({"steps": 0}, "steps", "1"),
    ({"steps": 51}, "steps", "1 to 50"),
    ({"seed": -1}, "seed", "0"),
    ({"seed": 2**32}, "seed", "4294967295"),
    ({"model": "x/y"}, "model", "there is no such field"),
]


async def test_bad_input_is_400_and_names_field_and_bound() -> None:
    fakes = Fakes()
    async with fakes.client() as http:
        for change, param, bound in BAD:
            body = json.dumps(ASKED | change)
            answer = await http.post(BACKGROUND, content=body, headers=JSON)
            error = answer.json()["error"]
            seen = (answer.status_code, error["param"], error["code"])
            assert seen[:2] == (400, param), change
            assert error["message"].startswith(f"{param}: "), change
            assert bound in error["message"], change
    assert fakes.jobs.known == {}


async def test_a_key_gives_the_first_job_though_the_seed_was_left_open() -> None:
    fakes = Fakes()
    key = {"Idempotency-Key": "batch 7"}
    async with fakes.client() as http:
        first = await http.post(BACKGROUND, json=ASKED, headers=key)
        again = await http.post(BACKGROUND, json=ASKED, headers=key)
        other = await http.post(BACKGROUND, json=ASKED | {"count": 2}, headers=key)
        empty = await http.post(BACKGROUND, json=ASKED, headers={"Idempotency-Key": ""})
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json() == first.json()
    assert (other.status_code, other.json()["error"]["code"]) == (409, "conflict")
    assert empty.status_code == 400
    assert len(fakes.jobs.known) == 1


async def test_a_full_queue_is_429_with_advice() -> None:
    fakes = Fakes()
    fakes.jobs.submit_error = Overloaded("too many jobs are waiting")
    async with fakes.client() as http:
        for route in (BACKGROUND, OPENAI):
            answer = await http.post(route, json=ASKED)
            assert answer.status_code == 429
            assert int(answer.headers["retry-after"]) >= 1


async def test_a_picture_is_served_to_be_kept() -> None:
    fakes = Fakes()
    async with fakes.client() as http:
        accepted = await http.post("/generate/image/background", json={"prompt": "x", "count": 2})
        job_id = accepted.json()["job_id"]
        await fakes.files.put(image_path(job_id, 1), b"png bytes")
        url = f"/v1/images/{job_id}/1.png"
        answer = await http.get(url)
        etag = answer.headers["etag"]
        same = await http.get(url, headers={"if-none-match": f'"x", W/{etag}'})
        other = await http.get(url, headers={"if-none-match": '"x"'})
    assert (answer.status_code, answer.content) == (200, b"png bytes")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cache-control"] == "private, max-age=31536000, immutable"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-disposition"] == f'inline; filename="{job_id}-1.png"'
    assert etag.startswith('"')
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", etag)
    assert other.status_code == 200


async def test_no_such_picture_is_404() -> None:
    fakes = Fakes()
    job_id = "job_" + "0" * 32
    await fakes.files.put(image_path(job_id, 1), b"png bytes")
    numbers = ("2", "01", "-1", "9" * 5000, "٣", "x")
    paths = [f"{job_id}/{number}.png" for number in numbers]
    async with fakes.client() as http:
        for path in (*paths, "job_" + "1" * 32 + "/1.png", "..%2f..%2fuploads/1.png", "x/1.png"):
            answer = await http.get(f"/v1/images/{path}")
            seen = (answer.status_code, answer.json()["error"]["code"])
            assert seen == (404, "not_found"), path


async def test_openais_client_gets_its_pictures() -> None:
    fakes = Fakes()
    fakes.jobs.runs = True
    async with openai_client(fakes.app()) as (client, http):
        asked = await client.images.generate(
            model="gpt-image-1",
            prompt="a red circle",
            n=2,
            size="256x256",
            quality="high",
            background="auto",
            moderation="low",
            output_format="png",
        )
        as_url = await client.images.generate(prompt="x", size="auto", response_format="url")
        as_bytes = await client.images.generate(prompt="x", response_format="b64_json")
        assert as_url.data is not None
        fetched = await http.get(str(as_url.data[0].url))
        with pytest.raises(openai.BadRequestError, match="multiple of 8"):
            await client.images.generate(prompt="x", size="1024x1024")
    assert asked.data is not None
    assert as_bytes.data is not None
    contents = [base64.b64decode(str(image.b64_json)) for image in asked.data]
    spec = next(iter(fakes.jobs.known.values())).spec
    assert isinstance(spec, ImagesSpec)
    assert contents == [fakes.images.draw(spec.request(number)) for number in range(2)]
    assert asked.size == "256x256"
    assert [str(image.url).rsplit("/", 1)[1] for image in asked.data] == ["0.png", "1.png"]
    assert fetched.headers["content-type"] == "image/png"
    assert (as_url.data[0].b64_json, as_bytes.data[0].url) == (None, None)


async def test_what_openais_route_does_not_do_it_refuses() -> None:
    fakes = Fakes()
    refused: list[tuple[dict[str, Any], str]] = [
        ({"n": 0}, "n"),
        ({"n": 11}, "n"),
        ({"n": 6}, "n"),  # over the setting below
        ({"size": "7x7"}, "size"),
        ({"prompt": "   "}, "prompt"),
        ({"output_format": "gif"}, "output_format"),
        ({"background": "transparent"}, "background"),
        ({"response_format": "svg"}, "response_format"),
        ({"stream": True}, "stream"),
        ({"steps": 5}, "steps"),
    ]
    async with fakes.client(jobs={"max_images": 5}) as http:
        for change, param in refused:
            answer = await http.post(OPENAI, json=ASKED | change)
            seen = (answer.status_code, answer.json()["error"]["param"])
            assert seen == (400, param), change
    assert fakes.jobs.known == {}


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        ({"status": JobStatus.CANCELLED}, 409, "conflict"),
        ({"status": JobStatus.FAILED, "error_code": "unavailable"}, 503, "unavailable"),
        ({"status": JobStatus.FAILED, "error_code": "out_of_memory"}, 500, "out_of_memory"),
        ({"status": JobStatus.FAILED}, 500, "internal_error"),
    ],
)
async def test_a_job_that_does_not_succeed_is_the_answers_error(
    changes: dict[str, Any], status: int, code: str
) -> None:
    fakes = Fakes()
    async with fakes.client() as http:
        waiting = asyncio.ensure_future(http.post(OPENAI, json=ASKED))
        await fakes.jobs.change((await job_of(fakes)).id, **changes)
        answer = await waiting
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


async def test_a_wait_goes_on_when_the_job_runner_was_away() -> None:
    fakes = Fakes()
    fakes.jobs.lost_watches = 1
    async with fakes.client() as http:
        waiting = asyncio.ensure_future(http.post(OPENAI, json=ASKED))
        job = await job_of(fakes)
        await fakes.files.put(image_path(job.id, 0), b"png")
        await fakes.jobs.change(job.id, status=JobStatus.SUCCEEDED)
        assert (await waiting).status_code == 200


QUICK: dict[str, Any] = {
    "answer": {"total_timeout_s": 0.05, "first_token_timeout_s": 0.02, "context_timeout_s": 0.02},
    "scraper": {"page_timeout_s": 0.02},  # within the time for the context
}


async def test_time_running_out_cancels_the_job() -> None:
    fakes = Fakes()
    async with fakes.client(**QUICK) as http:
        answer = await http.post(OPENAI, json=ASKED)
    assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_exceeded")
    await until(fakes, JobStatus.CANCELLED)


@pytest.mark.parametrize("while_submitting", [False, True])
async def test_a_client_that_leaves_cancels_its_job(*, while_submitting: bool) -> None:
    fakes = Fakes()
    fakes.jobs.submit_gate = asyncio.Event()
    async with fakes.client() as http:
        leaving = asyncio.ensure_future(http.post(OPENAI, json=ASKED))
        await asyncio.sleep(0.05)
        if not while_submitting:
            fakes.jobs.submit_gate.set()
            await job_of(fakes)
        leaving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await leaving
        fakes.jobs.submit_gate.set()
        await until(fakes, JobStatus.CANCELLED)


async def test_leaving_a_job_that_another_request_began_leaves_it_be() -> None:
    fakes = Fakes()
    key = {"Idempotency-Key": "once"}
    async with fakes.client() as http:
        staying = asyncio.ensure_future(http.post(OPENAI, json=ASKED, headers=key))
        job = await job_of(fakes)
        async with fakes.client(**QUICK) as other:
            assert (await other.post(OPENAI, json=ASKED, headers=key)).status_code == 504
        await asyncio.sleep(0.05)
        await fakes.files.put(image_path(job.id, 0), b"png")
        await fakes.jobs.change(job.id, status=JobStatus.SUCCEEDED)
        assert (await staying).json()["job_id"] == job.id


async def test_the_documentation_describes_the_routes() -> None:
    async with Fakes().client() as http:
        paths = (await http.get("/openapi.json")).json()["paths"]
    for path in ("/upload", BACKGROUND):
        post = paths[path]["post"]
        assert {"202", "400", "409", "429"} <= set(post["responses"])
        assert "Location" in post["responses"]["202"]["headers"]
        assert [p["name"] for p in post["parameters"]] == ["Idempotency-Key"]
    assert list(paths["/upload"]["post"]["requestBody"]["content"]) == ["multipart/form-data"]
    events = paths["/v1/jobs/{job_id}/events"]["get"]["responses"]["200"]["content"]
    assert list(events) == ["text/event-stream"]
    picture = paths["/v1/images/{job_id}/{picture}"]["get"]["responses"]["200"]["content"]
    assert list(picture) == ["image/png", "image/jpeg", "image/webp"]
    assert all(route.get("description") for item in paths.values() for route in item.values())
