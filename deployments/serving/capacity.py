"""What Ray reserved for the replica of the calling code."""

from __future__ import annotations

from typing import Any

import ray


def reserved_cores() -> int:
    """Return the CPUs of this replica (`ray_actor_options.num_cpus`), rounded down, at least 1."""
    context: Any = ray.get_runtime_context()  # its methods have no types
    return max(1, int(context.get_assigned_resources().get("CPU", 0)))
