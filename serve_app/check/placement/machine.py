"""This machine as a Ray node."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ray._private.resource_and_label_spec import ResourceAndLabelSpec

from serve_app.check.placement.nodes import Node

if TYPE_CHECKING:
    from collections.abc import Sequence

LOCAL = "local"
"""The `--nodes` value that stands for this machine."""
_NAME = "this machine"
_ANY_BYTES = 2**30  # memory is not part of the plan


def this_machine() -> Node:
    """Return the node that a Ray started here would be: cgroup limits and RAY_* settings count."""
    spec = ResourceAndLabelSpec(memory=_ANY_BYTES, object_store_memory=_ANY_BYTES)
    spec.resolve(is_head=True, node_ip_address="127.0.0.1")
    return Node(_NAME, spec.num_cpus or 0, spec.num_gpus or 0, spec.labels or {})


def is_this_machine(nodes: Sequence[Node]) -> bool:
    """Tell whether the nodes are this machine alone."""
    return [node.name for node in nodes] == [_NAME]
