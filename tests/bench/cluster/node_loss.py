"""Drain a worker, and lose and restart the head, under steady requests."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from serve_app.check.placement.nodes import Node
from tests.support import cluster_config
from tests.support.cluster_site import Site
from tests.support.node_removal import (
    has_recovered,
    held_by,
    recovered_after,
    replicas_on,
    steady_traffic,
)

_POLL_S = 0.5
_SETTLE_S = 5.0
_SCALED_TIMEOUT_S = 120.0
_GROWING = "LLM"


@dataclass(frozen=True)
class HeadLoss:
    """A head that was killed under load and restarted `away_s` later, with its state kept.

    `whole_s` counts from its restart. Of the `others`, the replicas on the other nodes, `kept`
    still run afterwards; `scaled_s` is the time until one more replica, asked for then, runs.
    `late` counts the failed requests that began after the kill.
    """

    away_s: float
    whole_s: float | None
    others: int
    kept: int
    scaled_s: float | None
    late: int
    traffic: Mapping[str, Any]


def head_loss(site: Site, *, per_second: float, away_s: float) -> HeadLoss:
    """Kill the head and restart it with its state, then scale a deployment up and down."""
    others = site.application.state().replica_ids() - replicas_on(site, site.head.name)
    with steady_traffic(site, per_second).running() as traffic:
        time.sleep(_SETTLE_S)
        _, killed = site.nodes.kill(site.head.name)
        time.sleep(away_s)
        site.nodes.start(site.head, head=True)
        whole_s = recovered_after(site, set(), time.monotonic())
        time.sleep(_SETTLE_S)
    kept = len(others & site.application.state().replica_ids())
    late = sum(request.began > killed for request in traffic.failed())
    scaled_s = _scaled_after(site)
    return HeadLoss(away_s, whole_s, len(others), kept, scaled_s, late, traffic.tally())


@dataclass(frozen=True)
class Draining:
    """A worker that was drained under load: the seconds until it was unused, and until it left.

    It is unused when none of its replicas runs and all is healthy without it.
    """

    node: str
    held: Mapping[str, int]
    left_s: float | None
    gone_s: float | None
    traffic: Mapping[str, Any]


def draining(site: Site, node: Node, *, per_second: float, deadline_s: int) -> Draining:
    """Drain a node as documented; then have it join again."""
    held, lost = held_by(site, node.name), replicas_on(site, node.name)
    left_s = gone_s = None
    with steady_traffic(site, per_second).running() as traffic:
        time.sleep(_SETTLE_S)
        began = time.monotonic()
        site.nodes.drain(node.name, deadline_s)
        while (elapsed := time.monotonic() - began) < deadline_s + _SCALED_TIMEOUT_S:
            if left_s is None and has_recovered(site, lost):
                left_s = round(elapsed, 1)
            with contextlib.suppress(OSError, http.client.HTTPException):
                if gone_s is None and node.name not in site.nodes.names().values():
                    gone_s = round(elapsed, 1)
            if left_s is not None and gone_s is not None:
                break
            time.sleep(_POLL_S)
        time.sleep(_SETTLE_S)
    site.nodes.kill(node.name)  # its remaining processes
    site.nodes.start(node)
    return Draining(node.name, held, left_s, gone_s, traffic.tally())


def scale_to_minimum(site: Site) -> None:
    """Scale every deployment down to its minimum; raises TimeoutError and StartError."""
    site.application.put(cluster_config.eager(site.document))  # with short delays
    fewest, end = cluster_config.fewest(site.document), time.monotonic() + _SCALED_TIMEOUT_S
    while (running := site.application.state().running()) != Counter(fewest):
        if time.monotonic() > end:
            msg = f"there are still {running}, not {fewest}"
            raise TimeoutError(msg)
        time.sleep(_POLL_S)
    site.application.put(site.document)
    site.application.wait_until_healthy(_SCALED_TIMEOUT_S)


def _scaled_after(site: Site) -> float | None:
    """Ask for one more replica; return the seconds until it runs. It is removed again."""
    before = site.application.state().running()[_GROWING]
    began, scaled_s = time.monotonic(), None
    site.application.put(cluster_config.grown(site.document, _GROWING))
    while (elapsed := time.monotonic() - began) < _SCALED_TIMEOUT_S:
        if site.application.state().running()[_GROWING] > before:
            scaled_s = round(elapsed, 1)
            break
        time.sleep(_POLL_S)
    scale_to_minimum(site)
    return scaled_s
