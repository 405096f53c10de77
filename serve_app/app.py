"""The FastAPI application over a set of capabilities; runs without Ray under a test client."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fastapi import APIRouter, Depends, Security
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from loguru import logger

from deployments.archives.tape import PART_BYTES
from serve_app.access.admission import Admission, RequestShares
from serve_app.access.counters import Counters
from serve_app.access.guard import UPLOAD_PATHS, Guard
from serve_app.access.keys import Keys
from serve_app.access.rate_limits import Allowance
from serve_app.accounts import Common, open_account
from serve_app.http import errors
from serve_app.http.body_limit import BodyLimit
from serve_app.http.redirects import RelativeRedirects
from serve_app.http.request_ids import RequestIds
from serve_app.http.response_window import ResponseWindow
from serve_app.readiness import ReadinessProbe, always_running
from serve_app.routes import (
    archives,
    chat,
    completions,
    conversations,
    documents,
    embeddings,
    erasures,
    file_batches,
    files,
    generate,
    health,
    images,
    jobs,
    messages,
    models,
    page,
    reranking,
    responses,
    searches,
    vector_stores,
)
from serve_app.routes.dependencies import known_parameters_only
from serve_app.token_ids import MAX_REQUEST_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from fastapi import FastAPI
    from starlette.routing import BaseRoute

    from deployments.catalogue.catalogue import Catalogue
    from deployments.file_store import FileStore
    from deployments.settings import Secrets
    from serve_app.access.fair_queue import FairQueue
    from serve_app.readiness import ScaleStates
    from serve_app.services import Services
    from serve_app.settings import AppSettings

_BODY_BYTES_PER_CHAR = 10  # Escaped, a character takes six; the rest is for all other fields.
_CAPACITY_S = 10.0  # how soon a change of the number of replicas is noticed
_ROUTES = (
    generate,
    chat,
    responses,
    conversations,
    completions,
    messages,
    embeddings,
    reranking,
    models,
    documents,
    files,
    vector_stores,
    file_batches,
    archives,
    searches,
    images,
    jobs,
    erasures,
)
# For the reference only: the guard has let the request in.
_KEY = HTTPBearer(
    scheme_name="API key",
    description="One of GENSERVE_API_KEYS, if any; the header `x-api-key` works, too.",
    auto_error=False,
)


async def _unknown() -> int | None:
    return None


@dataclass(frozen=True, slots=True)
class Serving:
    """What Ray Serve reports of the application; the defaults are for running without it.

    `scale_states` reports deployments that may scale to zero. `requests` is how many this
    replica is given at once; `answers` returns how many the LLM deployment computes at once, None
    while that is not known.
    """

    scale_states: ScaleStates = always_running
    requests: int = 256
    answers: Callable[[], Awaitable[int | None]] = _unknown


_WITHOUT_SERVE = Serving()


@functools.cache
def _routes() -> Sequence[BaseRoute]:
    """Build the routes once a process, which takes 0.1 s; they hold nothing of one application."""
    router = APIRouter(responses=errors.EVERYWHERE)
    for routes in _ROUTES:
        router.include_router(
            routes.router, dependencies=[Security(_KEY), Depends(known_parameters_only)]
        )
    router.include_router(health.router)
    return tuple(router.routes)


def create_app(  # noqa: PLR0913 - one parameter per collaborator
    services: Services,
    settings: AppSettings,
    secrets: Secrets,
    store: FileStore,
    catalogue: Catalogue,
    *,
    serving: Serving = _WITHOUT_SERVE,
) -> FastAPI:
    """Join the routes, the error form, the guard, the shares of the keys and the body limit.

    `store` and `catalogue` are those that the jobs use, too. Raises ValueError for secrets that
    cannot be read.
    """
    keys, limits = Keys.read(secrets.api_keys), settings.limits
    counters = Counters(secrets.redis_url)
    weights = {owner: limits.shares.get(owner, 1.0) for owner in keys.owners()}
    if unknown := sorted(set(limits.shares) - set(weights)):
        logger.warning("limits.shares names {}, but there is no such API key", ", ".join(unknown))
    places = RequestShares(serving.requests, weights)
    common = Common(services, settings, store, catalogue, weights=weights)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(_follow(serving.answers, common.answers)),
        ]
        yield
        for task in tasks:
            task.cancel()
        await counters.close()

    app: FastAPI = FastAPIOffline(
        title="GenServe",
        summary="Answers from a language model, live web pages and your documents; pictures too.",
        responses=errors.EVERYWHERE,
        redoc_url=None,
        lifespan=lifespan,
    )
    allowances = {owner: Allowance(owner, limits, counters) for owner in keys.owners()}
    app.state.settings = settings
    app.state.files = store
    app.state.places = places
    app.state.probe = ReadinessProbe(services, serving.scale_states)
    app.state.accounts = {
        owner: open_account(owner, allowance, common) for owner, allowance in allowances.items()
    }
    page.install(app)
    app.router.routes.extend(_routes())
    errors.install(app)
    app.add_middleware(RelativeRedirects)
    app.add_middleware(
        BodyLimit,
        default_bytes=limits.max_prompt_chars * _BODY_BYTES_PER_CHAR,
        larger_bytes={"/v1/embeddings": MAX_REQUEST_BYTES},
        file_bytes=dict.fromkeys(UPLOAD_PATHS, limits.max_upload_bytes),
        part_bytes=PART_BYTES,
    )
    app.add_middleware(Admission, places=places)
    # The last one added is the first one asked.
    app.add_middleware(Guard, keys=keys, allowances=allowances)
    app.add_middleware(RequestIds)
    app.add_middleware(ResponseWindow)
    return app


async def _follow(answers: Callable[[], Awaitable[int | None]], queue: FairQueue) -> None:
    """Give the queue as many places as the LLM deployment has, whose replicas come and go."""
    while True:
        if (places := await answers()) is not None:
            queue.resize(places)
        await asyncio.sleep(_CAPACITY_S)
