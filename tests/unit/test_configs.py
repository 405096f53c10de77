"""The configurations in the repository are good, and promise what their comments say."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import yaml

from serve_app.check import check
from serve_app.settings import DEPLOYMENT_NAMES, AppSettings
from tests.support.paths import ROOT

FILES = ["configs/cpu.yaml", "configs/single-gpu.yaml", "serve_config.yaml"]
GPU_RESULT = ROOT / "tests" / "bench" / "results" / "gpu.json"
CUDA_GIB = 0.5
KUBERNETES = "configs/rayservice.yaml"  # tests/unit/test_rayservice.py says more of it


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def application(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(text_of(name))["applications"][0]
    return loaded


def booked(name: str, what: str) -> float:
    """Sum what one replica of each deployment books, outside of placement groups."""
    options = [d["ray_actor_options"] for d in application(name)["deployments"]]
    return math.fsum(o.get(what, 0) for o in options)


@pytest.mark.parametrize("name", [*FILES, KUBERNETES])
def test_a_shipped_configuration_is_good(name: str) -> None:
    assert [str(p) for p in check(text_of(name), name).problems] == []


def test_no_configuration_is_left_unchecked() -> None:
    shipped = {p.relative_to(ROOT).as_posix() for p in (ROOT / "configs").glob("*.yaml")}

    assert shipped | {"serve_config.yaml"} == {*FILES, KUBERNETES}


@pytest.mark.parametrize("name", FILES)
def test_every_deployment_is_sized(name: str) -> None:
    deployments = application(name)["deployments"]

    assert tuple(d["name"] for d in deployments) == DEPLOYMENT_NAMES
    for deployment in deployments:
        assert deployment["max_ongoing_requests"] > 5  # Serve's default
        assert deployment["max_queued_requests"] > 0
        assert "num_cpus" in deployment["ray_actor_options"]
        assert ("num_replicas" in deployment) != ("autoscaling_config" in deployment)


@pytest.mark.parametrize("name", FILES)
def test_without_keys_only_this_machine_is_served(name: str) -> None:
    assert yaml.safe_load(text_of(name))["http_options"]["host"] == "127.0.0.1"


@pytest.mark.parametrize("name", FILES)
def test_nothing_phones_home(name: str) -> None:
    variables = application(name)["runtime_env"]["env_vars"]

    assert variables["VLLM_NO_USAGE_STATS"] == variables["HF_HUB_DISABLE_TELEMETRY"] == "1"


def test_the_default_fits_two_cores_and_needs_nothing_from_outside() -> None:
    args = AppSettings.model_validate(application("configs/cpu.yaml")["args"])

    assert booked("configs/cpu.yaml", "num_cpus") <= 2
    assert booked("configs/cpu.yaml", "num_gpus") == 0
    assert args.llm.model.startswith("package:")
    assert args.embedder.model.startswith("package:")
    assert args.retriever.store == "edge"
    assert application("configs/cpu.yaml")["runtime_env"]["env_vars"]["HF_HUB_OFFLINE"] == "1"


def test_one_card_holds_the_model_and_the_embedder() -> None:
    name = "configs/single-gpu.yaml"
    args = AppSettings.model_validate(application(name)["args"])
    llm = application(name)["deployments"][1]["ray_actor_options"]

    assert booked(name, "num_cpus") <= 8
    assert 0 < booked(name, "num_gpus") <= 1
    # What vLLM takes of the card is what was booked for it.
    assert args.llm.engine_args["gpu_memory_utilization"] == llm["num_gpus"]
    assert args.embedder.device == args.images.device == "cuda"


@pytest.mark.parametrize(
    ("name", "card_gib"), [("serve_config.yaml", 22.5), ("configs/single-gpu.yaml", 45.0)]
)
def test_pictures_fit_the_share_of_a_card_that_is_booked_for_them(
    name: str, card_gib: float
) -> None:
    # As measured on a card; CUDA's own comes on top. Cards sold as of 24 and 48 GB have this much.
    measured = json.loads(GPU_RESULT.read_text())["sdxl-turbo, random weights"]
    args = AppSettings.model_validate(application(name)["args"]).images
    (options,) = (d for d in application(name)["deployments"] if d["name"] == "Images")
    share = options["ray_actor_options"]["num_gpus"]

    peak_gib = measured[f"8 of {args.max_size} pixels"]["peak_gib"]

    assert args.max_batch <= 8
    assert peak_gib + CUDA_GIB <= card_gib * share


def test_a_stream_has_time_to_end_before_its_replica_does() -> None:
    name = "serve_config.yaml"
    args = AppSettings.model_validate(application(name)["args"])

    for deployment in application(name)["deployments"][:2]:
        assert deployment["graceful_shutdown_timeout_s"] >= args.answer.total_timeout_s


def test_the_gpu_requirements_name_no_cpu_build() -> None:
    text = (ROOT / "configs" / "requirements" / "gpu.txt").read_text()
    assert "+cpu" not in text
    assert "nvidia-nccl" in text


def test_json_logs_are_asked_for_where_proxies_and_controller_hear_it() -> None:
    whole = yaml.safe_load(text_of("serve_config.yaml"))

    assert whole["logging_config"]["encoding"] == "JSON"
    # Its own would go before that one, and be of the replicas alone.
    assert "logging_config" not in application("serve_config.yaml")
