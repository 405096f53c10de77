"""Alive, and ready."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import fields
from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from deployments.errors import Overloaded, ServiceError
from serve_app.dependencies import SharedServicesDep  # noqa: TC001 - FastAPI reads annotations
from serve_app.detached import detached
from serve_app.schemas.health import DeploymentState, Readiness

if TYPE_CHECKING:
    from fastapi import FastAPI

    from deployments.interfaces import Checked
    from serve_app.services import Services

router = APIRouter(tags=["health"])
_CHECK_TIMEOUT_S = 2.0
_BUSY_FOR_S = 60.0
_PUBLIC_FOR_S = 1.0


@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Answer whenever the ingress is alive, whatever the rest."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"model": Readiness}})
async def readyz(services: SharedServicesDep, request: Request, response: Response) -> Readiness:
    """Ask every deployment; 503 until all are ready.

    Where there are API keys, who has none is told of the last second, and not how busy it was.
    """
    if request.state.owner in request.app.state.accounts:
        readiness = await _readiness(services, request.app.state.seen_well)
    else:
        readiness = await _public_readiness(services, request.app)
    if not readiness.ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return readiness


async def _public_readiness(services: Services, app: FastAPI) -> Readiness:
    """Ask at most once a second, however many want to know."""
    asked_at, asking = getattr(app.state, "asked_publicly", (-_PUBLIC_FOR_S, None))
    if asking is None or time.monotonic() - asked_at > _PUBLIC_FOR_S:
        asking = detached(_readiness(services, app.state.seen_well))
        app.state.asked_publicly = time.monotonic(), asking
    readiness: Readiness = await asyncio.shield(asking)
    states = {
        name: state.model_copy(update={"running_requests": None, "waiting_requests": None})
        for name, state in readiness.deployments.items()
    }
    return Readiness(ready=readiness.ready, deployments=states)


async def _readiness(services: Services, seen: dict[str, float]) -> Readiness:
    names = [entry.name for entry in fields(services)]
    states = await asyncio.gather(*(_state(getattr(services, name), name, seen) for name in names))
    ready = all(state.ready for state in states)
    with contextlib.suppress(TimeoutError, ServiceError):
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            card = await services.llm.card()
        states[names.index("llm")].running_requests = card.running_requests
        states[names.index("llm")].waiting_requests = card.waiting_requests
    return Readiness(ready=ready, deployments=dict(zip(names, states, strict=True)))


async def _state(capability: Checked, name: str, seen_well: dict[str, float]) -> DeploymentState:
    """Ask one. Full of work is not ill: taken out now, it would leave its share to the others."""
    busy = DeploymentState(ready=True, detail="busy")
    try:
        async with asyncio.timeout(_CHECK_TIMEOUT_S):
            await capability.check_health()
    except TimeoutError:
        # The question waits in the same queue as the work.
        if time.monotonic() - seen_well.get(name, -_BUSY_FOR_S) < _BUSY_FOR_S:
            return busy
        return DeploymentState(ready=False, detail="does not answer")
    except Overloaded:
        return busy
    except ServiceError as error:
        return DeploymentState(ready=False, detail=error.message)
    seen_well[name] = time.monotonic()
    return DeploymentState(ready=True)
