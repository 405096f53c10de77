"""Whether every deployment can do its work, asked without keeping any of them awake."""

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
    from deployments.serving.scale_to_zero import Standing
    from serve_app.services import Services

    Standings = Callable[[], Awaitable[Mapping[str, Standing]]]

_CHECK_TIMEOUT_S = 2.0
_BUSY_FOR_S = 60.0
_OF_SLEEPERS = {
    "awake": DeploymentState(ready=True),
    "asleep": DeploymentState(ready=True, detail="asleep"),
    "waking": DeploymentState(ready=True, detail="waking"),
    "broken": DeploymentState(ready=False, detail="does not start"),
}


async def nobody_sleeps() -> Mapping[str, Standing]:
    """Stand for Serve where every deployment always has a replica."""
    return {}


@dataclass(slots=True)
class _Silence:
    """Questions left unanswered one after the other; seconds by the monotonic clock."""

    began: float
    latest: float


class ReadinessProbe:
    """Asks all deployments, and remembers which of them have answered.

    Full of work is not ill: the question waits in the same queue as the work, and taken out now
    a deployment would leave its share to others. So one that was well before is busy until it has
    left questions unanswered for a minute.
    """

    def __init__(self, services: Services, standings: Standings = nobody_sleeps) -> None:
        """Keep what to ask; `standings` tells of deployments that may sleep, by field of services.

        These are not asked themselves.
        """
        self._services = services
        self._standings = standings
        self._were_well: set[str] = set()
        self._silences: dict[str, _Silence] = {}

    async def look(self) -> Readiness:
        """Ask every deployment how it stands, and the LLM how much it has to do."""
        names = [entry.name for entry in fields(self._services)]
        sleepers = await self._standings()
        states = await asyncio.gather(*(self._state(name, sleepers.get(name)) for name in names))
        ready = all(state.ready for state in states)
        if "llm" not in sleepers:
            await self._add_load(states[names.index("llm")])
        return Readiness(ready=ready, deployments=dict(zip(names, states, strict=True)))

    async def _add_load(self, state: DeploymentState) -> None:
        with contextlib.suppress(TimeoutError, ServiceError):
            async with asyncio.timeout(_CHECK_TIMEOUT_S):
                card = await self._services.llm.card()
            state.running_requests = card.running_requests
            state.waiting_requests = card.waiting_requests

    async def _state(self, name: str, standing: Standing | None) -> DeploymentState:
        if standing is not None:
            return _OF_SLEEPERS[standing]
        capability: Checked = getattr(self._services, name)
        busy, asked_at = DeploymentState(ready=True, detail="busy"), time.monotonic()
        try:
            async with asyncio.timeout(_CHECK_TIMEOUT_S):
                await capability.check_health()
        except TimeoutError:
            silent_s = self._silent_s(name, asked_at)
            if name in self._were_well and silent_s < _BUSY_FOR_S:
                return busy
            return DeploymentState(ready=False, detail="does not answer")
        except Overloaded:
            return busy
        except ServiceError as error:
            return DeploymentState(ready=False, detail=error.message)
        self._were_well.add(name)
        self._silences.pop(name, None)
        return DeploymentState(ready=True)

    def _silent_s(self, name: str, asked_at: float) -> float:
        """Count from the first unanswered question, unless none was asked for as long."""
        silence = self._silences.get(name)
        if silence is None or asked_at - silence.latest > _BUSY_FOR_S:
            silence = self._silences[name] = _Silence(asked_at, asked_at)
        silence.latest = max(silence.latest, asked_at)
        return asked_at - silence.began
