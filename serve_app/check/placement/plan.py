"""The placement plan: the replicas of a configuration on the nodes of a cluster.

It places as Ray does: the replica that is hardest to place first, a STRICT_PACK group whole on
one node, parts of a GPU on one card, and single replicas round robin over all nodes that have room
and the labels, as Serve asks Ray to. Ray decides which node is first, so for those the plan is an
example. Memory is not planned. `tests/integration/test_placement.py` compares it with a real Ray.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from serve_app.check.file.deployment import Deployment, Size
from serve_app.check.placement.scheduler import Replica, Room, place, replica_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from serve_app.check.placement.nodes import Node

__all__ = ["Plan", "Size", "hosts", "plan"]


@dataclass(frozen=True, slots=True)
class Plan:
    """The placement at one size: `places` by deployment and node; `unplaced` by deployment."""

    size: Size
    nodes: Sequence[Node]
    places: Mapping[str, Counter[str]]
    unplaced: Counter[str]
    kinds: Mapping[str, Replica]
    spread: frozenset[str]
    free_cpus: Mapping[str, float]
    free_gpus: Mapping[str, float]

    def lines(self) -> Iterator[str]:
        """Describe the plan for people: a line for each deployment, and one for each node."""
        total = sum(node.gpus for node in self.nodes)
        used = total - sum(self.free_gpus.values())
        where = f"{len(self.nodes)} node{'s' * (len(self.nodes) > 1)}"
        yield f"placement at {self.size} replicas on {where}: {used:g} of {total} GPUs used"
        for name, replica in self.kinds.items():
            nodes = self.places.get(name, Counter())
            where = ", ".join(
                node if count == 1 else f"{node} ({count})" for node, count in sorted(nodes.items())
            )
            count, unplaced = sum(nodes.values()), self.unplaced[name]
            on = "spread, as on" if name in self.spread else "on"
            if count:
                yield f"  {name:<10} {count:>2}  {on} {where}, each {replica.takes}"
            if unplaced:
                yield f"  {name:<10} {unplaced:>2}  on no node, each {replica.needs}"
            if not count + unplaced:
                yield f"  {name:<10}  0  until the first request"
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
    """Place the replicas of an application that Serve accepts.

    For the deployment named `updating`, also place the new replicas that an update starts first.
    """
    rooms = [Room.empty(node) for node in nodes]
    listed = [Deployment((), options) for options in application.get("deployments") or []]
    kinds = {each.name: replica_of(each) for each in listed}
    running = [kinds[each.name] for each in listed for _ in range(each.replicas(size))]
    running.sort(key=lambda one: one.weight, reverse=True)
    for each in listed:
        if each.name == updating:
            running += [kinds[each.name]] * each.surge(size)
    places = {each.name: Counter[str]() for each in listed}
    unplaced = Counter[str]()
    for replica in running:
        where = place(replica, rooms)
        if where is None:
            unplaced[replica.deployment] += 1
        else:
            places[replica.deployment][where] += 1
    return Plan(
        size,
        nodes,
        {name: found for name, found in places.items() if found},
        unplaced,
        kinds,
        frozenset(
            each.name
            for each in listed
            if not kinds[each.name].grouped and len(hosts(each, nodes)) > 1
        ),
        {room.node.name: room.cpus for room in rooms},
        {room.node.name: round(sum(room.cards), 6) for room in rooms},
    )


def hosts(deployment: Deployment, nodes: Sequence[Node]) -> list[Node]:
    """List the nodes that, when empty, have room for a replica or the first part of its group."""
    first = replica_of(deployment).parts[0]
    return [node for node in nodes if Room.empty(node).holds(first)]
