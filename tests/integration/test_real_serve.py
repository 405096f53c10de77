"""What a real Serve does with our deployments, without models.

Images scaled to zero: asleep is ready, asking does not wake it, work does. An ingress without
API keys: refused where Serve listens on all interfaces.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

from tests.support.paths import ROOT

TIMEOUT_S = 500


@pytest.fixture(scope="module")
def seen() -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.integration.real_serve"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=TIMEOUT_S,
        env={name: value for name, value in os.environ.items() if name != "GENSERVE_API_KEYS"},
    )
    assert done.returncode == 0, done.stderr[-4000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def test_it_starts_asleep_and_readiness_does_not_wake_it(seen: dict[str, Any]) -> None:
    assert seen["left alone"] == {"statuses": [200], "details": ["asleep"], "replicas": [0]}


def test_requests_wake_it_and_wait_for_it(seen: dict[str, Any]) -> None:
    woken = seen["woken"]
    assert woken["answers"] == [200] * len(woken["answers"])
    assert woken["statuses"] == [200]
    assert woken["replicas"] in ([0, 1], [1])  # the first look may come after the first request
    assert woken["details"][0] == "asleep"
    assert "waking" in woken["details"]


def test_it_falls_asleep_again_though_it_is_asked_how_it_is(seen: dict[str, Any]) -> None:
    asleep = seen["asleep again"]
    assert asleep["statuses"] == [200]
    assert asleep["replicas"] == [1, 0]
    assert asleep["details"][-1] == "asleep"


def test_a_job_in_the_background_wakes_it_too(seen: dict[str, Any]) -> None:
    assert seen["job"] == "succeeded"


def test_an_open_ingress_is_refused_on_all_interfaces(seen: dict[str, Any]) -> None:
    refused = "http_options.host is 0.0.0.0 and GENSERVE_API_KEYS is not set"
    assert refused in seen["public"]["without keys"]
    assert seen["public"]["with keys"] == "deployed"
