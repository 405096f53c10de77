"""Which deployment lands where: the replicas of a configuration on the nodes of a cluster.

It places as Ray does: what is hardest to place first, a group whole on one node where its
strategy is STRICT_PACK, parts of a GPU on one card, and single replicas in turn on all nodes that
have room and the labels, as Serve asks Ray to. Whose turn it is first is Ray's own affair, so of
those the plan is an instance. Memory that replicas may book is not planned.
`tests/integration/test_placement.py` has a real Ray place the same replicas.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serve_app.check.deployment import Deployment, Size
from serve_app.check.placing import Replica, Room, place, replica_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from serve_app.check.nodes import Node

__all__ = ["Plan", "Size", "hosts", "plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """Where replicas are: `places` by deployment and node; `homeless` found no place."""

    size: Size
    nodes: Sequence[Node]
    places: Mapping[str, Counter[str]]
    homeless: Counter[str]
    kinds: Mapping[str, Replica]
    spread: frozenset[str]
    free_cpus: Mapping[str, float]
    free_gpus: Mapping[str, float]

    def lines(self) -> Iterator[str]:
        """Tell it to a person."""
        total = sum(node.gpus for node in self.nodes)
        used = total - sum(self.free_gpus.values())
        where = f"{len(self.nodes)} node{'s' * (len(self.nodes) > 1)}"
        yield f"placement at {self.size} replicas on {where}: {used:g} of {total} GPUs used"
        for name, replica in self.kinds.items():
            nodes = self.places.get(name, Counter())
            where = ", ".join(
                node if count == 1 else f"{node} ({count})" for node, count in sorted(nodes.items())
            )
            count, homeless = sum(nodes.values()), self.homeless[name]
            on = "spread, as on" if name in self.spread else "on"
            if count:
                yield f"  {name:<10} {count:>2}  {on} {where}, each {replica.takes}"
            if homeless:
                yield f"  {name:<10} {homeless:>2}  on no node, each {replica.needs}"
            if not count + homeless:
                yield f"  {name:<10}  0  until something is asked of it"
        width = max((len(node.name) for node in self.nodes), default=0)
        for node in self.nodes:
            cpus, gpus = self.free_cpus[node.name], self.free_gpus[node.name]
            yield f"  {node.name:<{width}}  {_use(node.cpus, cpus, 'CPUs')}" + (
                f"; {_use(node.gpus, gpus, 'GPUs')}" if node.gpus else ""
            )


def _use(total: float, free: float, what: str) -> str:
    return f"{total - free:g} of {total:g} {what} used, {free:g} free"


def plan(
    application: Mapping[str, Any], nodes: Sequence[Node], size: Size, updating: str = ""
) -> Plan:
    """Place the fewest or the most replicas of an application that Serve has accepted.

    The deployment that is `updating` has those replicas too that an update starts first.
    """
    rooms = [Room.empty(node) for node in nodes]
    listed = [Deployment((), options) for options in application.get("deployments") or []]
    kinds = {each.name: replica_of(each) for each in listed}
    standing = [kinds[each.name] for each in listed for _ in range(each.replicas(size))]
    standing.sort(key=lambda one: one.weight, reverse=True)
    new = [
        kinds[each.name]
        for each in listed
        if each.name == updating
        for _ in range(each.surge(size))
    ]
    places = {each.name: Counter[str]() for each in listed}
    homeless = Counter[str]()
    for replica in (*standing, *new):
        where = place(replica, rooms)
        if where is None:
            homeless[replica.deployment] += 1
        else:
            places[replica.deployment][where] += 1
    return Plan(
        size,
        nodes,
        {name: found for name, found in places.items() if found},
        homeless,
        kinds,
        frozenset(
            each.name
            for each in listed
            if not kinds[each.name].grouped and len(hosts(each, nodes)) > 1
        ),
        {room.node.name: round(room.cpus, 6) for room in rooms},
        {room.node.name: round(sum(room.cards), 6) for room in rooms},
    )


def hosts(deployment: Deployment, nodes: Sequence[Node]) -> list[Node]:
    """List the nodes that have room, when empty, for a replica or the first part of its group."""
    first = replica_of(deployment).parts[0]
    return [node for node in nodes if Room.empty(node).holds(first)]
