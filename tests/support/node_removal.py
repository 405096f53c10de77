"""Lose a worker of the cluster under steady requests, and wait until the rest has recovered."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.support.cluster_site import Site
from tests.support.cluster_traffic import Traffic

_POLL_S = 0.5
_SETTLE_S = 5.0
_RECOVERED_TIMEOUT_S = 300.0


@dataclass(frozen=True)
class Removal:
    """A worker that was killed under load: the failures, and the seconds to recover.

    `held` counts its replicas by deployment. `late` are the failures of requests that began after
    the kill, by seconds after it.
    """

    node: str
    held: Mapping[str, int]
    in_flight: int
    failed_in_flight: int
    late: Sequence[tuple[float, str]]
    whole_s: float | None
    cold_start_s: float
    traffic: Mapping[str, Any]


def removal(site: Site, node: str, *, per_second: float, lead_s: float) -> Removal:
    """Kill `node`; it has recovered when all is healthy and a question is answered."""
    held, lost = held_by(site, node), replicas_on(site, node)
    with steady_traffic(site, per_second).running() as traffic:
        time.sleep(lead_s)
        began, killed = site.nodes.kill(node)
        whole_s = recovered_after(site, lost, killed)
        time.sleep(_SETTLE_S)
    failed = traffic.failed()
    late = [one for one in failed if one.began > killed]
    return Removal(
        node,
        held,
        sum(one.began <= killed and one.ended > began for one in traffic.requests),
        len(failed) - len(late),
        [(round(one.began - killed, 1), one.error or "") for one in late],
        whole_s,
        max(site.cold_start_s.values()),
        traffic.tally(),
    )


def steady_traffic(site: Site, per_second: float) -> Traffic:
    """Return questions to the site at a fixed rate, through all healthy proxies."""
    return Traffic(site.proxy_ports, per_second, site.prompts())


def held_by(site: Site, node: str) -> dict[str, int]:
    """Count the replicas of each deployment on a node."""
    places = site.application.state().places(site.nodes.names())
    return {name: on[node] for name, on in places.items() if on[node]}


def replicas_on(site: Site, node: str) -> set[str]:
    """Return the ids of the replicas on a node."""
    names = site.nodes.names()
    return {
        replica["replica_id"]
        for one in site.application.state().deployments.values()
        for replica in one["replicas"]
        if names.get(replica.get("node_id")) == node  # a starting replica has no node yet
    }


def recovered_after(site: Site, lost: set[str], since: float) -> float | None:
    """Return the seconds until everything works without the lost replicas; None if never."""
    while (elapsed := time.monotonic() - since) < _RECOVERED_TIMEOUT_S:
        if has_recovered(site, lost):
            return round(elapsed, 1)
        time.sleep(_POLL_S)
    return None


def has_recovered(site: Site, lost: set[str]) -> bool:
    """Return whether all is healthy without the lost replicas, and a question is answered."""
    state = site.application.state()
    return state.healthy and not lost & state.replica_ids() and site.answers()
