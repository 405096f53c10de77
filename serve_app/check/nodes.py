"""The nodes that a configuration is meant for: named on the command line, or in the file."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SPEC_HELP = (
    "NAME=COUNTxCPUS[+GPUS][@LABEL=VALUE], with commas between: "
    "head=1x16,large=2x64+8,small=1x16+1@genserve-role=small"
)
_SPEC = re.compile(
    r"(?P<name>[a-z][a-z0-9-]*)=(?P<count>\d{1,4})x(?P<cpus>\d{1,4})"
    r"(?:\+(?P<gpus>\d{1,3}))?(?:@(?P<label>[\w./-]+)=(?P<value>[\w.-]+))?"
)
# As in the comment at the head of serve_config.yaml.
_COMMENT = re.compile(
    r"^#\s+(?P<name>[a-z][a-z0-9-]*)\s+(?P<count>\d+) x\s+(?P<cpus>\d+) CPUs, "
    r"(?:(?P<gpus>\d+) GPUs?|no GPU)",
    re.MULTILINE,
)
_LABELS = re.compile(
    r"^#\s+ray start .*--labels=(?P<label>[\w.-]+)=(?P<value>[\w.-]+)\s+#\s+(?P<name>[\w-]+)",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class Node:
    """One machine of a cluster, as Ray's scheduler sees it."""

    name: str
    cpus: float
    gpus: int = 0
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cluster:
    """The nodes there are at the fewest and at the most replicas."""

    minimum: Sequence[Node] = ()
    maximum: Sequence[Node] = ()


def read_spec(spec: str) -> list[Node]:
    """Read nodes from a command line; raises ValueError, which says how they are written."""
    nodes: list[Node] = []
    for part in filter(None, map(str.strip, spec.split(","))):
        match = _SPEC.fullmatch(part)
        if match is None:
            msg = f"`{part}` is not {SPEC_HELP}"
            raise ValueError(msg)
        labels = {match["label"]: match["value"]} if match["label"] else {}
        nodes += _nodes(match, labels)
    return nodes


def read_comment(text: str) -> list[Node]:
    """Read nodes from the comment of a file that says what it is made for; none if it does not."""
    labels = {match["name"]: {match["label"]: match["value"]} for match in _LABELS.finditer(text)}
    return [
        node
        for match in _COMMENT.finditer(text)
        for node in _nodes(match, labels.get(match["name"], {}))
    ]


def _nodes(match: re.Match[str], labels: Mapping[str, str]) -> list[Node]:
    one = Node(match["name"], float(match["cpus"]), int(match["gpus"] or 0), labels)
    return copies(one, int(match["count"]))


def copies(node: Node, count: int) -> list[Node]:
    """Make so many nodes of one kind, each with a name of its own."""
    if count == 1:
        return [node]
    return [replace(node, name=f"{node.name}-{number}") for number in range(count)]
