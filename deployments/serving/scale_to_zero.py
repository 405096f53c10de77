"""Scale to zero: whether deployments with `min_replicas: 0` have a replica.

The state comes from Serve's controller. A health check through a handle is a request like any
other: it would start a deployment that is scaled to zero, and keep an idle one running.
"""

from __future__ import annotations

import asyncio
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from loguru import logger
from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from deployments.serving.capacity import deployment_details

if TYPE_CHECKING:
    from collections.abc import Mapping

_CACHE_S = 2.0
_TIMEOUT_S = 1.0
_UNHEALTHY = {"UNHEALTHY", "DEPLOY_FAILED"}


class ScaleState(StrEnum):
    """The state of a deployment that may scale to zero."""

    AWAKE = "awake"
    ASLEEP = "asleep"
    WAKING = "waking"
    """The first replica is starting; requests wait for it."""
    BROKEN = "broken"
    """Its replicas do not start, or are unhealthy."""


class ScaleToZero:
    """Watches the deployments of this replica's application whose `min_replicas` is 0."""

    def __init__(self) -> None:
        self._application = serve.get_replica_context().app_name
        self._known: Mapping[str, ScaleState] = {}
        self._asking: asyncio.Task[Mapping[str, ScaleState]] | None = None
        self._asked_at = 0.0

    async def states(self) -> Mapping[str, ScaleState]:
        """Return the state of each by its name in lower case.

        The controller is asked every two seconds at most, however many callers there are. While
        it does not answer, the last known states are returned.
        """
        now = time.monotonic()
        if self._asking is None or (self._asking.done() and now - self._asked_at > _CACHE_S):
            self._asked_at = now
            self._asking = asyncio.create_task(self._ask())
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                self._known = await asyncio.shield(self._asking)
        except TimeoutError:
            logger.warning("Serve's controller does not report the state of its deployments")
        return self._known

    async def _ask(self) -> Mapping[str, ScaleState]:
        try:
            return scale_states(await asyncio.to_thread(deployment_details, self._application))
        except (RayError, RayServeException) as error:
            logger.warning("Serve's controller is not available: {}", type(error).__name__)
            return self._known


def scale_states(deployments: Mapping[str, Mapping[str, Any]]) -> dict[str, ScaleState]:
    """Read the states from Serve's details of an application's deployments."""
    return {
        name.lower(): _state(details)
        for name, details in deployments.items()
        if (details["deployment_config"].get("autoscaling_config") or {}).get("min_replicas") == 0
    }


def _state(details: Mapping[str, Any]) -> ScaleState:
    if any(replica["state"] == "RUNNING" for replica in details["replicas"]):
        return ScaleState.AWAKE
    if details["status"] in _UNHEALTHY:
        return ScaleState.BROKEN
    return ScaleState.WAKING if details["target_num_replicas"] else ScaleState.ASLEEP
