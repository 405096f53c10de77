"""What must hold of the documented configuration on a cluster, each shown on a running site.

What must hold when a node goes is in `losses`.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from serve_app.check.placement.plan import plan
from tests.bench.cluster import documented
from tests.bench.cluster.pressure import Pressure
from tests.bench.cluster.traffic import Traffic, tally

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from serve_app.check.placement.nodes import Node
    from tests.bench.cluster.deployed import Seen
    from tests.bench.cluster.site import Site

_POLL_S = 0.5
_UP_TIMEOUT_S = 120.0
_DOWN_TIMEOUT_S = 120.0
_WELL_TIMEOUT_S = 120.0
_UPDATE_TIMEOUT_S = 420.0
_SETTLE_S = 5.0


@dataclass(frozen=True)
class Placement:
    """Replicas by deployment and node: as the check plans them, and as they are.

    `possible` are the nodes on which the check finds room for a replica: where that is several
    nodes, Ray takes any of them.
    """

    planned: Mapping[str, Mapping[str, int]]
    real: Mapping[str, Mapping[str, int]]
    possible: Mapping[str, Sequence[str]]

    def agrees(self, name: str) -> bool:
        """Whether a deployment has as many replicas as planned, each on a possible node."""
        real = self.real[name]
        same = sum(self.planned[name].values()) == sum(real.values())
        return same and set(real) <= set(self.possible[name])


def placement(site: Site) -> Placement:
    """Compare the plan at the fewest replicas with Serve's own account."""
    application, nodes = site.document["applications"][0], documented.nodes()
    listed = {options["name"]: options for options in application["deployments"]}
    planned = plan(application, nodes, "minimum").places
    return Placement(
        {name: dict(planned.get(name, {})) for name in listed},
        {name: dict(on) for name, on in site.deployed.seen().places(site.nodes.names()).items()},
        {
            name: [node.name for node in nodes if _has_room(options, node)]
            for name, options in listed.items()
        },
    )


def _has_room(options: Mapping[str, Any], node: Node) -> bool:
    """Whether the check finds room for one replica on a node that is empty."""
    one = {k: v for k, v in options.items() if k != "autoscaling_config"} | {"num_replicas": 1}
    return not plan({"deployments": [one]}, [node], "minimum").unplaced


@dataclass(frozen=True)
class Press:
    """Clients by what they ask for, and the deployments that should be scaled up by that."""

    clients: Mapping[str, int]
    wanted: Sequence[str]


@dataclass
class Scaling:
    """Replicas that ran at first, at the most under load, and at the end; and the seconds to."""

    wanted: Sequence[str]
    before: dict[str, int]
    most: dict[str, int] = field(default_factory=dict)
    after: dict[str, int] = field(default_factory=dict)
    up_s: dict[str, float] = field(default_factory=dict)
    down_s: dict[str, float] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)


def scaling(site: Site, presses: Sequence[Press]) -> Scaling:
    """Press in turn until what is wanted has another replica; then wait until all have the fewest.

    What does not get there in time is missing in `up_s` or `down_s`, which count from the begin of
    its load, and from the end of all load.
    """
    site.deployed.put(documented.eager(site.document))
    site.deployed.wait_until_well(_WELL_TIMEOUT_S)
    wanted = [name for press in presses for name in press.wanted]
    found = Scaling(wanted, dict(site.deployed.seen().running()))
    for press in presses:
        pressure = Pressure(site.url, site.web.url("/hangs"), press.clients)
        with pressure.applied():
            for elapsed, now in _observed(site, _UP_TIMEOUT_S):
                found.most = dict(now | Counter(found.most))
                _note(found.up_s, elapsed, [n for n in press.wanted if now[n] > found.before[n]])
                if found.up_s.keys() >= set(press.wanted):
                    break
        found.statuses |= {f"{kind} {status}": n for (kind, status), n in pressure.statuses.items()}
    for elapsed, now in _observed(site, _DOWN_TIMEOUT_S):
        _note(found.down_s, elapsed, [n for n in wanted if now and now[n] <= found.before[n]])
        if len(found.down_s) == len(wanted):
            break
    found.after = dict(site.deployed.seen().running())
    site.deployed.put(site.document)
    site.deployed.wait_until_well(_WELL_TIMEOUT_S)
    return found


def _observed(site: Site, timeout_s: float) -> Iterator[tuple[float, Counter[str]]]:
    """Running replicas twice a second, and the seconds since the start."""
    began = time.monotonic()
    while (elapsed := time.monotonic() - began) < timeout_s:
        yield elapsed, site.deployed.seen().running()
        time.sleep(_POLL_S)


def _note(reached_s: dict[str, float], elapsed: float, names: Sequence[str]) -> None:
    for name in names:
        reached_s.setdefault(name, round(elapsed, 1))


@dataclass(frozen=True)
class Update:
    """Every deployment as another version, and back, under steady requests."""

    seconds: Mapping[str, float]
    replaced: bool
    traffic: Mapping[str, Any]


def update(site: Site, *, per_second: float, requests: int, rollback: bool = True) -> Update:
    """Deploy a new version of everything, then the old one again, and go on to `requests`."""
    seconds: dict[str, float] = {}
    replaced = True
    with Traffic(site.entries, per_second, site.prompts()).flowing() as traffic:
        time.sleep(_SETTLE_S)
        steps = {"update": documented.released(site.document, "2")}
        if rollback:
            steps["rollback"] = site.document
        for step, document in steps.items():
            before = site.deployed.seen().replica_ids()
            began = time.monotonic()
            site.deployed.put(document)
            seen = _replaced(site, before)
            replaced = replaced and seen is not None
            seconds[step] = round(time.monotonic() - began, 1)
        while len(traffic.requests) < requests:
            time.sleep(_POLL_S)
        time.sleep(_SETTLE_S)
    return Update(seconds, replaced, tally(traffic.requests))


def _replaced(site: Site, before: set[str]) -> Seen | None:
    """Wait until all is well and nobody of before is left; None if that does not come."""
    end = time.monotonic() + _UPDATE_TIMEOUT_S
    while time.monotonic() < end:
        seen = site.deployed.seen()
        if seen.deployments and seen.well and not before & seen.replica_ids():
            return seen
        time.sleep(_POLL_S)
    return None
