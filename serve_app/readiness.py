"""Readiness: whether every deployment can do its work."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from deployments.errors import Overloaded, ServiceError
from serve_app.schemas.health import DeploymentState, Readiness

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from deployments.interfaces import Checked
    from deployments.serving.scale_to_zero import ScaleState
    from serve_app.services import Services

    ScaleStates = Callable[[], Awaitable[Mapping[str, ScaleState]]]

_CHECK_TIMEOUT_S = 2.0
_MAX_UNANSWERED_S = 60.0
_BY_SCALE_STATE = {
    "awake": DeploymentState(ready=True),
    "asleep": DeploymentState(ready=True, detail="asleep"),
    "waking": DeploymentState(ready=True, detail="waking"),
    "broken": DeploymentState(ready=False, detail="does not start"),
}


async def always_running() -> Mapping[str, ScaleState]:
    """Return no state: without Serve, no deployment scales to zero."""
    return {}


@dataclass(slots=True)
class _Unanswered:
    """The first and the latest of consecutive health checks without an answer, in monotonic s."""

    first_s: float
    latest_s: float


class ReadinessProbe:
    """Checks the health of all deployments, and remembers which have answered before.

    A busy deployment is not unhealthy: health checks share its request queue. One that was
    healthy before counts as busy until its health checks have been unanswered for a minute.
    """

    def __init__(self, services: Services, scale_states: ScaleStates = always_running) -> None:
        """Probe `services`; `scale_states` reports deployments that may scale to zero.

        Those, by field of `services`, are not asked themselves: that would start them.
        """
        self._services = services
        self._scale_states = scale_states
        self._healthy_before: set[str] = set()
        self._unanswered: dict[str, _Unanswered] = {}

    async def check(self) -> Readiness:
        """Check every deployment, and ask the LLM for its load."""
        names = [entry.name for entry in fields(self._services)]
        scaled = await self._scale_states()
        states = await asyncio.gather(*(self._state(name, scaled.get(name)) for name in names))
        ready = all(state.ready for state in states)
        if "llm" not in scaled:
            await self._add_load(states[names.index("llm")])
        return Readiness(ready=ready, deployments=dict(zip(names, states, strict=True)))

    async def _add_load(self, state: DeploymentState) -> None:
        with contextlib.suppress(TimeoutError, ServiceError):
            async with asyncio.timeout(_CHECK_TIMEOUT_S):
                card = await self._services.llm.card()
            state.running_requests = card.running_requests
            state.waiting_requests = card.waiting_requests

    async def _state(self, name: str, scale_state: ScaleState | None) -> DeploymentState:
        if scale_state is not None:
            return _BY_SCALE_STATE[scale_state]
        capability: Checked = getattr(self._services, name)
        busy, asked_at = DeploymentState(ready=True, detail="busy"), time.monotonic()
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT_S):
                await capability.check_health()
        except TimeoutError:
            unanswered_s = self._unanswered_s(name, asked_at)
            if name in self._healthy_before and unanswered_s < _MAX_UNANSWERED_S:
                return busy
            return DeploymentState(ready=False, detail="does not answer")
        except Overloaded:
            return busy
        except ServiceError as error:
            return DeploymentState(ready=False, detail=error.message)
        self._healthy_before.add(name)
        self._unanswered.pop(name, None)
        return DeploymentState(ready=True)

    def _unanswered_s(self, name: str, asked_at: float) -> float:
        """Return the seconds since the first unanswered check; start anew after a long pause."""
        checks = self._unanswered.get(name)
        if checks is None or asked_at - checks.latest_s > _MAX_UNANSWERED_S:
            checks = self._unanswered[name] = _Unanswered(asked_at, asked_at)
        checks.latest_s = max(checks.latest_s, asked_at)
        return asked_at - checks.first_s
