"""A configuration deployed on Ray's nodes: what runs where, and when all of it is well."""

from __future__ import annotations

import contextlib
import http.client
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.support.processes import StartError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.ray_nodes import RayNodes

_APPLICATIONS = "/api/serve/applications/"
_POLL_S = 0.5


@dataclass(frozen=True)
class Seen:
    """What Serve says of the application at one moment."""

    application: str
    deployments: Mapping[str, Mapping[str, Any]]

    @property
    def well(self) -> bool:
        """Whether every deployment is healthy with as many replicas as are wanted."""
        return self.application == "RUNNING" and all(
            self.settled(name) for name in self.deployments
        )

    def settled(self, name: str) -> bool:
        """Whether a deployment is healthy and all its replicas run."""
        one = self.deployments[name]
        states = Counter(replica["state"] for replica in one["replicas"])
        wanted = one["target_num_replicas"]
        return one["status"] == "HEALTHY" and states == Counter(RUNNING=wanted)

    def running(self) -> Counter[str]:
        """How many replicas of each deployment run."""
        return Counter(
            {
                name: sum(replica["state"] == "RUNNING" for replica in one["replicas"])
                for name, one in self.deployments.items()
            }
        )

    def places(self, names: Mapping[str, str]) -> dict[str, Counter[str]]:
        """On which nodes the running replicas are, by deployment."""
        return {
            name: Counter(
                names.get(replica["node_id"], "a node that is gone")
                for replica in one["replicas"]
                if replica["state"] == "RUNNING"
            )
            for name, one in self.deployments.items()
        }

    def replica_ids(self) -> set[str]:
        """The running replicas of all deployments."""
        return {
            replica["replica_id"]
            for one in self.deployments.values()
            for replica in one["replicas"]
            if replica["state"] == "RUNNING"
        }

    def __str__(self) -> str:
        unwell = [
            f"{name} {one['status']} ({one['message']})"
            for name, one in self.deployments.items()
            if not self.settled(name)
        ]
        return f"{self.application}: {'; '.join(unwell)}"


@dataclass
class Deployed:
    """The application on the nodes, by Serve's own interface on the dashboard."""

    nodes: RayNodes
    healthy_after_s: dict[str, float] = field(default_factory=dict)

    def put(self, document: Mapping[str, Any]) -> None:
        """Do what `serve deploy` does."""
        self.nodes.ask(_APPLICATIONS, method="PUT", body=document)

    def seen(self) -> Seen:
        """Ask Serve; nothing is well while it does not answer."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            applications = self.nodes.ask(_APPLICATIONS)["applications"]
            for one in applications.values():
                return Seen(one["status"], one["deployments"])
        return Seen("NOT_STARTED", {})

    def wait_until_well(self, timeout_s: float) -> Seen:
        """Return when all is; raises StartError, also if a deployment will not start.

        `healthy_after_s` then holds when each deployment was first seen well.
        """
        began = time.monotonic()
        self.healthy_after_s = {}
        while (elapsed := time.monotonic() - began) < timeout_s:
            seen = self.seen()
            for name in seen.deployments:
                if seen.settled(name):
                    self.healthy_after_s.setdefault(name, elapsed)
            if seen.application == "DEPLOY_FAILED":
                break
            if seen.deployments and seen.well:
                return seen
            time.sleep(_POLL_S)
        msg = f"not well after {elapsed:.0f} s: {seen}"
        raise StartError(msg)
