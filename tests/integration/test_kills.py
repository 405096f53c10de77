"""Jobs outlive whoever does them: some of the kills of `make bench-kill`, and a redeploy.

On services of their own, without the language model, which has nothing to do with it.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import yaml

from tests.bench.kills import Outcome, Plan, command_for, run
from tests.support.faults import VICTIMS, Node
from tests.support.postgres import serve_postgres
from tests.support.processes import ROOT
from tests.support.service import job_ended

REDEPLOYED_S = 180
PICTURES = 24  # drawing them all takes longer than a redeploy

pytestmark = pytest.mark.alone


def nothing_was_lost(outcome: Outcome) -> None:
    assert str(outcome.verdict) == ""
    # Nothing wrong would be easy to say of nothing.
    assert outcome.verdict.looked_at["documents"] > 0
    assert outcome.verdict.looked_at["pictures"] > 0


@pytest.mark.timeout(1500)
def test_what_was_acknowledged_is_kept_whoever_is_killed(tmp_path: Path) -> None:
    wanted = Plan(kills=5, minutes=12, pause_s=(1, 3), clients=4, chat=False)
    outcome = run(wanted, tmp_path, print)
    nothing_was_lost(outcome)
    assert sorted(kill.victim for kill in outcome.kills) == sorted(VICTIMS)


@pytest.mark.timeout(900)
def test_two_replicas_share_the_work_on_postgresql_and_each_may_be_killed(tmp_path: Path) -> None:
    with serve_postgres() as url:
        victims = ("Jobs", "Jobs", "Jobs")
        wanted = Plan(*(3, 2, 8, (1, 3), 4), chat=False, postgres=url, victims=victims)
        outcome = run(wanted, tmp_path, print)
    nothing_was_lost(outcome)
    assert len(outcome.kills) == 3


@pytest.mark.timeout(900)
def test_jobs_begun_before_a_redeploy_finish_after_it(tmp_path: Path) -> None:
    """Also the two calls that `serve deploy` makes are those of its users."""
    command = command_for(Plan(chat=False), tmp_path)
    node, config = Node(command, tmp_path), Path(command.args[-1])
    node.start()
    try:
        with httpx.Client(base_url=node.url, timeout=30) as http:
            pictures = {"prompt": "a red circle", "count": PICTURES, "steps": 50, "size": "256x256"}
            job_id = http.post("/generate/image/background", json=pictures).json()["job_id"]
            while not (before := http.get(f"/v1/jobs/{job_id}").json())["progress"]["done"]:
                time.sleep(0.2)
            assert before["status"] == "running"
            replicas = node.replica_ids()
            document = yaml.safe_load(config.read_text())
            document["applications"][0]["args"]["jobs"]["keep_days"] = 8.0
            config.write_text(yaml.safe_dump(document))
            deploy(config, tmp_path)
            began = time.monotonic()
            while replicas & node.replica_ids() or not ready(http):
                assert time.monotonic() - began < REDEPLOYED_S
                time.sleep(1)
            now = http.get(f"/v1/jobs/{job_id}").json()
            assert now["status"] == "running", "the job was too short to see anything"
            assert now["progress"]["done"] >= before["progress"]["done"]
            after = job_ended(http, job_id)
            assert after["status"] == "succeeded"
            assert after["progress"] == {"done": PICTURES, "total": PICTURES}
    finally:
        node.stop()


def ready(http: httpx.Client) -> bool:
    try:
        return http.get("/readyz").is_success
    except httpx.TransportError:
        return False


def deploy(config: Path, folder: Path) -> None:
    """`serve deploy`, against the dashboard of the service that runs."""
    log = (folder / "data" / "logs" / "serve.log").read_text(errors="replace")
    dashboard = re.findall(r"http://127\.0\.0\.1:\d+(?=\s|\x1b)", log)[0]
    token = folder / "data" / "ray_token"
    environment = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    subprocess.run(
        [sys.executable, "-m", "ray.serve.scripts", "deploy", str(config), "--address", dashboard],
        cwd=ROOT,
        env=os.environ | environment,
        check=True,
        timeout=120,
    )
