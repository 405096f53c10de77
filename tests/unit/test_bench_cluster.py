"""The configuration of the cluster tests differs from the documented file in a few values only."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from serve_app.settings import DEPLOYMENT_NAMES, AppSettings
from tests.support import cluster_config

ARGS = {
    "llm": {"engine": "openai", "engine_args": {}, "base_url": "http://127.0.0.1:9/v1"},
    "retriever": {"store": "qdrant", "url": "http://127.0.0.1:9"},
    "database_url": "postgresql://somebody@127.0.0.1/jobs",
}
SCALING = {"max_replicas"}
EAGER = {*cluster_config.EAGER_S, cluster_config.TO_ZERO, "target_ongoing_requests"}


@pytest.fixture
def document() -> dict[str, Any]:
    return cluster_config.scaled_down(port=8123, args=ARGS)


def deployments(document: dict[str, Any]) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = document["applications"][0]["deployments"]
    return listed


def changed_in_scaling(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """Which keys of autoscaling differ; nothing else may."""
    old, new = before.pop("autoscaling_config", {}), after.pop("autoscaling_config", {})
    assert before == after
    return {key for key in {*old, *new} if old.get(key) != new.get(key)}


def test_only_the_most_replicas_are_changed(document: dict[str, Any]) -> None:
    file = yaml.safe_load(cluster_config.FILE.read_text())
    for before, after in zip(deployments(file), deployments(document), strict=True):
        assert changed_in_scaling(before, after) <= SCALING
    assert document["proxy_location"] == file["proxy_location"] == "EveryNode"


def test_a_replica_more_than_the_fewest_is_left(document: dict[str, Any]) -> None:
    scaled = [one["autoscaling_config"] for one in deployments(document) if _scales(one)]
    assert {one["max_replicas"] - one["min_replicas"] for one in scaled} == {1}


def test_only_loads_and_delays_are_eager(document: dict[str, Any]) -> None:
    eager = cluster_config.eager(document)
    for before, after in zip(deployments(document), deployments(eager), strict=True):
        assert changed_in_scaling(before, after) <= EAGER


def test_another_release_differs_in_nothing_that_is_read(document: dict[str, Any]) -> None:
    released = cluster_config.released(document, "2")
    assert released != document
    variables = released["applications"][0]["runtime_env"]["env_vars"]
    assert variables.pop("GENSERVE_RELEASE") == "2"
    assert released == document


@pytest.mark.parametrize("change", [dict, cluster_config.eager])
def test_serve_takes_it(document: dict[str, Any], change: Any) -> None:
    (application,) = ServeDeploySchema.model_validate(change(document)).applications
    assert len(application.deployments) == len(DEPLOYMENT_NAMES)
    AppSettings.model_validate(application.args)


def test_the_nodes_and_the_environment_are_read_from_the_file() -> None:
    head, *workers = cluster_config.nodes()
    assert head.gpus == 0
    assert len(workers) >= 3
    assert sum(worker.gpus for worker in workers) > 0
    environment = cluster_config.environment()
    assert environment["RAY_AUTH_MODE"] == "token"
    assert environment["RAY_SERVE_THROUGHPUT_OPTIMIZED"] == "1"


def _scales(options: dict[str, Any]) -> bool:
    return "autoscaling_config" in options
