"""`serve_config.yaml`: its nodes, its environment, and a version small enough for a test.

Nodes and deployments are read from the file and the environment from `configs/ray.env`; the
changes to them are made here.
"""

from __future__ import annotations

import copy
import re
from typing import TYPE_CHECKING, Any

import yaml

from serve_app.check.file.deployment import Deployment
from serve_app.check.file.document import read
from serve_app.check.placement.nodes import read_nodes
from tests.support.paths import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from serve_app.check.placement.nodes import Node

FILE = ROOT / "serve_config.yaml"
_SMALL = ROOT / "configs" / "cpu.yaml"
_ENVIRONMENT = ROOT / "configs" / "ray.env"
# Two cores produce about an eighth of the load that the file is made for.
_LOAD_SHARE = 8
# Seconds instead of minutes, as tests wait for them.
EAGER_S = {
    "upscale_delay_s": 2.0,
    "downscale_delay_s": 10.0,
    "look_back_period_s": 11.0,  # Serve warns of less
}
TO_ZERO, _TO_ZERO_S = "downscale_to_zero_delay_s", 15.0  # where zero is the minimum
_ON_ONE_MACHINE = {
    # The same priority as the load generator: a node of a cluster has its cores for itself.
    "RAY_worker_niceness": "0",
    # Replicas report their load every ten seconds by default.
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
}
_RELEASE = "GENSERVE_RELEASE"  # unused: another value makes another version of every deployment


def nodes() -> Sequence[Node]:
    """Return the machines that the file names, the head first."""
    (file,), _ = read(FILE.read_text(encoding="utf-8"), FILE.name)
    return read_nodes(file)[0]


def environment() -> dict[str, str]:
    """Return the documented environment of `ray start`, adapted to many nodes on one machine."""
    text = _ENVIRONMENT.read_text(encoding="utf-8")
    pairs = dict(re.findall(r"^(\w+)=([^\s\"]+)$", text, re.MULTILINE))
    return pairs | _ON_ONE_MACHINE


def scaled_down(*, port: int, args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the file with small models, and with at most one replica above the minimum.

    `args` override those of `configs/cpu.yaml`, section by section.
    """
    document: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    document["http_options"]["port"] = port
    application = document["applications"][0]
    small = yaml.safe_load(_SMALL.read_text(encoding="utf-8"))["applications"][0]
    application["runtime_env"]["env_vars"] |= small["runtime_env"]["env_vars"]
    application["args"] = _merged(small["args"], args)
    for options in application["deployments"]:
        if scaling := options.get("autoscaling_config"):
            fewest = scaling["min_replicas"]
            scaling["max_replicas"] = min(scaling["max_replicas"], fewest + 1)
    return document


def eager(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy that scales at an eighth of the load per replica, and with short delays."""
    changed = copy.deepcopy(dict(document))
    for options in changed["applications"][0]["deployments"]:
        if scaling := options.get("autoscaling_config"):
            target = scaling["target_ongoing_requests"]
            scaling |= {**EAGER_S, "target_ongoing_requests": max(1, target / _LOAD_SHARE)}
            if TO_ZERO in scaling:
                scaling[TO_ZERO] = _TO_ZERO_S
    return changed


def released(document: Mapping[str, Any], release: str) -> dict[str, Any]:
    """Return a copy that is another version of every deployment."""
    changed = copy.deepcopy(dict(document))
    changed["applications"][0]["runtime_env"]["env_vars"][_RELEASE] = release
    return changed


def with_code(document: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a copy whose deployments run the code in a folder, as the documentation says."""
    changed = copy.deepcopy(dict(document))
    changed["applications"][0]["runtime_env"]["env_vars"]["PYTHONPATH"] = str(folder)
    return changed


def fewest(document: Mapping[str, Any]) -> dict[str, int]:
    """Return the minimum number of replicas of each deployment."""
    return {
        options["name"]: Deployment((), options).replicas("minimum")
        for options in document["applications"][0]["deployments"]
    }


def grown(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a copy with one more replica of a deployment at the minimum."""
    changed = copy.deepcopy(dict(document))
    (options,) = (o for o in changed["applications"][0]["deployments"] if o["name"] == name)
    options["autoscaling_config"]["min_replicas"] += 1
    return changed


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = copy.deepcopy(dict(below))
    for name, value in above.items():
        both = value and isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = _merged(merged[name], value) if both else value
    return merged
