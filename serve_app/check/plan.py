"""Which deployment lands where: the replicas of a configuration on the nodes of a cluster.

It places as Ray does: what is hardest to place first, a group whole on one node where its
strategy is STRICT_PACK, parts of a GPU on one card, and everything else where most is free,
leaving nodes with GPUs to those that need them. `tests/integration/test_placement.py` has a real
Ray place the same replicas.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from serve_app.check.nodes import Node

Size = Literal["minimum", "maximum"]
_DEFAULT_CPUS = 1.0  # of a replica whose options name none, as Serve has it


@dataclass(frozen=True, slots=True)
class Part:
    """What has to be on one node together: a replica, or one bundle of its group."""

    cpus: float
    gpus: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica of a deployment; several parts are a placement group."""

    deployment: str
    parts: tuple[Part, ...]
    packed: bool = False

    @property
    def weight(self) -> tuple[float, float]:
        """How hard it is to place."""
        parts = self.parts if self.packed else self.parts[:1]
        return sum(part.gpus for part in parts), sum(part.cpus for part in parts)


@dataclass(slots=True)
class _Room:
    """What is free on a node; `cards` is the free share of each GPU."""

    node: Node
    cpus: float
    cards: list[float]

    def holds(self, part: Part) -> bool:
        return self._fits_labels(part) and self.cpus >= part.cpus and self._takes(part.gpus)

    def _fits_labels(self, part: Part) -> bool:
        return all(self.node.labels.get(name) == value for name, value in part.labels.items())

    def _takes(self, gpus: float) -> bool:
        if gpus > 1:
            return self.cards.count(1.0) >= gpus
        return gpus == 0 or any(card >= gpus for card in self.cards)

    def take(self, part: Part) -> None:
        self.cpus -= part.cpus
        left = part.gpus
        while left > 0:
            share = min(left, 1.0)
            # The fullest card that it fits, so that whole ones stay whole.
            fitting = [card for card in self.cards if card >= share]
            card = self.cards.index(min(fitting))
            self.cards[card] = round(self.cards[card] - share, 6)
            left -= share

    def copy(self) -> _Room:
        return _Room(self.node, self.cpus, list(self.cards))


@dataclass(frozen=True, slots=True)
class Plan:
    """Where replicas are: `places` by deployment and node; `homeless` found no place."""

    size: Size
    nodes: Sequence[Node]
    places: Mapping[str, Counter[str]]
    homeless: Counter[str]
    free_cpus: Mapping[str, float]
    free_gpus: Mapping[str, float]

    def lines(self) -> Iterator[str]:
        """Tell it to a person."""
        used = sum(node.gpus for node in self.nodes) - sum(self.free_gpus.values())
        total = sum(node.gpus for node in self.nodes)
        yield f"placement at {self.size} replicas: {used:g} of {total} GPUs used"
        for name, nodes in self.places.items():
            where = ", ".join(
                node if count == 1 else f"{node} ({count})" for node, count in sorted(nodes.items())
            )
            yield f"  {name:<10} {sum(nodes.values()):>2}  on {where}"
        for name, count in self.homeless.items():
            yield f"  {name:<10} {count:>2}  find no node"
        for node in self.nodes:
            gpus = f", {self.free_gpus[node.name]:g} of {node.gpus} GPUs" if node.gpus else ""
            free = f"{self.free_cpus[node.name]:g} of {node.cpus:g} CPUs"
            yield f"  free on {node.name}: {free}{gpus}"


def plan(application: Mapping[str, Any], nodes: Sequence[Node], size: Size) -> Plan:
    """Place the fewest or the most replicas of an application that Serve has accepted."""
    rooms = [_Room(node, node.cpus, [1.0] * node.gpus) for node in nodes]
    listed = application.get("deployments") or []
    replicas = [one for options in listed for one in _replicas(options, size)]
    places = {options["name"]: Counter[str]() for options in listed}
    homeless = Counter[str]()
    for replica in sorted(replicas, key=lambda one: one.weight, reverse=True):
        where = _placed(replica, rooms)
        if where is None:
            homeless[replica.deployment] += 1
        else:
            places[replica.deployment][where] += 1
    return Plan(
        size,
        nodes,
        {name: found for name, found in places.items() if found},
        homeless,
        {room.node.name: round(room.cpus, 6) for room in rooms},
        {room.node.name: round(sum(room.cards), 6) for room in rooms},
    )


def _replicas(options: Mapping[str, Any], size: Size) -> Iterator[Replica]:
    actor = options.get("ray_actor_options") or {}
    labels = {str(k): str(v) for k, v in (actor.get("label_selector") or {}).items()}
    bundles = options.get("placement_group_bundles")
    if bundles:
        parts = tuple(
            Part(float(bundle.get("CPU", 0)), float(bundle.get("GPU", 0)), labels)
            for bundle in bundles
        )
    else:
        cpus = actor.get("num_cpus")
        parts = (
            Part(
                _DEFAULT_CPUS if cpus is None else float(cpus),
                float(actor.get("num_gpus") or 0),
                labels,
            ),
        )
    packed = options.get("placement_group_strategy") == "STRICT_PACK"
    for _ in range(_count(options, size)):
        yield Replica(options["name"], parts, packed)


def _count(options: Mapping[str, Any], size: Size) -> int:
    scaling = options.get("autoscaling_config") or {}
    if scaling:
        return int(scaling.get("min_replicas" if size == "minimum" else "max_replicas", 1))
    fixed = options.get("num_replicas")
    if fixed == "auto":  # Serve's own bounds
        return 1 if size == "minimum" else 100
    return int(fixed or 1)


def _placed(replica: Replica, rooms: list[_Room]) -> str | None:
    """Take the room for all parts, and name the node of the first; None if there is none."""
    tried = [room.copy() for room in rooms]
    first: str | None = None
    candidates = sorted(range(len(tried)), key=lambda i: _preference(replica, tried[i]))
    for i in candidates:
        room = tried[i].copy()
        left = list(replica.parts)
        while left and room.holds(left[0]):
            room.take(left.pop(0))
        if not left:
            rooms[i] = room
            return room.node.name
    if replica.packed:
        return None
    for part in replica.parts:
        fitting = [room for room in tried if room.holds(part)]
        if not fitting:
            return None
        room = min(fitting, key=lambda one: _preference(replica, one))
        room.take(part)
        first = first or room.node.name
    rooms[:] = tried
    return first


def _preference(replica: Replica, room: _Room) -> tuple[bool, float, float]:
    """Spare the cards for who needs them; then the emptiest, or for cards the fullest."""
    needs_cards = any(part.gpus for part in replica.parts)
    free_cards = sum(room.cards)
    return (bool(room.cards) and not needs_cards, free_cards if needs_cards else 0.0, -room.cpus)
