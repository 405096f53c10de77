"""One deployment of a configuration, with Serve's defaults for options it leaves out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from serve_app.check.file.document import Place

Size = Literal["minimum", "maximum"]
"""The fewest replicas, of an idle service, or the most."""
_AUTO = {"minimum": 1, "maximum": 100}  # Serve's meaning of `num_replicas: auto`
_MAX_ONGOING_REQUESTS = 5  # Serve's default, also of the ingress


@dataclass(frozen=True, slots=True)
class Deployment:
    """One entry under `deployments:`, and its place in the file."""

    path: Place
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        return str(self.options.get("name"))

    @property
    def actor(self) -> Mapping[str, Any]:
        return section(self.options, "ray_actor_options")

    @property
    def scaling(self) -> Mapping[str, Any]:
        return section(self.options, "autoscaling_config")

    @property
    def bundles(self) -> list[Mapping[str, Any]]:
        """The placement group of each replica; empty if it is a single actor."""
        listed = self.options.get("placement_group_bundles")
        return [b for b in listed if isinstance(b, Mapping)] if isinstance(listed, list) else []

    @property
    def num_gpus(self) -> float:
        return number(self.actor.get("num_gpus"))

    @property
    def gpu_bundles(self) -> list[float]:
        """The GPUs of the bundles that have any."""
        return [gpus for bundle in self.bundles if (gpus := number(bundle.get("GPU")))]

    @property
    def max_ongoing_requests(self) -> int:
        return int(number(self.options.get("max_ongoing_requests", _MAX_ONGOING_REQUESTS)))

    def replicas(self, size: Size) -> int:
        """Return the number of replicas at one of the two sizes."""
        fixed = self.options.get("num_replicas")
        if fixed == "auto":
            return _AUTO[size]
        if self.scaling:
            return int(number(self.scaling.get(f"{size[:3]}_replicas", 1)))
        return int(number(fixed)) or 1

    def surge(self, size: Size) -> int:
        """Return the number of new replicas that an update starts before it stops old ones."""
        percent = int(number(self.options.get("max_surge_percent")))
        return -(-percent * self.replicas(size) // 100)


def section(options: object, key: str) -> Mapping[str, Any]:
    """Return a mapping inside the options; empty if it is missing or not a mapping."""
    value = options.get(key) if isinstance(options, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def number(value: object) -> float:
    """Return a finite number; 0 for anything else, which Serve's schema refuses."""
    if not isinstance(value, int | float):
        return 0
    try:
        return value if math.isfinite(value) else 0
    except OverflowError:  # an integer too large for a float
        return 0
