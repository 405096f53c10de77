"""Deploy a configuration on Ray nodes and read the state of its deployments from Serve."""

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
class State:
    """The state of the application at one moment, as Serve reports it."""

    application: str
    deployments: Mapping[str, Mapping[str, Any]]

    @property
    def healthy(self) -> bool:
        """Whether every deployment is healthy and has its target number of replicas."""
        return self.application == "RUNNING" and all(
            self.settled(name) for name in self.deployments
        )

    def settled(self, name: str) -> bool:
        """Return whether a deployment is healthy and all its replicas run."""
        one = self.deployments[name]
        states = Counter(replica["state"] for replica in one["replicas"])
        wanted = one["target_num_replicas"]
        return one["status"] == "HEALTHY" and states == Counter(RUNNING=wanted)

    def running(self) -> Counter[str]:
        """Count the running replicas of each deployment."""
        return Counter(
            {
                name: sum(replica["state"] == "RUNNING" for replica in one["replicas"])
                for name, one in self.deployments.items()
            }
        )

    def places(self, names: Mapping[str, str]) -> dict[str, Counter[str]]:
        """Count the running replicas by deployment and node."""
        return {
            name: Counter(
                names.get(replica["node_id"], "a removed node")
                for replica in one["replicas"]
                if replica["state"] == "RUNNING"
            )
            for name, one in self.deployments.items()
        }

    def replica_ids(self) -> set[str]:
        """Return the ids of all running replicas."""
        return {
            replica["replica_id"]
            for one in self.deployments.values()
            for replica in one["replicas"]
            if replica["state"] == "RUNNING"
        }

    def __str__(self) -> str:
        unhealthy = [
            f"{name} {one['status']} ({one['message']})"
            for name, one in self.deployments.items()
            if not self.settled(name)
        ]
        return f"{self.application}: {'; '.join(unhealthy)}"


@dataclass
class ServeApplication:
    """The application on the nodes, through Serve's REST API on the dashboard."""

    nodes: RayNodes
    healthy_after_s: dict[str, float] = field(default_factory=dict)

    def put(self, document: Mapping[str, Any]) -> None:
        """Deploy a configuration, as `serve deploy` does."""
        self.nodes.ask(_APPLICATIONS, method="PUT", body=document)

    def state(self) -> State:
        """Ask Serve; without an answer, nothing is healthy."""
        with contextlib.suppress(OSError, http.client.HTTPException):
            applications = self.nodes.ask(_APPLICATIONS)["applications"]
            for one in applications.values():
                return State(one["status"], one["deployments"])
        return State("NOT_STARTED", {})

    def wait_until_healthy(self, timeout_s: float) -> State:
        """Wait until all deployments are healthy; raises StartError, also after DEPLOY_FAILED.

        `healthy_after_s` then has the seconds until each deployment was healthy.
        """
        began = time.monotonic()
        self.healthy_after_s = {}
        while (elapsed := time.monotonic() - began) < timeout_s:
            state = self.state()
            for name in state.deployments:
                if state.settled(name):
                    self.healthy_after_s.setdefault(name, elapsed)
            if state.application == "DEPLOY_FAILED":
                break
            if state.deployments and state.healthy:
                return state
            time.sleep(_POLL_S)
        msg = f"not healthy after {elapsed:.0f} s: {state}"
        raise StartError(msg)
