"""The nodes of a cluster: from the command line, or from `x-nodes` of the configuration."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, NonNegativeFloat, NonNegativeInt, ValidationError

from serve_app.check.file.schema import complaints, unknown_keys

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from serve_app.check.file.deployment import Size
    from serve_app.check.file.document import ConfigFile, Problem

NODES_KEY = "x-nodes"
"""A top-level key of the configuration, for the check only: Serve ignores it."""

SPEC_HELP = (
    "NAME=COUNTxCPUS[+GPUS][@LABEL=VALUE], with commas between: "
    "head=1x16,large=2x64+8,small=1x16+1@genserve-role=small"
)
_SPEC = re.compile(
    r"(?P<name>[a-z][a-z0-9-]*)=(?P<count>\d{1,4})x(?P<cpus>\d{1,4})"
    r"(?:\+(?P<gpus>\d{1,3}))?(?:@(?P<label>[\w./-]+)=(?P<value>[\w.-]+))?"
)
_MOST_NODES = 10_000


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of a cluster, as Ray's scheduler sees it."""

    name: str
    cpus: float
    gpus: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cluster:
    """The nodes of a cluster at its minimum and at its maximum number of replicas."""

    minimum: Sequence[Node] = ()
    maximum: Sequence[Node] = ()

    def of(self, size: Size) -> Sequence[Node]:
        """Return the nodes at one of the two sizes."""
        return self.minimum if size == "minimum" else self.maximum


class NodeGroup(BaseModel):
    """One entry of `x-nodes`: equal machines."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    count: int = Field(default=1, ge=1, le=_MOST_NODES)
    cpus: NonNegativeFloat
    gpus: NonNegativeInt = 0
    labels: dict[str, str] = Field(default_factory=dict)


def read_spec(spec: str) -> list[Node]:
    """Read nodes from a command line; raise ValueError with the expected form."""
    nodes: list[Node] = []
    for part in filter(None, map(str.strip, spec.split(","))):
        match = _SPEC.fullmatch(part)
        if match is None:
            msg = f"`{part}` is not {SPEC_HELP}"
            raise ValueError(msg)
        labels = {match["label"]: match["value"]} if match["label"] else {}
        one = Node(match["name"], float(match["cpus"]), int(match["gpus"] or 0), labels)
        nodes += copies(one, int(match["count"]))
    if repeated := _repeated(nodes):
        msg = f"two nodes are called `{repeated}`"
        raise ValueError(msg)
    return nodes


def read_nodes(file: ConfigFile) -> tuple[list[Node], list[Problem]]:
    """Read the nodes that a configuration names, and list the problems of that section."""
    section = file.data.get(NODES_KEY) if isinstance(file.data, dict) else None
    if section is None:
        return [], []
    if not isinstance(section, dict):
        return [], [
            file.problem((NODES_KEY,), "must map the name of each kind of node to its size")
        ]
    nodes: list[Node] = []
    found: list[Problem] = []
    for name, group in section.items():
        at = (NODES_KEY, name)
        found += [
            file.problem(path, message) for path, message in unknown_keys(NodeGroup, group, at)
        ]
        try:
            size = NodeGroup.model_validate(group)
        except ValidationError as error:
            found += complaints(error, file, at)
        else:
            nodes += copies(Node(str(name), size.cpus, size.gpus, size.labels), size.count)
    if repeated := _repeated(nodes):
        found.append(file.problem((NODES_KEY,), f"two nodes are called `{repeated}`"))
    return nodes, found


def _repeated(nodes: Sequence[Node]) -> str | None:
    """Return a name that several nodes have: nodes are told apart by their names."""
    counts = Counter(node.name for node in nodes)
    return next((name for name, count in counts.items() if count > 1), None)


def copies(node: Node, count: int) -> list[Node]:
    """Make `count` nodes of one kind, numbered if there are several."""
    if count == 1:
        return [node]
    return [replace(node, name=f"{node.name}-{number}") for number in range(count)]
