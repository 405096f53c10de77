"""`serve_config.yaml`: its nodes, its environment, and a version small enough for a test.

Nothing is written twice: nodes and deployments are read from the file and the environment from
`configs/ray.env`; what is changed in them is in here.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import yaml

from serve_app.check.file.deployment import Deployment
from serve_app.check.file.document import read
from serve_app.check.placement.nodes import read_nodes
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from serve_app.check.placement.nodes import Node

FILE = ROOT / "serve_config.yaml"
_SMALL = ROOT / "configs" / "cpu.yaml"
_ENVIRONMENT = ROOT / "configs" / "ray.env"
# Two cores bring about an eighth of the load that the file is made for.
_LOAD_SHARE = 8
# Seconds instead of minutes: the test waits for them.
_EAGER_S = {
    "upscale_delay_s": 2.0,
    "downscale_delay_s": 10.0,
    "look_back_period_s": 11.0,  # Serve warns of less
}
_TO_ZERO, _TO_ZERO_S = "downscale_to_zero_delay_s", 15.0  # where zero is the fewest
_ON_ONE_MACHINE = {
    # As important as what else runs here: a node of a cluster has its cores for itself.
    "RAY_worker_niceness": "0",
    # Serve looks at its figures every ten seconds by default.
    "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
    "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "1",
}
_RELEASE = "GENSERVE_RELEASE"  # read by nobody: another value is another version of everything


def nodes() -> Sequence[Node]:
    """Return the machines that the file names, the head first."""
    (file,), _ = read(FILE.read_text(encoding="utf-8"), FILE.name)
    return read_nodes(file)[0]


def environment() -> dict[str, str]:
    """Return the environment in which the file says to start Ray, and what one machine needs."""
    lines = _ENVIRONMENT.read_text(encoding="utf-8").splitlines()
    pairs = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    return pairs | _ON_ONE_MACHINE


def scaled_down(*, port: int, args: Mapping[str, Any]) -> dict[str, Any]:
    """The file with small models, and with room for one replica more than the fewest.

    `args` goes over those of `configs/cpu.yaml`, section by section.
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
    """The same configuration with an eighth of the load a replica, and without the long delays."""
    changed = copy.deepcopy(dict(document))
    for options in changed["applications"][0]["deployments"]:
        if scaling := options.get("autoscaling_config"):
            target = scaling["target_ongoing_requests"]
            scaling |= {**_EAGER_S, "target_ongoing_requests": max(1, target / _LOAD_SHARE)}
            if _TO_ZERO in scaling:
                scaling[_TO_ZERO] = _TO_ZERO_S
    return changed


def released(document: Mapping[str, Any], release: str) -> dict[str, Any]:
    """The same configuration as another version of every deployment."""
    changed = copy.deepcopy(dict(document))
    changed["applications"][0]["runtime_env"]["env_vars"][_RELEASE] = release
    return changed


def fewest(document: Mapping[str, Any]) -> dict[str, int]:
    """How many replicas each deployment has at the least."""
    return {
        options["name"]: Deployment((), options).replicas("minimum")
        for options in document["applications"][0]["deployments"]
    }


def grown(document: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The same configuration with one replica more of a deployment."""
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
