"""Pictures over HTTP, of the real small model; `make bench-pictures` says how good they are."""

from __future__ import annotations

import base64
import io
import json

import httpx
import numpy as np
import openai
import pytest
from numpy.typing import NDArray
from PIL import Image

from deployments.images.scenes.judging import Reading, read
from tests.support.jobs import job_ended
from tests.support.service import Service

LONG = {"prompt": "a red circle", "count": 100, "steps": 50, "size": "256x256"}


def opened(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def test_a_picture_is_made_kept_and_the_same_for_the_same_seed(http: httpx.Client) -> None:
    pictures = []
    for _ in range(2):
        body = {"prompt": "a large red circle on a blue background", "seed": 1}
        accepted = http.post("/generate/image/background", json=body)
        assert accepted.status_code == 202, accepted.text
        job = job_ended(http, accepted.json()["job_id"])
        assert job["status"] == "succeeded", job
        (image,) = job["result"]["images"]
        answer = http.get(image["url"])
        assert answer.headers["content-type"] == "image/png"
        pictures.append(opened(answer.content))
        again = http.get(image["url"], headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert pictures[0].shape == (128, 128, 3)
    assert read(pictures[0]) == Reading("circle", "red", "blue")
    assert np.array_equal(pictures[0], pictures[1])


def test_openais_client_waits_for_its_pictures(service: Service) -> None:
    client = openai.OpenAI(base_url=f"{service.url}/v1", api_key=service.key, max_retries=0)
    answer = client.images.generate(
        prompt="a blue square on a white background", n=2, response_format="b64_json"
    )
    assert answer.data is not None
    pictures = [base64.b64decode(image.b64_json or "") for image in answer.data]
    assert len(set(pictures)) == 2
    assert all(opened(picture).shape == (128, 128, 3) for picture in pictures)


def test_progress_is_told_and_a_cancelled_job_leaves_nothing(http: httpx.Client) -> None:
    job_id = http.post("/generate/image/background", json=LONG).json()["job_id"]
    jobs = []
    with http.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        for line in answer.iter_lines():
            if line.startswith("data: "):
                jobs.append(json.loads(line.removeprefix("data: ")))
                if len(jobs) == 1 or not jobs[-1]["progress"]["done"]:
                    continue
                if not jobs[-1]["cancel_requested"]:
                    url = jobs[-1]["result"]["images"][0]["url"]
                    assert http.get(url).status_code == 200
                    assert http.post(f"/v1/jobs/{job_id}/cancel").status_code == 200
    assert jobs[-1]["status"] == "cancelled"
    assert http.get(url).status_code == 404
    again = http.post(f"/v1/jobs/{job_id}/cancel")
    assert (again.status_code, again.json()["status"]) == (200, "cancelled")


def test_a_client_that_leaves_stops_its_pictures(http: httpx.Client, service: Service) -> None:
    before = {job["id"] for job in http.get("/v1/jobs", params={"limit": 100}).json()["data"]}
    body = {"prompt": "a red circle", "n": 10, "size": "256x256"}
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(
            f"{service.url}/v1/images/generations", json=body, headers=service.headers, timeout=1
        )
    (job,) = [
        job
        for job in http.get("/v1/jobs", params={"limit": 100}).json()["data"]
        if job["id"] not in before
    ]
    assert job_ended(http, job["id"])["status"] == "cancelled"


def test_what_cannot_be_drawn_names_its_bound(http: httpx.Client) -> None:
    for body, param in (
        ({"prompt": "x", "count": 0}, "count"),
        ({"prompt": "x", "count": 10_000}, "count"),
        ({"prompt": "x", "size": "7x7"}, "size"),
        ({"prompt": ""}, "prompt"),
    ):
        answer = http.post("/generate/image/background", json=body)
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    unknown = http.get(f"/v1/jobs/job_{0:032}")
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "not_found")
