"""A KubeRay `RayService`: the Serve configuration inside it, and its groups of pods."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from serve_app.check.file.deployment import number, section
from serve_app.check.file.document import read

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serve_app.check.file.document import ConfigFile, Place, Problem

CLUSTER: Place = ("spec", "rayClusterConfig")
SERVE: Place = ("spec", "serveConfigV2")


@dataclass(frozen=True, slots=True)
class Group:
    """The head group or a worker group: equal pods."""

    name: str
    path: Place
    options: Mapping[str, Any]

    @property
    def container_path(self) -> Place:
        return (*self.path, "template", "spec", "containers", 0)

    @property
    def container(self) -> Mapping[str, Any]:
        """The Ray container, which is the first one."""
        listed = section(section(self.options, "template"), "spec").get("containers")
        first = listed[0] if isinstance(listed, list) and listed else None
        return first if isinstance(first, Mapping) else {}

    @property
    def limits(self) -> Mapping[str, Any]:
        return section(section(self.container, "resources"), "limits")

    def named(self, key: str) -> dict[str, Mapping[str, Any]]:
        """Return the entries of a list of the container, such as `env` or `ports`, by name."""
        listed = self.container.get(key)
        entries = listed if isinstance(listed, list) else []
        return {str(e["name"]): e for e in entries if isinstance(e, Mapping) and "name" in e}

    def pods(self, key: str) -> int:
        """Return the number of pods for `replicas`, `minReplicas` or `maxReplicas`."""
        least = number(self.options.get("minReplicas"))
        hosts = number(self.options.get("numOfHosts", 1))
        return int(number(self.options.get(key, least)) * hosts)


def is_rayservice(file: ConfigFile) -> bool:
    """Tell whether a document is a RayService of any version."""
    return isinstance(file.data, Mapping) and file.data.get("kind") == "RayService"


def serve_config(service: ConfigFile) -> tuple[ConfigFile | None, list[Problem]]:
    """Read the Serve configuration inside, with the line numbers of the whole file."""
    node = service.node_at(SERVE)
    text = section(service.data, "spec").get("serveConfigV2")
    if not isinstance(text, str) or not isinstance(node, yaml.ScalarNode) or node.style != "|":
        return None, [service.problem(SERVE, "must be the Serve configuration, after a `|`")]
    files, found = read(text, service.name, node.start_mark.line + 1)
    return (files[0] if len(files) == 1 else None), found


def ray_cluster(service: ConfigFile) -> Mapping[str, Any]:
    """Return the section that describes the Ray cluster."""
    return section(section(service.data, "spec"), "rayClusterConfig")


def groups(service: ConfigFile) -> Iterator[Group]:
    """List the head group, then the worker groups."""
    cluster = ray_cluster(service)
    yield Group("head", (*CLUSTER, "headGroupSpec"), section(cluster, "headGroupSpec"))
    listed = cluster.get("workerGroupSpecs")
    for i, options in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(options, Mapping):
            name = str(options.get("groupName", f"group-{i}"))
            yield Group(name, (*CLUSTER, "workerGroupSpecs", i), options)


def quantity(value: object) -> float:
    """Read a Kubernetes quantity of CPUs or devices, like 2, "2" or "500m"; 0 if it is none."""
    text = str(value)
    try:
        return number(float(text[:-1]) / 1000 if text.endswith("m") else float(text))
    except ValueError:
        return 0.0
