"""Rules of a `RayService`: what GenServe needs of the manifest around its Serve configuration.

Unknown fields are left to `kubectl apply`, which refuses them.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from serve_app.check.file.deployment import number, section
from serve_app.check.file.rayservice import CLUSTER, Group, groups, quantity, ray_cluster
from serve_app.check.rules.application import SECRET_NAMES
from serve_app.http.urls import is_loopback
from serve_app.settings.tree import SERVE_HOST, SERVE_PORT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from serve_app.check.file.document import ConfigFile, Place, Problem

_API_KEYS = "GENSERVE_API_KEYS"
_EVERY_NODE = "EveryNode"
_MOST_PODS = 1000  # more are a slip, or KubeRay's default of two billion


Finding = tuple["Place", str]
"""The place of a value in its section of the manifest, and what is wrong with it."""


def rayservice_problems(service: ConfigFile, serve: ConfigFile | None) -> Iterator[Problem]:
    """List the problems around the Serve configuration `serve`, which is checked as any other."""
    cluster = ray_cluster(service)
    if service.data.get("apiVersion") != "ray.io/v1":
        yield service.problem(("apiVersion",), "must be `ray.io/v1`")
    for path, message in _cluster(cluster):
        yield service.problem((*CLUSTER, *path), message)
    port = SERVE_PORT
    if serve is not None:
        port = section(serve.data, "http_options").get("port", SERVE_PORT)
        for path, message in _serve(serve):
            yield serve.problem(path, message)
    grows = cluster.get("enableInTreeAutoscaling") is True
    head, *workers = groups(service)
    for group in (head, *workers):
        for path, message in _container(group, port):
            yield service.problem((*group.container_path, *path), message)
        if "labels" in section(group.options, "rayStartParams"):
            yield service.problem(
                (*group.path, "rayStartParams", "labels"),
                "Ray's autoscaler does not see them here: write `labels` of the group",
            )
    for group in workers:
        for path, message in _size(group.options, grows=grows):
            yield service.problem((*group.path, *path), message)


def _cluster(cluster: Mapping[str, Any]) -> Iterator[Finding]:
    if section(cluster, "authOptions").get("mode") != "token":
        message = "write {mode: token}: Ray runs the code of anybody who reaches its ports"
        yield ("authOptions",), message
    installed = version("ray")
    if str(cluster.get("rayVersion")) != installed:
        yield (
            ("rayVersion",),
            f"must be {installed}, the version that is installed here and in the image",
        )
    if not section(cluster, "gcsFaultToleranceOptions").get("redisAddress"):
        yield (
            ("gcsFaultToleranceOptions", "redisAddress"),
            "must be set: without it the service ends with its head pod",
        )


def _serve(serve: ConfigFile) -> Iterator[Finding]:
    if is_loopback(str(section(serve.data, "http_options").get("host", SERVE_HOST))):
        message = f"must be {SERVE_HOST}: nothing outside of its pod would reach a proxy"
        yield ("http_options", "host"), message
    data = serve.data if isinstance(serve.data, dict) else {}
    if data.get("proxy_location", _EVERY_NODE) != _EVERY_NODE:
        yield (
            ("proxy_location",),
            f"must be {_EVERY_NODE}: KubeRay calls a worker ready only with a proxy of its own",
        )


def _container(group: Group, port: object) -> Iterator[Finding]:
    image = str(group.container.get("image", ""))
    if image.rpartition("/")[2].partition(":")[2] in {"", "latest"}:
        yield ("image",), "must name a version (IMAGE:VERSION): pods would differ from each other"
    # Memory has units that `quantity` does not read, and is not planned.
    cpus, memory = quantity(group.limits.get("cpu")), group.limits.get("memory")
    for name, limit, what in (("cpu", cpus, "CPUs"), ("memory", memory, "memory")):
        if not limit:
            yield (
                ("resources", "limits", name),
                f"must be set: Ray would take all {what} of the machine for the pod's",
            )
    for probe in ("readinessProbe", "livenessProbe"):
        if not section(group.container, probe):
            message = "must be set: KubeRay's own runs wget, which the image need not have"
            yield (probe,), message
    variables = group.named("env")
    if _API_KEYS not in variables:
        message = f"must hold {_API_KEYS}, from a Secret: an ingress may start on any node"
        yield ("env",), message
    for i, (name, variable) in enumerate(variables.items()):
        if name in SECRET_NAMES and "value" in variable:
            yield (
                ("env", i, "value"),
                "is a secret: write valueFrom: {secretKeyRef: {name: SECRET, key: KEY}}",
            )
    if group.named("ports").get("serve", {}).get("containerPort", SERVE_PORT) != port:
        yield ("ports",), f"the one named `serve` must be {port}, as `http_options.port`"


def _size(options: Mapping[str, Any], *, grows: bool) -> Iterator[Finding]:
    least, most = number(options.get("minReplicas")), number(options.get("maxReplicas"))
    now = number(options.get("replicas", least))
    if "minReplicas" not in options:
        yield ("minReplicas",), "must be set"
    if not 0 < most <= _MOST_PODS:
        yield (
            ("maxReplicas",),
            f"must be set, from 1 to {_MOST_PODS}: without it the group grows without bound",
        )
    elif not least <= now <= most:
        yield (
            ("replicas",),
            f"{now:g} is not between `minReplicas` ({least:g}) and `maxReplicas` ({most:g})",
        )
    elif most > now and not grows:
        yield (
            ("maxReplicas",),
            "has no effect without `enableInTreeAutoscaling: true` of the cluster",
        )
