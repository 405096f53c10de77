"""What is killed comes back, and nothing that was promised is lost.

The engine of the first service is killed at the beginning and must be back at the end. Meanwhile
the whole node of the second service is killed. The long tests kill single processes, and redeploy
the service under a job; `make bench-kill` kills 60 times.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from tests.support.faults import DATABASE, NODE, VICTIMS
from tests.support.job_audit import Verdict
from tests.support.job_clients import Ledger
from tests.support.jobs import job_ended
from tests.support.kill_scenario import Load, Plan, audit, kill_under_load, run
from tests.support.postgres import postgres_server
from tests.support.service import SecondService, Service, deploy

NOTICED_S = 60
STALL_NOTICED_S = 180
RECOVERED_S = 300
REDEPLOYED_S = 180
PICTURES = 24  # drawing them all takes longer than a redeploy
KILLED = [NODE]
LOAD = Load(clients=4, pause_s=(1, 3), minutes=12)


def assert_kept(verdict: Verdict) -> None:
    assert str(verdict) == ""
    # Nothing wrong would be easy to say of nothing.
    assert verdict.looked_at["documents"] > 0
    assert verdict.looked_at["pictures"] > 0
    assert verdict.looked_at["chunks (doctor)"] > 0


@pytest.fixture(scope="module")
def question(service: Service) -> dict[str, Any]:
    return {
        "model": service.model,
        "messages": [{"role": "user", "content": "Name the capital of France."}],
        "temperature": 0,
        "max_tokens": 20,
    }


@pytest.fixture(scope="module")
def killed_engine(service: Service, question: dict[str, Any]) -> httpx.Response:
    """The answer to a question that is asked as soon as the engine is dead."""
    with httpx.Client(base_url=service.url, headers=service.headers, timeout=120) as http:
        assert http.post("/v1/chat/completions", json=question).status_code == 200
        (engine,) = named(service, "EngineCore")
        engine.kill()
        return http.post("/v1/chat/completions", json=question)


def test_a_killed_engine_is_refused_as_a_dead_backend_and_noticed(
    http: httpx.Client, killed_engine: httpx.Response
) -> None:
    # Never hanging and never a traceback.
    assert killed_engine.status_code == 503
    assert killed_engine.headers["retry-after"]
    until(NOTICED_S, lambda: http.get("/readyz").status_code == 503)
    assert http.get("/healthz").status_code == 200


@pytest.mark.timeout(1500)
def test_what_was_acknowledged_is_kept_whatever_is_killed(second_service: SecondService) -> None:
    node, ledger = second_service.node, Ledger()
    kills = kill_under_load(node, ledger, KILLED, LOAD, lambda done: print(done[-1]))  # noqa: T201
    assert [kill.victim for kill in kills] == KILLED
    assert_kept(audit(node, second_service.data, ledger))


@pytest.mark.usefixtures("killed_engine")
def test_a_killed_engine_is_replaced(
    http: httpx.Client, service: Service, question: dict[str, Any]
) -> None:
    until(RECOVERED_S, lambda: http.get("/readyz").status_code == 200)
    again = http.post("/v1/chat/completions", json=question).json()
    assert "Paris" in again["choices"][0]["message"]["content"]
    assert len(named(service, "EngineCore")) == 1  # nothing of the dead one is left


@pytest.mark.long
@pytest.mark.timeout(900)
def test_an_engine_that_stands_still_is_replaced(
    http: httpx.Client, service: Service, question: dict[str, Any]
) -> None:
    (engine,) = named(service, "EngineCore")
    engine.suspend()
    try:
        with (
            httpx.Client(base_url=service.url, headers=service.headers, timeout=400) as patient,
            ThreadPoolExecutor(1) as thread,
        ):
            answer = thread.submit(patient.post, "/v1/chat/completions", json=question)
            # While it waits: once it has failed, the replica may have been replaced.
            until(STALL_NOTICED_S, lambda: http.get("/readyz").status_code == 503)
            assert answer.result().status_code in {503, 504}
        until(RECOVERED_S, lambda: http.get("/readyz").status_code == 200)
        assert engine not in named(service, "EngineCore")
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            engine.kill()
    again = http.post("/v1/chat/completions", json=question).json()
    assert "Paris" in again["choices"][0]["message"]["content"]


def named(service: Service, part: str) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if f"VLLM::{part}" in " ".join(process.info["cmdline"] or ())
        and service.launcher in process.parents()
    ]


def until(limit_s: float, holds: Callable[[], bool]) -> None:
    began = time.monotonic()
    while not holds():
        assert time.monotonic() - began < limit_s
        time.sleep(0.5)


@pytest.mark.long
def test_a_job_goes_on_while_the_service_is_redeployed(second_service: SecondService) -> None:
    """Also the two calls that `serve deploy` makes are those of its users."""
    service = second_service
    with httpx.Client(base_url=service.url, timeout=30) as http:
        pictures = {"prompt": "a red circle", "count": PICTURES, "steps": 50, "size": "256x256"}
        job_id = http.post("/generate/image/background", json=pictures).json()["job_id"]
        while not (before := http.get(f"/v1/jobs/{job_id}").json())["progress"]["done"]:
            time.sleep(0.2)
        assert before["status"] == "running"
        replicas = service.node.replica_ids()
        document = yaml.safe_load(service.config.read_text())
        document["applications"][0]["args"].setdefault("jobs", {})["keep_days"] = 8.0
        service.config.write_text(yaml.safe_dump(document))
        deploy(service.config, service.data)
        began = time.monotonic()
        while replicas & service.node.replica_ids() or not ready(http):
            assert time.monotonic() - began < REDEPLOYED_S
            time.sleep(1)
        now = http.get(f"/v1/jobs/{job_id}").json()
        assert now["status"] == "running", "the job was too short to see anything"
        assert now["progress"]["done"] >= before["progress"]["done"]
        after = job_ended(http, job_id)
        assert after["status"] == "succeeded"
        assert after["progress"] == {"done": PICTURES, "total": PICTURES}


def ready(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").is_success
    except httpx.TransportError:
        return False


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_two_replicas_share_the_work_and_their_database_restarts(tmp_path: Path) -> None:
    """A replica is killed, PostgreSQL restarts, and so on, under the load of all clients."""
    with postgres_server() as server:
        victims = ("Jobs", DATABASE) * 3
        wanted = Plan(*(6, 2, 12, (1, 3), 4), chat=False, postgres=server, victims=victims)
        outcome = run(wanted, tmp_path)
    assert_kept(outcome.verdict)
    assert [kill.victim for kill in outcome.kills] == list(victims)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_other_parts_may_be_killed_too(tmp_path: Path) -> None:
    victims = tuple(victim for victim in VICTIMS if victim not in KILLED)
    wanted = Plan(*(len(victims), 2, 8, (1, 3), 4), chat=False, victims=victims)
    outcome = run(wanted, tmp_path)
    assert_kept(outcome.verdict)
    assert [kill.victim for kill in outcome.kills] == list(victims)
