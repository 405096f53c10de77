"""From what was found on a cluster to a section of RESULTS.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.bench import machine

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.bench.cluster.doors import Door, Listener
    from tests.bench.cluster.losses import Draining, HeadLoss, Removal
    from tests.bench.cluster.proofs import Placement, Scaling, Update

REQUESTS = 500
_BEYOND_COLD_START_S = 20.0


@dataclass(frozen=True)
class Findings:
    """Everything that was found on one site."""

    date: str
    nodes: Sequence[str]
    cold_start_s: Mapping[str, float]
    placement: Placement
    scaling: Scaling
    update: Update
    doors: Sequence[Door]
    open_to_all: Mapping[str, str]
    listeners: Sequence[Listener]
    dashboard_reachable: bool


@dataclass(frozen=True)
class Losses:
    """What was found on one site as nodes of it went."""

    date: str
    cold_start_s: Mapping[str, float]
    head_loss: HeadLoss
    draining: Draining
    removal: Removal


def rows(found: Findings) -> Sequence[tuple[str, str, str, bool]]:
    """What was measured and wanted, and whether it holds."""
    scaled, updated = found.scaling, found.update
    agree = sum(found.placement.agrees(name) for name in found.placement.planned)
    locked = sum(door.closed for door in found.doors)
    sent, failed = updated.traffic["requests"], updated.traffic["failed"]
    every = len(found.placement.planned)
    return (
        ("deployments where the plan says", f"{agree}", f"{every}", agree == every),
        _row("scaled up under load", len(scaled.up_s), len(scaled.wanted)),
        _row("down again after it", len(scaled.down_s), len(scaled.wanted)),
        (
            f"requests failed of {sent} at 5 a second, update and rollback",
            str(failed),
            "0",
            failed == 0 and updated.replaced and sent >= REQUESTS,
        ),
        _row("interfaces of Ray closed without the token", locked, len(found.doors)),
        (
            "the dashboard at another address than loopback",
            "answers" if found.dashboard_reachable else "refused",
            "refused",
            not found.dashboard_reachable,
        ),
    )


def losses_rows(found: Losses) -> Sequence[tuple[str, str, str, bool]]:
    """What was measured and wanted as nodes went, and whether it holds."""
    head, drained, removed = found.head_loss, found.draining, found.removal
    allowed_s = removed.cold_start_s + _BEYOND_COLD_START_S
    return (
        _row("requests failed at the loss of the head, begun after it", head.late, 0),
        _row("replicas on other nodes that lived on through it", head.kept, head.others),
        _reached("whole again after its return", head.whole_s),
        _reached("then one more replica, asked for", head.scaled_s),
        _row("requests failed while a worker was drained", drained.traffic["failed"], 0),
        _reached("all well without it", drained.left_s),
        _reached("Ray on it gone", drained.gone_s),
        (
            "requests failed at the loss of a worker, begun before it",
            str(removed.failed_in_flight),
            f"at most the {removed.in_flight} in flight",
            removed.failed_in_flight <= removed.in_flight,
        ),
        ("the same, begun after it", str(len(removed.late)), "0", not removed.late),
        (
            "whole again",
            _seconds(removed.whole_s),
            f"within {allowed_s:.0f} s (cold start + 20)",
            removed.whole_s is not None and removed.whole_s <= allowed_s,
        ),
    )


def section(found: Findings) -> str:
    """The tables, as Markdown."""
    about = ", ".join(f"{name} {value}" for name, value in machine.description().items())
    updated = found.update
    public = ", ".join(f"`{name}` ({status})" for name, status in found.open_to_all.items())
    ports = "; ".join(f"{p.process} on {p.address} ({p.status})" for p in found.listeners)
    seconds = ", ".join(f"{name} {one:.0f} s" for name, one in updated.seconds.items())
    return f"""\
## The documented configuration on a cluster

`make bench-cluster`, {found.date}: the deployments of `serve_config.yaml` on a Ray of the nodes it
documents ({"; ".join(found.nodes)}: all logical, on this machine), started as it documents.
The models are the small ones of `configs/cpu.yaml`, with one vLLM server behind all LLM replicas;
a deployment may have one replica more than the fewest; while scaling is shown, an eighth of the
load is enough for it, and its delays are seconds. Jobs are on a real PostgreSQL. There was no
Qdrant server: the retrievers share Qdrant's imitation in Python behind Qdrant's REST interface
(`tests/bench/cluster/qdrant.py`). Requests are questions to an uploaded document, every fourth
naming a page to read, two tokens long, half of them streamed.
Down is counted from the end of all load, which comes one kind after the other: 0 is earlier.

| | measured | wanted | holds |
|---|---|---|---|
{_table(rows(found))}

| deployment | planned on | may be on | is on | before, under, after load | up, s | down, s |
|---|---|---|---|---|---|---|
{_deployments(found)}

Update and rollback of everything: {seconds}; answers took {updated.traffic["median_s"]} s at the
median, {updated.traffic["longest_s"]} s at the longest; warnings in them:
{updated.traffic["warnings"] or "none"}.

Closed are {_closed(found)}. Open to everybody by Ray's design: {public}, and the metrics, which
are among who listens where, with the status of `GET /` without a token (`-`: gRPC, or its own
protocol): {ports}.

Machine: {about}."""


def losses_section(found: Losses) -> str:
    """The same for nodes that go."""
    about = ", ".join(f"{name} {value}" for name, value in machine.description().items())
    head, drained, removed = found.head_loss, found.draining, found.removal
    cold = ", ".join(f"{name} {one:.0f}" for name, one in found.cold_start_s.items())
    return f"""\
## Nodes that go

`make bench-cluster`, {found.date}: the same cluster, with the fewest replicas, under two such
requests a second through the nodes that are there.

| | measured | wanted | holds |
|---|---|---|---|
{_table(losses_rows(found))}

The head was away for {head.away_s:.0f} s, all its processes killed at once, its state on its disk
(`RAY_gcs_storage=rocksdb`): {_cost(head.traffic)}.

Drained by `ray drain-node`: {drained.node} ({_held(drained.held)}): {_cost(drained.traffic)}.

Lost, all its processes killed at once: {removed.node} ({_held(removed.held)}):
{_cost(removed.traffic)}. Cold start by deployment, s: {cold}.

Machine: {about}."""


def _table(rows: Sequence[tuple[str, str, str, bool]]) -> str:
    return "\n".join(
        f"| {what} | {value} | {wanted} | {'yes' if held else 'NO'} |"
        for what, value, wanted, held in rows
    )


def _held(replicas: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in replicas.items())


def _seconds(reached_s: float | None) -> str:
    return "never" if reached_s is None else f"{reached_s:.0f} s"


def _reached(what: str, reached_s: float | None) -> tuple[str, str, str, bool]:
    return what, _seconds(reached_s), "at all", reached_s is not None


def _row(what: str, measured: int, wanted: int) -> tuple[str, str, str, bool]:
    return what, str(measured), str(wanted), measured == wanted


def _cost(traffic: Mapping[str, Any]) -> str:
    """What requests before, during and after it all met with."""
    return (
        f"of {traffic['requests']} requests before, meanwhile and after it {traffic['failed']} "
        f"failed ({traffic['errors'] or 'none'}), {traffic['without_sources']} were answered "
        f"without sources; warnings: {traffic['warnings'] or 'none'}"
    )


def _deployments(found: Findings) -> str:
    scaled = found.scaling
    lines = []
    for name, planned in found.placement.planned.items():
        counts = f"{scaled.before[name]}, {scaled.most[name]}, {scaled.after[name]}"
        cells = (
            name,
            _where(planned),
            ", ".join(found.placement.possible[name]),
            _where(found.placement.real[name]),
            counts,
            str(scaled.up_s.get(name, "-")),
            str(scaled.down_s.get(name, "-")),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _closed(found: Findings) -> str:
    """Which interfaces, once for all processes and nodes alike."""
    kinds = {f"{door.where.split(' of ')[0]} `{door.what}`" for door in found.doors if door.closed}
    return ", ".join(sorted(kinds))


def _where(nodes: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in sorted(nodes.items())) or "nowhere"
