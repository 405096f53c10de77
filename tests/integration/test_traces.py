"""One request, or job, seen through every deployment: as a trace, and by its id in the logs.

The second service has tracing on, and Ray's own calls between deployments; the first one gRPC.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.jobs import job_ended
from tests.support.service import SecondService, Service, ray_session
from tests.support.spans import Trace, read_traces
from tests.support.web import Web

WRITTEN_WITHIN_S = 20
INGRESS = "replica_handle_request Ingress __call__"
REPORT = b"# Ferry\n\nThe ferry to Arvik carries ninety people and sails at dawn.\n"


def main_job(http: httpx.Client, web: Web, request_id: str) -> str:
    """Upload, and ask under this id about it and a page; the id of the upload's job."""
    files, collection = {"file": ("ferry.md", REPORT)}, {"collection": "traces"}
    accepted = http.post("/upload", files=files, data=collection)
    job_id: str = accepted.json()["job_id"]
    assert job_ended(http, job_id)["status"] == "succeeded"
    asked = {
        "prompt": f"When does the ferry sail? {web.url('/good')}",
        "max_tokens": 16,
        "stream": True,
        **collection,
    }
    headers = {"x-request-id": request_id}
    answer = http.post("/generate/text", json=asked, headers=headers)
    assert answer.headers["x-request-id"] == request_id
    assert "event: done" in answer.text
    assert '"kind":"document"' in answer.text
    assert '"kind":"page"' in answer.text
    return job_id


@pytest.fixture(scope="module")
def asked(second_service: SecondService, web: Web) -> Iterator[str]:
    """The main job, done once; the id of its job."""
    with httpx.Client(base_url=second_service.url, timeout=120) as http:
        job_id = main_job(http, web, "the-traced-one")
        yield job_id
        document_id = http.get(f"/v1/jobs/{job_id}").json()["input"]["document_id"]
        http.delete(f"/v1/documents/{document_id}", params={"collection": "traces"})


def trace_with(service: SecondService, name: str) -> Trace:
    """The trace that has a span of this name; the last spans of it are a moment late."""
    end = time.monotonic() + WRITTEN_WITHIN_S
    while time.monotonic() < end:
        found = [trace for trace in read_traces(service.spans) if name in trace.names()]
        with contextlib.suppress(KeyError, ValueError):
            (trace,) = found
            for every in trace.names():
                trace.above(every)
            return trace
        time.sleep(0.5)
    pytest.fail(f"{len(found)} traces have `{name}` whole, of {len(read_traces(service.spans))}")


@pytest.mark.usefixtures("asked")
def test_a_request_is_one_trace_with_a_span_for_each_stage(second_service: SecondService) -> None:
    trace = trace_with(second_service, "generation")
    for stage in ("pages", "search", "prompt", "generation"):
        assert trace.above(stage) == [[INGRESS]], stage
    inside = {
        "replica_handle_request Scraper fetch": "pages",
        "replica_handle_request Retriever search": "search",
        "embed": "search",
        "query": "search",
        "replica_handle_request LLM count_tokens": "prompt",
        "replica_handle_request LLM chat_events": "generation",
    }
    for name, outer in inside.items():
        found = trace.above(name)
        assert found, name
        assert all(outer in above and above[-1] == INGRESS for above in found), (name, found)
    for name in ("embed", "query"):
        assert trace.above(name)[0][0] == "replica_handle_request Retriever search"
    # Attribution embeds, too, beside the generation.
    embedded = trace.above("replica_handle_request Embedder embed")
    assert any("search" in above for above in embedded)
    assert all(above[-1] == INGRESS for above in embedded)


@pytest.mark.usefixtures("asked")
def test_a_job_is_one_trace_with_a_span_for_its_step(second_service: SecondService) -> None:
    trace = trace_with(second_service, "job ingest")
    assert trace.above("parse") == [["job ingest"]]  # a short text has no other
    parsed = trace.above("replica_handle_request Parser parse")
    assert parsed
    assert all(above[-2:] == ["parse", "job ingest"] for above in parsed)
    stored = trace.above("replica_handle_request Embedder embed")
    assert stored
    assert all(above[-2:] == ["parse", "job ingest"] for above in stored)


def logged(session: Path, request_id: str) -> set[str]:
    """The deployments in whose logs a line bears this id, where Serve puts it."""
    found = set()
    for path in (session / "logs" / "serve").glob("replica_*.log"):
        if re.search(rf"^\w+ [\d-]+ \S+ \S+ \S+ {request_id} --", path.read_text(), re.MULTILINE):
            found.add(path.name.split("_")[2])
    return found


def assert_logged(session: Path, request_id: str, deployments: set[str]) -> None:
    end = time.monotonic() + WRITTEN_WITHIN_S
    while not deployments <= logged(session, request_id) and time.monotonic() < end:
        time.sleep(0.5)
    assert logged(session, request_id) >= deployments


OF_A_REQUEST = {"Ingress", "LLM", "Scraper", "Retriever", "Embedder"}
OF_A_JOB = {"Jobs", "Parser", "Retriever", "Embedder"}


def test_ids_are_in_the_logs_by_rays_own_calls(second_service: SecondService, asked: str) -> None:
    session = ray_session(second_service.node.processes())
    assert_logged(session, "the-traced-one", OF_A_REQUEST)
    assert_logged(session, asked, OF_A_JOB)


def test_ids_are_in_the_logs_by_grpc(service: Service, http: httpx.Client, web: Web) -> None:
    job_id = main_job(http, web, "the-known-one")
    session = ray_session(service.processes())
    assert_logged(session, "the-known-one", OF_A_REQUEST)
    assert_logged(session, job_id, OF_A_JOB)
    submitted = re.compile(rf" (\S+) -- job {job_id} was submitted")
    (jobs,) = (session / "logs" / "serve").glob("replica_*_Jobs_*.log")
    match = submitted.search(jobs.read_text())
    assert match, "the line that ties a request to its job"
    assert "Ingress" in logged(session, match[1])


@pytest.mark.parametrize(
    ("path", "status"), [("/nowhere", 404), ("/v1/jobs?kind=none", 400), ("/v1/jobs/job_x", 404)]
)
def test_an_error_names_its_request(http: httpx.Client, path: str, status: int) -> None:
    given = http.get(path, headers={"x-request-id": "reported"})
    assert (given.status_code, given.headers["x-request-id"]) == (status, "reported")
    assert len(http.get(path).headers["x-request-id"]) >= 16
