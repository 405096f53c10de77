"""What would go wrong with a `RayService` that Kubernetes and KubeRay accept."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from serve_app.access.guard import is_loopback
from serve_app.check.deployment import number, section
from serve_app.check.kuberay import RAY_SERVICE
from serve_app.check.rayservice import CLUSTER, Group, groups, quantity
from serve_app.check.rules import SECRET_NAMES, SERVE_HOST
from serve_app.check.schema import unknown_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from serve_app.check.config_file import ConfigFile, Problem

_KEYS = "GENSERVE_API_KEYS"
_SERVE_PORT = 8000
_ALL = "EveryNode"
_MOST_PODS = 1000  # more are a slip, or KubeRay's own default of two billion


def rayservice_problems(service: ConfigFile, serve: ConfigFile | None) -> Iterator[Problem]:
    """List what is wrong around the Serve configuration, `serve`, which is checked as any other."""
    for path, message in unknown_keys(RAY_SERVICE, service.data):
        yield service.problem(path, message)
    yield from _cluster(service)
    for group in groups(service):
        yield from _pod(service, group)
    _, *workers = groups(service)
    grows = section(section(service.data, "spec"), "rayClusterConfig").get(
        "enableInTreeAutoscaling"
    )
    for group in workers:
        yield from _size(service, group, grows=grows is True)
    if serve is not None:
        yield from _proxies(service, serve)


def _cluster(service: ConfigFile) -> Iterator[Problem]:
    if service.data.get("apiVersion") != "ray.io/v1":
        yield service.problem(("apiVersion",), "must be `ray.io/v1`")
    cluster = section(section(service.data, "spec"), "rayClusterConfig")
    if section(cluster, "authOptions").get("mode") != "token":
        yield service.problem(
            (*CLUSTER, "authOptions"),
            "write {mode: token}: Ray runs code for whoever reaches its ports",
        )
    installed = version("ray")
    if str(cluster.get("rayVersion")) != installed:
        yield service.problem(
            (*CLUSTER, "rayVersion"),
            f"must be {installed}, the version that this is checked with and the image has",
        )


def _pod(service: ConfigFile, group: Group) -> Iterator[Problem]:
    at = group.container_path
    image = str(group.container.get("image", ""))
    _, _, tag = image.rpartition("/")[2].partition(":")
    if tag in {"", "latest"}:
        yield service.problem(
            (*at, "image"), "must name a version (IMAGE:VERSION): pods would differ from each other"
        )
    if not quantity(group.limits.get("cpu", 0)):
        yield service.problem(
            (*at, "resources", "limits", "cpu"),
            "must be set: Ray would take all CPUs of the machine for the pod's",
        )
    if "labels" in section(group.options, "rayStartParams"):
        yield service.problem(
            (*group.path, "rayStartParams", "labels"),
            "Ray's autoscaler does not see them here: write `labels` of the group",
        )
    variables = group.variables
    if _KEYS not in variables:
        yield service.problem(
            (*at, "env"), f"must hold {_KEYS}, from a Secret: an ingress may start on any node"
        )
    for i, name in enumerate(variables):
        if name in SECRET_NAMES and "value" in variables[name]:
            yield service.problem(
                (*at, "env", i, "value"),
                "is a secret: write valueFrom: {secretKeyRef: {name: SECRET, key: KEY}}",
            )


def _size(service: ConfigFile, group: Group, *, grows: bool) -> Iterator[Problem]:
    options = group.options
    least, most = number(options.get("minReplicas")), number(options.get("maxReplicas"))
    now = number(options.get("replicas", least))
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
    if isinstance(serve.data, dict) and serve.data.get("proxy_location", _ALL) != _ALL:
        yield serve.problem(
            ("proxy_location",),
            f"must be {_ALL}: KubeRay calls a worker ready only with a proxy of its own",
        )
    port = http.get("port", _SERVE_PORT)
    for group in groups(service):
        listed = group.container.get("ports")
        named = {
            str(entry.get("name")): entry.get("containerPort")
            for entry in (listed if isinstance(listed, list) else [])
            if isinstance(entry, dict)
        }
        if named.get("serve", _SERVE_PORT) != port:
            yield service.problem(
                (*group.container_path, "ports"),
                f"the one named `serve` must be {port}, as `http_options.port`",
            )
