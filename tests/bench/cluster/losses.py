"""Nodes that go under steady requests: killed, drained, and a head that comes back."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.bench.cluster import documented
from tests.bench.cluster.traffic import Traffic, tally

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from serve_app.check.placement.nodes import Node
    from tests.bench.cluster.site import Site

_POLL_S = 0.5
_SETTLE_S = 5.0
_WHOLE_TIMEOUT_S = 300.0
_SCALED_TIMEOUT_S = 120.0
_GROWING = "LLM"


@dataclass(frozen=True)
class Removal:
    """A node that was killed under load, what failed, and how long it took to be whole again.

    `late` are the failures of requests that began after the kill, by seconds after it.
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
    """Kill `node` under steady requests; whole is: all well, and a question answered from it."""
    held, lost = _held(site, node), _replicas_on(site, node)
    with Traffic(site.entries, per_second, site.prompts()).flowing() as traffic:
        time.sleep(lead_s)
        began, killed = site.nodes.kill(node)
        whole_s = _whole_after(site, lost, killed)
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
        tally(traffic.requests),
    )


def _held(site: Site, node: str) -> dict[str, int]:
    """How many replicas of each deployment a node has."""
    places = site.deployed.seen().places(site.nodes.names())
    return {name: on[node] for name, on in places.items() if on[node]}


def _replicas_on(site: Site, node: str) -> set[str]:
    names = site.nodes.names()
    return {
        replica["replica_id"]
        for one in site.deployed.seen().deployments.values()
        for replica in one["replicas"]
        if names.get(replica.get("node_id")) == node  # one that starts is nowhere yet
    }


def _whole_after(site: Site, lost: set[str], since: float) -> float | None:
    """Seconds until none of the lost replicas counts any more and everything works."""
    while (elapsed := time.monotonic() - since) < _WHOLE_TIMEOUT_S:
        if _is_whole(site, lost):
            return round(elapsed, 1)
        time.sleep(_POLL_S)
    return None


def _is_whole(site: Site, lost: set[str]) -> bool:
    seen = site.deployed.seen()
    return seen.well and not lost & seen.replica_ids() and site.answers()


@dataclass(frozen=True)
class HeadLoss:
    """A head that was killed under load, and started again `away_s` later with its state kept.

    `whole_s` counts from its new start. Of the `others`, the replicas on the other nodes, `kept`
    are the same afterwards; `scaled_s` is until one more replica, asked for after it all, ran.
    `late` are the failed requests that began after the kill.
    """

    away_s: float
    whole_s: float | None
    others: int
    kept: int
    scaled_s: float | None
    late: int
    traffic: Mapping[str, Any]


def head_loss(site: Site, *, per_second: float, away_s: float) -> HeadLoss:
    """Kill the head under steady requests and start it again, which keeps its state."""
    head = site.head
    others = site.deployed.seen().replica_ids() - _replicas_on(site, head.name)
    with Traffic(site.entries, per_second, site.prompts()).flowing() as traffic:
        time.sleep(_SETTLE_S)
        _, killed = site.nodes.kill(head.name)
        time.sleep(away_s)
        site.nodes.start(head, head=True)
        whole_s = _whole_after(site, set(), time.monotonic())
        time.sleep(_SETTLE_S)
    kept = len(others & site.deployed.seen().replica_ids())
    late = sum(request.began > killed for request in traffic.failed())
    scaled_s, sent = _scaled_after(site), tally(traffic.requests)
    return HeadLoss(away_s, whole_s, len(others), kept, scaled_s, late, sent)


def _scaled_after(site: Site) -> float | None:
    """Seconds until there is one replica more, after asking for it; it is gone again at the end."""
    before = site.deployed.seen().running()[_GROWING]
    began, scaled_s = time.monotonic(), None
    site.deployed.put(documented.grown(site.document, _GROWING))
    while (elapsed := time.monotonic() - began) < _SCALED_TIMEOUT_S:
        if site.deployed.seen().running()[_GROWING] > before:
            scaled_s = round(elapsed, 1)
            break
        time.sleep(_POLL_S)
    at_fewest(site)
    return scaled_s


def at_fewest(site: Site) -> None:
    """Have no more replicas than the fewest; raises TimeoutError and StartError."""
    site.deployed.put(documented.eager(site.document))  # which does not keep them for half an hour
    fewest, end = documented.fewest(site.document), time.monotonic() + _SCALED_TIMEOUT_S
    while site.deployed.seen().running() != Counter(fewest):
        if time.monotonic() > end:
            msg = f"there are still {site.deployed.seen().running()}, not {fewest}"
            raise TimeoutError(msg)
        time.sleep(_POLL_S)
    site.deployed.put(site.document)
    site.deployed.wait_until_well(_SCALED_TIMEOUT_S)


@dataclass(frozen=True)
class Draining:
    """A node that was drained under load, and the seconds until it was left and until it was gone.

    Left is: none of its replicas counts any more and all is well without it.
    """

    node: str
    held: Mapping[str, int]
    left_s: float | None
    gone_s: float | None
    traffic: Mapping[str, Any]


def draining(site: Site, node: Node, *, per_second: float, deadline_s: int) -> Draining:
    """Drain a node under steady requests as documented; then have it join again."""
    held, lost = _held(site, node.name), _replicas_on(site, node.name)
    left_s = gone_s = None
    with Traffic(site.entries, per_second, site.prompts()).flowing() as traffic:
        time.sleep(_SETTLE_S)
        began = time.monotonic()
        site.nodes.drain(node.name, deadline_s)
        while (elapsed := time.monotonic() - began) < deadline_s + _SCALED_TIMEOUT_S:
            if left_s is None and _is_whole(site, lost):
                left_s = round(elapsed, 1)
            with contextlib.suppress(OSError, http.client.HTTPException):
                if gone_s is None and node.name not in site.nodes.names().values():
                    gone_s = round(elapsed, 1)
            if left_s is not None and gone_s is not None:
                break
            time.sleep(_POLL_S)
        time.sleep(_SETTLE_S)
    site.nodes.kill(node.name)  # what is left of it
    site.nodes.start(node)
    return Draining(node.name, held, left_s, gone_s, tally(traffic.requests))
