"""The sections of RESULTS.md about the cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.bench.cluster.node_loss import Draining, HeadLoss
from tests.bench.report import Check, Section, checks_table, table
from tests.support.cluster_scenarios import Placement, Scaling, Update
from tests.support.node_removal import Removal
from tests.support.ray_exposure import Interface, Listener

REQUESTS = 500
_BEYOND_COLD_START_S = 20.0


@dataclass(frozen=True)
class Deployed:
    """What was found on the cluster while all its nodes ran."""

    date: str
    nodes: Sequence[str]
    cold_start_s: Mapping[str, float]
    placement: Placement
    scaling: Scaling
    update: Update
    interfaces: Sequence[Interface]
    public: Mapping[str, str]
    listeners: Sequence[Listener]
    dashboard_reachable: bool


@dataclass(frozen=True)
class Losses:
    """What was found as nodes were lost."""

    date: str
    cold_start_s: Mapping[str, float]
    head_loss: HeadLoss
    draining: Draining
    removal: Removal


def deployed_section(found: Deployed) -> Section:
    """Report placement, scaling, update and exposure."""
    scaled, updated, traffic = found.scaling, found.update, found.update.traffic
    agree = sum(found.placement.agrees(name) for name in found.placement.planned)
    protected = [one for one in found.interfaces if one.protected]
    reachable = "answers" if found.dashboard_reachable else "refused"
    checks = [
        Check.equal("deployments where the plan says", agree, len(found.placement.planned)),
        Check.equal("scaled up under load", len(scaled.up_s), len(scaled.wanted)),
        Check.equal("down again after it", len(scaled.down_s), len(scaled.wanted)),
        Check(
            f"requests failed of {traffic['requests']} at 5 a second, update and rollback",
            *(str(traffic["failed"]), "0"),
            traffic["failed"] == 0 and updated.replaced and traffic["requests"] >= REQUESTS,
        ),
        Check.equal(
            "interfaces of Ray closed without the token", len(protected), len(found.interfaces)
        ),
        Check(
            "the dashboard at another address than loopback",
            *(reachable, "refused", not found.dashboard_reachable),
        ),
    ]
    kinds = {f"{one.where.split(' of ')[0]} `{one.what}`" for one in protected}
    public = ", ".join(f"`{name}` ({status})" for name, status in found.public.items())
    ports = "; ".join(f"{p.process} on {p.address} ({p.status})" for p in found.listeners)
    seconds = ", ".join(f"{name} {one:.0f} s" for name, one in updated.seconds.items())
    headings = (
        *("deployment", "planned on", "may be on", "is on"),
        *("before, under, after load", "up, s", "down, s"),
    )
    body = f"""\
## The documented configuration on a cluster

`make bench-cluster`, {found.date}: the deployments of `serve_config.yaml` on a Ray of the nodes it
documents ({"; ".join(found.nodes)}: all logical, on this machine), started as it documents.
The models are the small ones of `configs/cpu.yaml`, with one vLLM server behind all LLM replicas;
a deployment may have one replica more than the fewest; while scaling is shown, an eighth of the
load is enough for it, and its delays are seconds. Jobs are on a real PostgreSQL. There was no
Qdrant server: the retrievers share a stand-in in Python behind Qdrant's REST interface
(`tests/support/qdrant_server.py`). Requests are questions to an uploaded document, every fourth
naming a page to read, two tokens long, half of them streamed.
Down is counted from the end of all load, which comes one kind after the other: 0 is earlier.

{checks_table(checks)}

{table(headings, (_deployment(found, name) for name in found.placement.planned))}

Update and rollback of everything: {seconds}; answers took {traffic["median_s"]} s at the
median, {traffic["longest_s"]} s at the longest; warnings in them:
{traffic["warnings"] or "none"}.

Closed are {", ".join(sorted(kinds))}. Open to everybody by Ray's design: {public}, and the metrics,
which are among who listens where, with the status of `GET /` without a token (`-`: gRPC, or its own
protocol): {ports}."""
    return Section("cluster", body, checks, found)


def losses_section(found: Losses) -> Section:
    """Report what the loss of a node cost."""
    head, drained, removed = found.head_loss, found.draining, found.removal
    allowed_s = removed.cold_start_s + _BEYOND_COLD_START_S
    checks = [
        Check.equal("requests failed at the loss of the head, begun after it", head.late),
        Check.equal("replicas on other nodes that lived on through it", head.kept, head.others),
        _reached("whole again after its return", head.whole_s),
        _reached("then one more replica, asked for", head.scaled_s),
        Check.equal("requests failed while a worker was drained", drained.traffic["failed"]),
        _reached("all well without it", drained.left_s),
        _reached("Ray on it gone", drained.gone_s),
        Check(
            "requests failed at the loss of a worker, begun before it",
            str(removed.failed_in_flight),
            f"at most the {removed.in_flight} in flight",
            removed.failed_in_flight <= removed.in_flight,
        ),
        Check.equal("the same, begun after it", len(removed.late)),
        Check(
            "whole again",
            _seconds(removed.whole_s),
            f"within {allowed_s:.0f} s (cold start + 20)",
            removed.whole_s is not None and removed.whole_s <= allowed_s,
        ),
    ]
    cold = ", ".join(f"{name} {one:.0f}" for name, one in found.cold_start_s.items())
    body = f"""\
## Nodes that go

`make bench-cluster`, {found.date}: the same cluster, with the fewest replicas, under two such
requests a second through the nodes that are there.

{checks_table(checks)}

The head was away for {head.away_s:.0f} s, all its processes killed at once, its state on its disk
(`RAY_gcs_storage=rocksdb`): {_cost(head.traffic)}.

Drained by `ray drain-node`: {drained.node} ({_counts(drained.held)}): {_cost(drained.traffic)}.

Lost, all its processes killed at once: {removed.node} ({_counts(removed.held)}):
{_cost(removed.traffic)}. Cold start by deployment, s: {cold}."""
    return Section("losses", body, checks, found)


def _deployment(found: Deployed, name: str) -> tuple[str, ...]:
    placed, scaled = found.placement, found.scaling
    return (
        name,
        _nodes(placed.planned[name]),
        ", ".join(placed.possible[name]),
        _nodes(placed.real[name]),
        f"{scaled.before[name]}, {scaled.most[name]}, {scaled.after[name]}",
        str(scaled.up_s.get(name, "-")),
        str(scaled.down_s.get(name, "-")),
    )


def _nodes(replicas: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in sorted(replicas.items())) or "nowhere"


def _counts(replicas: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in replicas.items())


def _seconds(reached_s: float | None) -> str:
    return "never" if reached_s is None else f"{reached_s:.0f} s"


def _reached(what: str, reached_s: float | None) -> Check:
    return Check(what, _seconds(reached_s), "at all", reached_s is not None)


def _cost(traffic: Mapping[str, Any]) -> str:
    """Describe the failures and warnings of the requests before, during and after a loss."""
    return (
        f"of {traffic['requests']} requests before, meanwhile and after it {traffic['failed']} "
        f"failed ({traffic['errors'] or 'none'}), {traffic['without_sources']} were answered "
        f"without sources; warnings: {traffic['warnings'] or 'none'}"
    )
