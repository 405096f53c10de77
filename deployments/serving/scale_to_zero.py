"""Deployments that may be down to no replica at all, and how they stand.

Serve's controller is asked, for a question through a handle is work like any other: it would
wake a deployment that sleeps, and keep one awake that nothing else needs.
"""

from __future__ import annotations

import asyncio
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from loguru import logger
from ray import serve
from ray.exceptions import RayError
from ray.serve.context import _get_global_client
from ray.serve.exceptions import RayServeException

if TYPE_CHECKING:
    from collections.abc import Mapping

_KNOWN_FOR_S = 2.0
_TIMEOUT_S = 1.0
_ILL = {"UNHEALTHY", "DEPLOY_FAILED"}


class Standing(StrEnum):
    """How a deployment stands that may sleep."""

    AWAKE = "awake"
    ASLEEP = "asleep"
    WAKING = "waking"
    """Its first replica is starting; requests wait for it."""
    BROKEN = "broken"
    """It cannot be woken: its replicas do not start, or are not well."""


class Sleepers:
    """The deployments of the application around whose `min_replicas` is 0. Only in a replica."""

    def __init__(self) -> None:
        self._application = serve.get_replica_context().app_name
        self._known: Mapping[str, Standing] = {}
        self._asking: asyncio.Task[Mapping[str, Standing]] | None = None
        self._asked_at = 0.0

    async def standings(self) -> Mapping[str, Standing]:
        """Tell by the deployment's name in lower case; as it was while nobody answers.

        The controller is asked every two seconds at most, however many want to know.
        """
        now = time.monotonic()
        if self._asking is None or (self._asking.done() and now - self._asked_at > _KNOWN_FOR_S):
            self._asked_at = now
            self._asking = asyncio.create_task(self._ask())
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                self._known = await asyncio.shield(self._asking)
        except TimeoutError:
            logger.warning("Serve's controller does not say which deployments sleep")
        return self._known

    async def _ask(self) -> Mapping[str, Standing]:
        try:
            details = await asyncio.to_thread(_details)
        except (RayError, RayServeException) as error:
            logger.warning("Serve's controller is not available: {}", type(error).__name__)
            return self._known
        return standings(details["applications"].get(self._application, {}).get("deployments", {}))


def _details() -> dict[str, Any]:
    # Serve's public `status` leaves out who may sleep.
    client = _get_global_client()
    assert client is not None, "it raises instead"  # noqa: S101
    details: dict[str, Any] = client.get_serve_details()
    return details


def standings(deployments: Mapping[str, Mapping[str, Any]]) -> dict[str, Standing]:
    """Read the details that Serve gives of the deployments of an application."""
    return {
        name.lower(): _standing(details)
        for name, details in deployments.items()
        if (details["deployment_config"].get("autoscaling_config") or {}).get("min_replicas") == 0
    }


def _standing(details: Mapping[str, Any]) -> Standing:
    if any(replica["state"] == "RUNNING" for replica in details["replicas"]):
        return Standing.AWAKE
    if details["status"] in _ILL:
        return Standing.BROKEN
    return Standing.WAKING if details["target_num_replicas"] else Standing.ASLEEP
