"""Scenarios on a running cluster: placement, scaling, and a rolling update."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from serve_app.check.placement.nodes import Node
from serve_app.check.placement.plan import plan
from tests.support import cluster_config
from tests.support.cluster_clients import ClosedLoops
from tests.support.cluster_site import Site
from tests.support.cluster_traffic import Traffic

_POLL_S = 0.5
_SCALED_TIMEOUT_S = 120.0
_HEALTHY_TIMEOUT_S = 120.0
_UPDATE_TIMEOUT_S = 420.0
_SETTLE_S = 5.0


@dataclass(frozen=True)
class Placement:
    """Replicas by deployment and node: as the check plans them, and as they run.

    `possible` are the nodes on which the check finds room for a replica: if there are several,
    Ray takes any of them.
    """

    planned: Mapping[str, Mapping[str, int]]
    real: Mapping[str, Mapping[str, int]]
    possible: Mapping[str, Sequence[str]]

    def agrees(self, name: str) -> bool:
        """Return whether a deployment has the planned replicas, each on a possible node."""
        real = self.real[name]
        same = sum(self.planned[name].values()) == sum(real.values())
        return same and set(real) <= set(self.possible[name])


def placement(site: Site) -> Placement:
    """Compare the plan at the minimum of replicas with the state that Serve reports."""
    application, nodes = site.document["applications"][0], cluster_config.nodes()
    listed = {options["name"]: options for options in application["deployments"]}
    planned = plan(application, nodes, "minimum").places
    real = site.application.state().places(site.nodes.names())
    return Placement(
        {name: dict(planned.get(name, {})) for name in listed},
        {name: dict(on) for name, on in real.items()},
        {
            name: [node.name for node in nodes if _has_room(options, node)]
            for name, options in listed.items()
        },
    )


def _has_room(options: Mapping[str, Any], node: Node) -> bool:
    """Return whether the check finds room for one replica on an empty node."""
    one = {k: v for k, v in options.items() if k != "autoscaling_config"} | {"num_replicas": 1}
    return not plan({"deployments": [one]}, [node], "minimum").unplaced


@dataclass(frozen=True)
class ScalingLoad:
    """Clients by what they ask for, and the deployments that should scale up under them."""

    clients: Mapping[str, int]
    wanted: Sequence[str]


@dataclass
class Scaling:
    """Running replicas before, at the most under load, and afterwards; and the seconds taken."""

    wanted: Sequence[str]
    before: dict[str, int]
    most: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)
    up_s: dict[str, float] = field(default_factory=dict)
    down_s: dict[str, float] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)


def scaling(site: Site, loads: Sequence[ScalingLoad]) -> Scaling:
    """Apply each load until the wanted deployments scale up; then wait until all scale down.

    `up_s` counts from the start of each load and `down_s` from the end of all; a deployment that
    does not get there in time is missing in them.
    """
    site.application.put(cluster_config.eager(site.document))
    site.application.wait_until_healthy(_HEALTHY_TIMEOUT_S)
    wanted = [name for load in loads for name in load.wanted]
    found = Scaling(wanted, dict(site.application.state().running()))
    for load in loads:
        _scale_up(site, load, found)
    for elapsed, now in _observed(site):
        for name in wanted:
            if now and now[name] <= found.before[name]:
                found.down_s.setdefault(name, elapsed)
        if len(found.down_s) == len(wanted):
            break
    found.after = dict(site.application.state().running())
    site.application.put(site.document)
    site.application.wait_until_healthy(_HEALTHY_TIMEOUT_S)
    return found


def _scale_up(site: Site, load: ScalingLoad, found: Scaling) -> None:
    clients = ClosedLoops(site.url, site.web.url("/hangs"), load.clients)
    with clients.running():
        for elapsed, now in _observed(site):
            for name, count in now.items():
                found.most[name] = max(count, found.most.get(name, 0))
            for name in load.wanted:
                if now[name] > found.before[name]:
                    found.up_s.setdefault(name, elapsed)
            if found.up_s.keys() >= set(load.wanted):
                break
    found.statuses |= clients.statuses


def _observed(site: Site) -> Iterator[tuple[float, Counter[str]]]:
    """Yield the seconds since the start and the running replicas, until the time is up."""
    began = time.monotonic()
    while (elapsed := time.monotonic() - began) < _SCALED_TIMEOUT_S:
        yield round(elapsed, 1), site.application.state().running()
        time.sleep(_POLL_S)


@dataclass(frozen=True)
class Update:
    """Every deployment as another version, and back, under steady requests."""

    seconds: Mapping[str, float]
    replaced: bool
    traffic: Mapping[str, Any]


def update(
    site: Site,
    *,
    per_second: float,
    requests: int,
    rollback: bool = True,
    document: Mapping[str, Any] | None = None,
    updated: Callable[[], None] = lambda: None,
) -> Update:
    """Deploy a new version of everything, then the old one, and go on to `requests` requests.

    The new version is `document`, by default the same code; `updated` is called once it runs.
    """
    seconds: dict[str, float] = {}
    replaced = True
    with Traffic(site.proxy_ports, per_second, site.prompts()).running() as traffic:
        time.sleep(_SETTLE_S)
        steps = {"update": document or cluster_config.released(site.document, "2")}
        if rollback:
            steps["rollback"] = site.document
        for step, deployed in steps.items():
            before = site.application.state().replica_ids()
            began = time.monotonic()
            site.application.put(deployed)
            replaced = _all_replaced(site, before) and replaced
            seconds[step] = round(time.monotonic() - began, 1)
            if step == "update":
                updated()
        while len(traffic.requests) < requests:
            time.sleep(_POLL_S)
        time.sleep(_SETTLE_S)
    return Update(seconds, replaced, traffic.tally())


def _all_replaced(site: Site, before: set[str]) -> bool:
    """Wait until all is healthy without any replica of `before`; return whether that happens."""
    end = time.monotonic() + _UPDATE_TIMEOUT_S
    while time.monotonic() < end:
        state = site.application.state()
        if state.deployments and state.healthy and not before & state.replica_ids():
            return True
        time.sleep(_POLL_S)
    return False
