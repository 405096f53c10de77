"""Rules of a `RayService`: what GenServe needs of the manifest around its Serve configuration.

Unknown fields are left to `kubectl apply`, which refuses them.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from serve_app.check.file.deployment import number, section
from serve_app.check.file.rayservice import CLUSTER, Group, groups, quantity, ray_cluster
from serve_app.check.rules.application import SECRET_NAMES, SERVE_HOST
from serve_app.http.urls import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serve_app.check.file.document import ConfigFile, Problem

_API_KEYS = "GENSERVE_API_KEYS"
_SERVE_PORT = 8000
_EVERY_NODE = "EveryNode"
_MOST_PODS = 1000  # more are a slip, or KubeRay's default of two billion


def rayservice_problems(service: ConfigFile, serve: ConfigFile | None) -> Iterator[Problem]:
    """List the problems around the Serve configuration `serve`, which is checked as any other."""
    cluster = ray_cluster(service)
    head, *workers = groups(service)
    yield from _cluster(service)
    for group in (head, *workers):
        yield from _pod(service, group)
    for group in workers:
        yield from _size(service, group, grows=cluster.get("enableInTreeAutoscaling") is True)
    if serve is not None:
        yield from _proxies(service, serve)


def _cluster(service: ConfigFile) -> Iterator[Problem]:
    if service.data.get("apiVersion") != "ray.io/v1":
        yield service.problem(("apiVersion",), "must be `ray.io/v1`")
    cluster = ray_cluster(service)
    if section(cluster, "authOptions").get("mode") != "token":
        yield service.problem(
            (*CLUSTER, "authOptions"),
            "write {mode: token}: Ray runs the code of anybody who reaches its ports",
        )
    installed = version("ray")
    if str(cluster.get("rayVersion")) != installed:
        yield service.problem(
            (*CLUSTER, "rayVersion"),
            f"must be {installed}, the version that is installed here and in the image",
        )
    if not section(cluster, "gcsFaultToleranceOptions").get("redisAddress"):
        yield service.problem(
            (*CLUSTER, "gcsFaultToleranceOptions", "redisAddress"),
            "must be set: without it the service ends with its head pod",
        )


def _pod(service: ConfigFile, group: Group) -> Iterator[Problem]:
    at = group.container_path
    image = str(group.container.get("image", ""))
    if image.rpartition("/")[2].partition(":")[2] in {"", "latest"}:
        yield service.problem(
            (*at, "image"), "must name a version (IMAGE:VERSION): pods would differ from each other"
        )
    for name, unset in (("cpu", "all CPUs"), ("memory", "all memory")):
        # Memory has units that `quantity` does not read, and is not planned.
        value = group.limits.get(name)
        if value is None or (name == "cpu" and not quantity(value)):
            yield service.problem(
                (*at, "resources", "limits", name),
                f"must be set: Ray would take {unset} of the machine for the pod's",
            )
    for probe in ("readinessProbe", "livenessProbe"):
        if not section(group.container, probe):
            yield service.problem(
                (*at, probe), "must be set: KubeRay's own runs wget, which the image need not have"
            )
    if "labels" in section(group.options, "rayStartParams"):
        yield service.problem(
            (*group.path, "rayStartParams", "labels"),
            "Ray's autoscaler does not see them here: write `labels` of the group",
        )
    variables = group.named("env")
    if _API_KEYS not in variables:
        yield service.problem(
            (*at, "env"), f"must hold {_API_KEYS}, from a Secret: an ingress may start on any node"
        )
    for i, (name, variable) in enumerate(variables.items()):
        if name in SECRET_NAMES and "value" in variable:
            yield service.problem(
                (*at, "env", i, "value"),
                "is a secret: write valueFrom: {secretKeyRef: {name: SECRET, key: KEY}}",
            )


def _size(service: ConfigFile, group: Group, *, grows: bool) -> Iterator[Problem]:
    options = group.options
    least, most = number(options.get("minReplicas")), number(options.get("maxReplicas"))
    now = number(options.get("replicas", least))
    if "minReplicas" not in options:
        yield service.problem((*group.path, "minReplicas"), "must be set")
    if not 0 < most <= _MOST_PODS:
        yield service.problem(
            (*group.path, "maxReplicas"),
            f"must be set, from 1 to {_MOST_PODS}: without it the group grows without bound",
        )
    elif not least <= now <= most:
        yield service.problem(
            (*group.path, "replicas"),
            f"{now:g} is not between `minReplicas` ({least:g}) and `maxReplicas` ({most:g})",
        )
    elif most > now and not grows:
        yield service.problem(
            (*group.path, "maxReplicas"),
            "has no effect without `enableInTreeAutoscaling: true` of the cluster",
        )


def _proxies(service: ConfigFile, serve: ConfigFile) -> Iterator[Problem]:
    http = section(serve.data, "http_options")
    if is_loopback(str(http.get("host", SERVE_HOST))):
        yield serve.problem(
            ("http_options", "host"),
            f"must be {SERVE_HOST}: nothing outside of its pod would reach a proxy",
        )
    if (
        isinstance(serve.data, dict)
        and serve.data.get("proxy_location", _EVERY_NODE) != _EVERY_NODE
    ):
        yield serve.problem(
            ("proxy_location",),
            f"must be {_EVERY_NODE}: KubeRay calls a worker ready only with a proxy of its own",
        )
    port = http.get("port", _SERVE_PORT)
    for group in groups(service):
        if group.named("ports").get("serve", {}).get("containerPort", _SERVE_PORT) != port:
            yield service.problem(
                (*group.container_path, "ports"),
                f"the one named `serve` must be {port}, as `http_options.port`",
            )
