"""The scheduler of the plan: demands of replicas, and the free CPUs and GPUs of nodes."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from serve_app.check.file.deployment import number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from serve_app.check.file.deployment import Deployment
    from serve_app.check.placement.nodes import Node

_DEFAULT_CPUS = 1.0  # Serve's, for a replica whose options name none
_COUNTED = {"CPU", "GPU", "memory"}
_ACCELERATOR_LABEL = "ray.io/accelerator-type"


@dataclass(frozen=True, slots=True)
class Part:
    """What must be on one node together: a replica, or one bundle of its placement group.

    `labels` are Ray's label selectors: a value, `in(a,b)`, or either of them after `!`.
    `others` are custom resources, which no node described here has.
    """

    cpus: float
    gpus: float
    labels: Mapping[str, str] = field(default_factory=dict)
    others: tuple[str, ...] = ()

    def __str__(self) -> str:
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
        """How hard it is to place: GPUs, then CPUs, needed together on one node."""
        parts = self.parts if self.strategy == "STRICT_PACK" else self.parts[:1]
        return sum(part.gpus for part in parts), sum(part.cpus for part in parts)

    @property
    def takes(self) -> str:
        """The resources of the replica, for people."""
        if not self.grouped:
            return str(self.parts[0])
        together = " on one node" if self.strategy == "STRICT_PACK" else ""
        return f"{len(self.parts)} bundles of {self.parts[0]}{together}"

    @property
    def needs(self) -> str:
        """The resources and label selectors of the replica, for people."""
        labels = (f"{name}={value}" for name, value in self.parts[0].labels.items())
        return ", ".join([self.takes, *labels])


@dataclass(slots=True)
class Room:
    """What is free on a node; `cards` is the free share of each GPU.

    `turns` counts the replicas placed here in round-robin order.
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
        """Tell whether the part fits, by resources and by labels."""
        selected = all(_selects(v, self.node.labels.get(k)) for k, v in part.labels.items())
        if not selected or part.others or self.cpus < part.cpus:
            return False
        if part.gpus > 1:
            return self.cards.count(1.0) >= part.gpus
        return part.gpus == 0 or any(card >= part.gpus for card in self.cards)

    def admits(self, replica: Replica) -> bool:
        """Tell whether `max_replicas_per_node` allows one more replica."""
        most = replica.most_on_a_node
        return most is None or self.replicas[replica.deployment] < most

    def take(self, part: Part) -> None:
        self.cpus = round(self.cpus - part.cpus, 6)
        left = part.gpus
        while left > 0:
            share = min(left, 1.0)
            # The fullest card that it fits on, so that whole cards stay whole.
            card = self.cards.index(min(card for card in self.cards if card >= share))
            self.cards[card] = round(self.cards[card] - share, 6)
            left -= share

    def copy(self) -> Room:
        return Room(self.node, self.cpus, list(self.cards), self.replicas.copy(), self.turns)


def replica_of(deployment: Deployment) -> Replica:
    """Read what each replica of a deployment asks for."""
    actor, options = deployment.actor, deployment.options
    labels = {str(k): str(v) for k, v in (actor.get("label_selector") or {}).items()}
    if accelerator := actor.get("accelerator_type"):
        labels[_ACCELERATOR_LABEL] = str(accelerator)
    bundles = tuple(_bundles(deployment, labels))
    cpus = actor.get("num_cpus")
    cpus = _DEFAULT_CPUS if cpus is None else float(cpus)
    single = Part(cpus, deployment.num_gpus, labels, _others(actor.get("resources") or {}))
    return Replica(
        deployment.name,
        bundles or (single,),
        grouped=bool(bundles),
        strategy=str(options.get("placement_group_strategy") or "PACK"),
        most_on_a_node=options.get("max_replicas_per_node"),
    )


def _bundles(deployment: Deployment, labels: Mapping[str, str]) -> Iterator[Part]:
    selectors = deployment.options.get("placement_group_bundle_label_selector") or []
    for i, bundle in enumerate(deployment.bundles):
        # A single selector is for all bundles.
        own = selectors[min(i, len(selectors) - 1)] if selectors else {}
        cpus, gpus = number(bundle.get("CPU")), number(bundle.get("GPU"))
        yield Part(float(cpus), float(gpus), {**labels, **own}, _others(bundle))


def _others(resources: Mapping[str, object]) -> tuple[str, ...]:
    return tuple(str(name) for name, amount in resources.items() if name not in _COUNTED and amount)


def place(replica: Replica, rooms: list[Room]) -> str | None:
    """Take the room for all parts; return the node of the first one, None if it does not fit."""
    open_to_it = [i for i, room in enumerate(rooms) if room.admits(replica)]
    if not replica.grouped:
        return _place_single(replica, rooms, open_to_it)
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


def _place_single(replica: Replica, rooms: list[Room], open_to_it: Sequence[int]) -> str | None:
    """Place as Ray's SPREAD does, which Serve uses: round robin, on nodes with GPUs too."""
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
    """Order nodes: those without GPUs first for CPU work, the fullest cards first for GPU work."""
    needs_cards = any(part.gpus for part in replica.parts)
    free_cards = sum(room.cards)
    return (bool(room.cards) and not needs_cards, free_cards if needs_cards else 0.0, -room.cpus)


def _selects(selector: str, label: str | None) -> bool:
    wanted = selector.removeprefix("!")
    values = {wanted}
    if wanted.startswith("in("):
        values = {value.strip() for value in wanted[3:].rstrip(")").split(",")}
    return (label in values) != selector.startswith("!")
