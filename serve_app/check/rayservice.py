"""A KubeRay `RayService`: the Serve configuration inside it, and its groups as nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import yaml

from serve_app.check.config_file import read
from serve_app.check.deployment import number, section
from serve_app.check.nodes import Cluster, Node, copies

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serve_app.check.config_file import ConfigFile, Place, Problem

CLUSTER: Place = ("spec", "rayClusterConfig")
SERVE: Place = ("spec", "serveConfigV2")


@dataclass(frozen=True, slots=True)
class Group:
    """The head or a group of workers: so many equal pods, each a Ray node."""

    name: str
    path: Place
    options: Mapping[str, Any]

    @property
    def container_path(self) -> Place:
        return (*self.path, "template", "spec", "containers", 0)

    @property
    def container(self) -> Mapping[str, Any]:
        """Ray's; others beside it come after it."""
        listed = section(section(self.options, "template"), "spec").get("containers")
        first = listed[0] if isinstance(listed, list) and listed else None
        return first if isinstance(first, Mapping) else {}

    @property
    def limits(self) -> Mapping[str, Any]:
        return section(section(self.container, "resources"), "limits")

    @property
    def variables(self) -> Mapping[str, Mapping[str, Any]]:
        listed = self.container.get("env")
        entries = listed if isinstance(listed, list) else []
        return {str(e["name"]): e for e in entries if isinstance(e, Mapping) and "name" in e}

    @property
    def node(self) -> Node:
        """The node that Ray makes of a pod: what is booked goes before the pod's limits."""
        gpu = next((name for name in self.limits if str(name).endswith("gpu")), "")
        cpus = self._booked("CPU", "num-cpus", self.limits.get("cpu"))
        gpus = self._booked("GPU", "num-gpus", self.limits.get(gpu))
        labels = {str(k): str(v) for k, v in section(self.options, "labels").items()}
        return Node(self.name, ceil(cpus), int(gpus), labels)

    def _booked(self, resource: str, parameter: str, limit: object) -> float:
        for value in (
            section(self.options, "resources").get(resource),
            section(self.options, "rayStartParams").get(parameter),
            limit,
        ):
            if value is not None:
                return quantity(value)
        return 0.0

    def pods(self, key: str) -> int:
        """Count pods as `replicas`, `minReplicas` or `maxReplicas` has them."""
        least = number(self.options.get("minReplicas"))
        hosts = number(self.options.get("numOfHosts", 1))
        return int(number(self.options.get(key, least)) * hosts)


def is_rayservice(file: ConfigFile) -> bool:
    """Say whether a document is a RayService, of whichever version."""
    return isinstance(file.data, Mapping) and file.data.get("kind") == "RayService"


def serve_config(service: ConfigFile) -> tuple[ConfigFile | None, list[Problem]]:
    """Read the Serve configuration inside, with the lines of the file around it."""
    node = service.node_at(SERVE)
    text = section(service.data, "spec").get("serveConfigV2")
    if not isinstance(text, str) or not isinstance(node, yaml.ScalarNode) or node.style != "|":
        return None, [service.problem(SERVE, "must be the Serve configuration, after a `|`")]
    files, found = read(text, service.name, node.start_mark.line + 1)
    return (files[0] if len(files) == 1 else None), found


def groups(service: ConfigFile) -> Iterator[Group]:
    """List the head, then the workers."""
    cluster = section(section(service.data, "spec"), "rayClusterConfig")
    yield Group("head", (*CLUSTER, "headGroupSpec"), section(cluster, "headGroupSpec"))
    listed = cluster.get("workerGroupSpecs")
    for i, options in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(options, Mapping):
            name = str(options.get("groupName", f"group-{i}"))
            yield Group(name, (*CLUSTER, "workerGroupSpecs", i), options)


def read_cluster(service: ConfigFile) -> Cluster:
    """Make nodes of the groups: `replicas` of them, and as many as the autoscaler may add."""
    head, *workers = groups(service)
    cluster = section(section(service.data, "spec"), "rayClusterConfig")
    grows = cluster.get("enableInTreeAutoscaling") is True
    fewest, most = [head.node], [head.node]
    for group in workers:
        now = group.pods("replicas")
        pods = copies(group.node, max(now, group.pods("maxReplicas") if grows else now))
        fewest += pods[:now]
        most += pods
    return Cluster(fewest, most)


def quantity(value: object) -> float:
    """Read a Kubernetes quantity of CPUs or devices, like 2, "2" or "500m"; 0 for none."""
    text = str(value)
    try:
        return number(float(text[:-1]) / 1000 if text.endswith("m") else float(text))
    except ValueError:
        return 0.0
