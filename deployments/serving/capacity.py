"""What Ray reserved for the calling replica, and what Serve gives the deployments to do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import ray
from ray import serve
from ray.exceptions import RayError
from ray.serve.context import _get_global_client
from ray.serve.exceptions import RayServeException

if TYPE_CHECKING:
    from collections.abc import Mapping

_OTHER_CALLS = 8  # one in so many requests of the LLM counts tokens or asks for its state


def reserved_cores() -> int:
    """Return the CPUs of this replica (`ray_actor_options.num_cpus`), rounded down, at least 1."""
    context: Any = ray.get_runtime_context()  # its methods have no types
    return max(1, int(context.get_assigned_resources().get("CPU", 0)))


def max_ongoing_requests() -> int:
    """Return how many requests Serve gives this replica at once."""
    config = serve.get_replica_context()._deployment_config  # noqa: SLF001 - no public way
    limit: int = config.max_ongoing_requests
    return limit


async def answers_at_once() -> int | None:
    """Return how many answers the replicas of the LLM compute at once, None if not known.

    It is their `max_ongoing_requests`, less an eighth for counting tokens.
    """
    application = serve.get_replica_context().app_name
    try:
        details = await asyncio.to_thread(deployment_details, application)
    except (RayError, RayServeException):
        return None
    return answer_places(details["LLM"]) if "LLM" in details else None


def answer_places(llm: Mapping[str, Any]) -> int:
    """Return the answers that the running replicas compute at once, those of one at least."""
    running = [replica for replica in llm["replicas"] if replica["state"] == "RUNNING"]
    each: int = llm["deployment_config"]["max_ongoing_requests"]
    answers = max(1, each - max(1, each // _OTHER_CALLS))
    return answers * max(1, len(running))


def deployment_details(application: str) -> dict[str, Any]:
    """Ask Serve's controller for its details of the deployments of an application."""
    client = _get_global_client()  # Serve's public `status` leaves out most of them
    assert client is not None, "it raises instead"  # noqa: S101
    details: dict[str, Any] = client.get_serve_details()["applications"]
    deployments: dict[str, Any] = details.get(application, {}).get("deployments", {})
    return deployments
