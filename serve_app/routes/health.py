"""Liveness and readiness."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from deployments.serving.request_context import detached
from serve_app.routes.dependencies import ProbeDep  # noqa: TC001 - FastAPI reads annotations
from serve_app.schemas.health import Liveness, Readiness

if TYPE_CHECKING:
    from fastapi import FastAPI

    from serve_app.readiness import ReadinessProbe

router = APIRouter(tags=["health"])
_PUBLIC_FOR_S = 1.0


@router.get("/healthz")
async def healthz() -> Liveness:
    """Answer while the ingress is alive, whatever the state of the rest."""
    return Liveness()


@router.get("/readyz", responses={503: {"model": Readiness}})
async def readyz(probe: ProbeDep, request: Request, response: Response) -> Readiness:
    """Check every deployment; 503 until all are ready.

    One that is scaled to zero is ready and is not started. Where the service has API keys, a
    caller without one gets a result of the last second, without the load.
    """
    if request.state.owner in request.app.state.accounts:
        readiness = await probe.check()
    else:
        readiness = await _public_readiness(probe, request.app)
    if not readiness.ready:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
    return readiness


async def _public_readiness(probe: ReadinessProbe, app: FastAPI) -> Readiness:
    """Check at most once a second, however many callers there are."""
    asked_at, asking = getattr(app.state, "asked_publicly", (-_PUBLIC_FOR_S, None))
    if asking is None or time.monotonic() - asked_at > _PUBLIC_FOR_S:
        asking = detached(probe.check())
        app.state.asked_publicly = time.monotonic(), asking
    readiness: Readiness = await asyncio.shield(asking)
    states = {
        name: state.model_copy(update={"running_requests": None, "waiting_requests": None})
        for name, state in readiness.deployments.items()
    }
    return Readiness(ready=readiness.ready, deployments=states)
