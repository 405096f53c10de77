"""Ray's environment is the same wherever the files say how a node is started."""

from __future__ import annotations

import re
from typing import Any

import yaml

from serve_app.launch.start import _ENVIRONMENT
from tests.support.shipped import shipped

CONFIG = "serve_config.yaml"
OPERATIONS = "configs/OPERATIONS.md"
NODES = "configs/ray.env"
IMAGE = "configs/docker/gpu.Dockerfile"
KUBERNETES = "configs/rayservice.yaml"

PAIR = re.compile(r"(RAY_\w+)=(\S+)")
EXPORTS = re.compile(r"^#? *export .*", re.MULTILINE)
# A file for each cluster, which KubeRay takes from a Secret; a folder for each user.
ELSEWHERE = {"RAY_AUTH_TOKEN_PATH", "RAY_TMPDIR"}
# A whole cluster on two cores; and a node that is left by Ctrl-C has nowhere to go.
OF_ONE_MACHINE = {"RAY_SERVE_CONTROL_LOOP_INTERVAL_S", "RAY_SERVE_METRICS_EXPORT_INTERVAL_MS"}
OF_MANY = {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"}


def pairs(text: str) -> dict[str, str]:
    found = [(name, value) for name, value in PAIR.findall(text) if name not in ELSEWHERE]
    assert len(found) == len(dict(found)), "one is named twice"
    return dict(found)


def of_pods() -> list[dict[str, str]]:
    """Those of each group; KubeRay itself sets the mode of authentication."""
    cluster: dict[str, Any] = next(yaml.safe_load_all(shipped(KUBERNETES)))["spec"][
        "rayClusterConfig"
    ]
    mode = {"RAY_AUTH_MODE": cluster["authOptions"]["mode"]}
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    containers = [group["template"]["spec"]["containers"][0] for group in groups]
    return [
        mode | {v["name"]: v["value"] for v in container["env"] if v["name"].startswith("RAY_")}
        for container in containers
    ]


WANTED = pairs(shipped(NODES))


def test_the_configuration_says_where_it_is_and_the_operations_page_says_nothing_else() -> None:
    assert len(WANTED) >= 8
    for name in (CONFIG, OPERATIONS):
        assert f"set -a; . {NODES}; set +a" in shipped(name)
        assert "RAY_AUTH_TOKEN_PATH=" in shipped(name)
        assert pairs("\n".join(EXPORTS.findall(shipped(name)))).items() <= WANTED.items()


def test_the_image_has_it() -> None:
    instructions = re.sub(r"^ *#.*", "", shipped(IMAGE), flags=re.MULTILINE)

    assert pairs(instructions) == WANTED


def test_every_pod_has_it() -> None:
    assert of_pods() == [WANTED] * 5


def test_one_machine_is_started_with_it() -> None:
    given = {name: value for name, value in _ENVIRONMENT.items() if name.startswith("RAY_")}

    assert given.keys() - WANTED.keys() == OF_ONE_MACHINE
    assert WANTED.keys() - given.keys() == OF_MANY
    assert WANTED.items() - given.items() == {(name, WANTED[name]) for name in OF_MANY}


def test_a_node_lets_answers_end_before_it_is_killed() -> None:
    drained_s = int(WANTED["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
    (application,) = yaml.safe_load(shipped(CONFIG))["applications"]
    replicas_s = [d["graceful_shutdown_timeout_s"] for d in application["deployments"]]
    workers = next(yaml.safe_load_all(shipped(KUBERNETES)))["spec"]["rayClusterConfig"]
    pods_s = {
        group["groupName"]: group["template"]["spec"]["terminationGracePeriodSeconds"]
        for group in workers["workerGroupSpecs"]
    }

    assert drained_s > max(replicas_s)
    assert min(pods_s["cpu"], pods_s["large"]) > drained_s
    assert f"--deadline-remaining-seconds={drained_s}" in shipped(OPERATIONS)
    assert re.search(r"^STOPSIGNAL SIGTERM$", shipped(IMAGE), re.MULTILINE)
