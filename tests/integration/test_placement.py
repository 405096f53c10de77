"""The files for several nodes fit the nodes they are made for, on a real Ray's scheduler."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from typing import Any, get_args

import pytest

from serve_app.check import check
from serve_app.check.file.deployment import Deployment
from serve_app.check.placement.plan import Size, hosts
from tests.integration.placement import documented
from tests.support.paths import ROOT

# Ray gives a node 30 s to start, which is too short beside four other tests on two cores. What
# the check plans is tested without Ray in `tests/unit/test_check_plan.py`.
pytestmark = pytest.mark.long

TIMEOUT_S = 400
NODES = {
    "serve_config.yaml": ["head", "large-0", "large-1", "pictures", "small"],
    "configs/rayservice.yaml": ["cpu-0", "cpu-1", "head", "large-0", "small"],
}


@pytest.fixture(scope="module", params=["serve_config.yaml", "configs/rayservice.yaml"])
def file(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def placed(file: str) -> dict[str, Any]:
    """Run in a process of its own: this one may be connected to another Ray."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.placement", file],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=TIMEOUT_S)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert process.returncode == 0
    found: dict[str, Any] = json.loads(output.splitlines()[-1])
    return found


def test_the_nodes_are_those_that_the_file_names(placed: dict[str, Any], file: str) -> None:
    assert placed["nodes"] == NODES[file]


@pytest.mark.parametrize("size", ["minimum", "maximum"])
def test_every_replica_is_placed(placed: dict[str, Any], size: str) -> None:
    counts = {name: len(replicas) for name, replicas in placed[size].items()}

    assert (
        counts
        == {
            "minimum": {
                "Ingress": 2,
                "LLM": 1,
                "Embedder": 1,
                "Scraper": 1,
                "Parser": 1,
                "Retriever": 2,
                "Jobs": 2,
            },
            "maximum": {
                "Ingress": 8,
                "LLM": 4,
                "Embedder": 4,
                "Scraper": 4,
                "Parser": 4,
                "Retriever": 4,
                "Images": 4,
                "Jobs": 2,
            },
        }[size]
    )


@pytest.mark.parametrize("size", ["minimum", "maximum"])
def test_the_workers_of_one_model_are_on_one_node(placed: dict[str, Any], size: str) -> None:
    for nodes in placed[size]["LLM"]:
        assert len(nodes) >= 4
        assert len(set(nodes)) == 1
        assert nodes[0].startswith("large")


@pytest.mark.parametrize("size", ["minimum", "maximum"])
def test_the_large_cards_are_left_alone_by_all_others(placed: dict[str, Any], size: str) -> None:
    found = {name: {kind(n) for nodes in r for n in nodes} for name, r in placed[size].items()}
    assert found["Embedder"] == {"small"}
    assert found.get("Images", {"pictures"}) == {"pictures"}


@pytest.mark.parametrize("size", get_args(Size))
def test_the_check_plans_what_ray_does(placed: dict[str, Any], file: str, size: Size) -> None:
    report = check((ROOT / file).read_text(), file)
    assert report.problems == []
    (planned,) = (plan for plan in report.plans if plan.size == size)
    assert planned.unplaced == {}
    for name in ("LLM", "Embedder", "Images"):
        rays = Counter(kind(nodes[0]) for nodes in placed[size].get(name, []))
        ours = Counter[str]()
        for node, count in planned.places.get(name, {}).items():
            ours[kind(node)] += count
        assert ours == rays, name
    everybody = {name: len(replicas) for name, replicas in placed[size].items()}
    assert {name: sum(nodes.values()) for name, nodes in planned.places.items()} == everybody


@pytest.mark.parametrize("size", get_args(Size))
def test_no_replica_is_where_the_check_says_none_may_be(
    placed: dict[str, Any], file: str, size: Size
) -> None:
    cluster, deployments = documented((ROOT / file).read_text())
    nodes = cluster.of(size)
    for options in deployments:
        allowed = {node.name for node in hosts(Deployment((), options), nodes)}
        there = {node for nodes in placed[size].get(options["name"], []) for node in nodes}
        assert there <= allowed, options["name"]


def kind(node: str) -> str:
    return node.rstrip("0123456789").rstrip("-")


def test_what_does_not_fit_is_not_placed(placed: dict[str, Any]) -> None:
    assert placed["one too many"] == {
        "LLM": "NO_RESOURCES",  # for now: all GPUs are taken
        "Embedder": "NO_RESOURCES",
        "Images": "NO_RESOURCES",
        "too big": "INFEASIBLE",  # for ever: no node has 16
    }
