"""The pods of a RayService as nodes."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from serve_app.check.file.deployment import section
from serve_app.check.file.rayservice import groups, quantity, ray_cluster
from serve_app.check.placement.nodes import Cluster, Node, copies

if TYPE_CHECKING:
    from serve_app.check.file.document import ConfigFile
    from serve_app.check.file.rayservice import Group


def read_cluster(service: ConfigFile) -> Cluster:
    """Return the pods as nodes: at first `replicas` of each group, later up to `maxReplicas`."""
    head, *workers = groups(service)
    grows = ray_cluster(service).get("enableInTreeAutoscaling") is True
    fewest, most = [node_of(head)], [node_of(head)]
    for group in workers:
        now = group.pods("replicas")
        pods = copies(node_of(group), max(now, group.pods("maxReplicas") if grows else now))
        fewest += pods[:now]
        most += pods
    return Cluster(fewest, most)


def node_of(group: Group) -> Node:
    """Return the Ray node of one pod: explicit resources override the limits of its container."""
    gpu = next((name for name in group.limits if str(name).endswith("gpu")), "")
    cpus = _resource(group, "CPU", "num-cpus", group.limits.get("cpu"))
    gpus = _resource(group, "GPU", "num-gpus", group.limits.get(gpu))
    labels = {str(k): str(v) for k, v in section(group.options, "labels").items()}
    return Node(group.name, ceil(cpus), int(gpus), labels)


def _resource(group: Group, resource: str, parameter: str, limit: object) -> float:
    for value in (
        section(group.options, "resources").get(resource),
        section(group.options, "rayStartParams").get(parameter),
        limit,
    ):
        if value is not None:
            return quantity(value)
    return 0.0
