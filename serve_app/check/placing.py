"""Room on nodes, and what a replica asks of it: CPUs, GPUs, labels, and neighbours kept apart."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from serve_app.check.deployment import number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from serve_app.check.deployment import Deployment
    from serve_app.check.nodes import Node

_DEFAULT_CPUS = 1.0  # of a replica whose options name none, as Serve has it
_COUNTED = {"CPU", "GPU", "memory"}
_ACCELERATOR_LABEL = "ray.io/accelerator-type"


@dataclass(frozen=True, slots=True)
class Part:
    """What has to be on one node together: a replica, or one bundle of its group.

    `labels` are Ray's selectors: a value, `in(a,b)`, or either of them after `!`. `others` are
    custom resources, which no node that is described here has.
    """

    cpus: float
    gpus: float
    labels: Mapping[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()

    @property
    def amounts(self) -> str:
        counted = ((self.cpus, "CPU"), (self.gpus, "GPU"))
        wants = [f"{n:g} {what}{'s' * (n > 1)}" for n, what in counted if n]
        return ", ".join([*wants, *self.others])


@dataclass(frozen=True, slots=True)
class Replica:
    """One replica of a deployment: a single part, or the bundles of a placement group."""

    deployment: str
    parts: tuple[Part, ...]
    grouped: bool = False
    strategy: str = "PACK"
    most_on_a_node: int | None = None

    @property
    def weight(self) -> tuple[float, float]:
        """How hard it is to place."""
        parts = self.parts if self.strategy == "STRICT_PACK" else self.parts[:1]
        return sum(part.gpus for part in parts), sum(part.cpus for part in parts)

    @property
    def takes(self) -> str:
        """Tell what it takes to a person."""
        if not self.grouped:
            return self.parts[0].amounts
        together = " on one node" if self.strategy == "STRICT_PACK" else ""
        return f"{len(self.parts)} bundles of {self.parts[0].amounts}{together}"

    @property
    def needs(self) -> str:
        """Tell what it takes, and where it may be."""
        labels = (f"{name}={value}" for name, value in self.parts[0].labels.items())
        return ", ".join([self.takes, *labels])


@dataclass(slots=True)
class Room:
    """What is free on a node; `cards` is the free share of each GPU.

    `turns` counts the replicas that came here because it was this node's turn.
    """

    node: Node
    cpus: float
    cards: list[float]
    replicas: Counter[str] = field(default_factory=Counter)
    turns: int = 0

    @classmethod
    def empty(cls, node: Node) -> Room:
        return cls(node, node.cpus, [1.0] * node.gpus)

    def holds(self, part: Part) -> bool:
        selected = all(_selects(v, self.node.labels.get(k)) for k, v in part.labels.items())
        return selected and not part.others and self.cpus >= part.cpus and self._takes(part.gpus)

    def admits(self, replica: Replica) -> bool:
        """Say whether one more replica of its deployment may be here at all."""
        most = replica.most_on_a_node
        return most is None or self.replicas[replica.deployment] < most

    def _takes(self, gpus: float) -> bool:
        if gpus > 1:
            return self.cards.count(1.0) >= gpus
        return gpus == 0 or any(card >= gpus for card in self.cards)

    def take(self, part: Part) -> None:
        self.cpus = round(self.cpus - part.cpus, 6)
        left = part.gpus
        while left > 0:
            share = min(left, 1.0)
            # The fullest card that it fits, so that whole ones stay whole.
            fitting = [card for card in self.cards if card >= share]
            card = self.cards.index(min(fitting))
            self.cards[card] = round(self.cards[card] - share, 6)
            left -= share

    def copy(self) -> Room:
        return Room(self.node, self.cpus, list(self.cards), self.replicas.copy(), self.turns)


def replica_of(deployment: Deployment) -> Replica:
    """Read what each replica of a deployment asks for."""
    actor = deployment.actor
    labels = {str(k): str(v) for k, v in (actor.get("label_selector") or {}).items()}
    if accelerator := actor.get("accelerator_type"):
        labels[_ACCELERATOR_LABEL] = str(accelerator)
    options = deployment.options
    strategy = str(options.get("placement_group_strategy") or "PACK")
    most = options.get("max_replicas_per_node")
    if bundles := tuple(_bundles(deployment, labels)):
        return Replica(
            deployment.name, bundles, grouped=True, strategy=strategy, most_on_a_node=most
        )
    cpus = actor.get("num_cpus")
    cpus = _DEFAULT_CPUS if cpus is None else float(cpus)
    part = Part(cpus, deployment.num_gpus, labels, _others(actor.get("resources") or {}))
    return Replica(deployment.name, (part,), most_on_a_node=most)


def _bundles(deployment: Deployment, labels: Mapping[str, str]) -> Iterator[Part]:
    selectors = deployment.options.get("placement_group_bundle_label_selector") or []
    for i, bundle in enumerate(deployment.bundles):
        # One selector is for all bundles.
        own = selectors[min(i, len(selectors) - 1)] if selectors else {}
        cpus, gpus = number(bundle.get("CPU")), number(bundle.get("GPU"))
        yield Part(float(cpus), float(gpus), {**labels, **own}, _others(bundle))


def _others(resources: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(str(name) for name, amount in resources.items() if name not in _COUNTED and amount)


def place(replica: Replica, rooms: list[Room]) -> str | None:
    """Take the room for all parts, and name the node of the first; None if there is none."""
    open_to_it = [i for i, room in enumerate(rooms) if room.admits(replica)]
    if not replica.grouped:
        return _place_in_turn(replica, rooms, open_to_it)
    if replica.strategy not in {"SPREAD", "STRICT_SPREAD"}:
        for i in sorted(open_to_it, key=lambda i: _preference(replica, rooms[i])):
            room = rooms[i].copy()
            left = list(replica.parts)
            while left and room.holds(left[0]):
                room.take(left.pop(0))
            if not left:
                return _taken(replica, rooms, {i: room}, i)
        if replica.strategy == "STRICT_PACK":
            return None
    return _place_apart(replica, rooms, open_to_it)


def _place_in_turn(replica: Replica, rooms: list[Room], open_to_it: Sequence[int]) -> str | None:
    """Serve has single replicas spread: one node after the other, whether it has GPUs or not."""
    fitting = [i for i in open_to_it if rooms[i].holds(replica.parts[0])]
    if not fitting:
        return None
    i = min(fitting, key=lambda i: rooms[i].turns)
    rooms[i].take(replica.parts[0])
    rooms[i].turns += 1
    return _taken(replica, rooms, {}, i)


def _place_apart(replica: Replica, rooms: list[Room], open_to_it: Sequence[int]) -> str | None:
    tried = {i: rooms[i].copy() for i in open_to_it}
    used: list[int] = []
    for part in replica.parts:
        fitting = [i for i, room in tried.items() if room.holds(part)]
        if replica.strategy == "STRICT_SPREAD":
            fitting = [i for i in fitting if i not in used]
        if not fitting:
            return None
        spread = replica.strategy == "SPREAD"
        i = min(fitting, key=lambda i: (spread and i in used, _preference(replica, tried[i])))
        tried[i].take(part)
        used.append(i)
    return _taken(replica, rooms, tried, used[0])


def _taken(replica: Replica, rooms: list[Room], changed: Mapping[int, Room], first: int) -> str:
    for i, room in changed.items():
        rooms[i] = room
    rooms[first].replicas[replica.deployment] += 1
    return rooms[first].node.name


def _preference(replica: Replica, room: Room) -> tuple[bool, float, float]:
    """Spare the cards for who needs them; then the emptiest, or for cards the fullest."""
    needs_cards = any(part.gpus for part in replica.parts)
    free_cards = sum(room.cards)
    return (bool(room.cards) and not needs_cards, free_cards if needs_cards else 0.0, -room.cpus)


def _selects(selector: str, label: str | None) -> bool:
    wanted = selector.removeprefix("!")
    values = {wanted}
    if wanted.startswith("in("):
        values = {value.strip() for value in wanted[3:].rstrip(")").split(",")}
    return (label in values) != selector.startswith("!")
