"""The FastAPI application over a set of capabilities; runs without Ray under a test client."""

from __future__ import annotations

import contextlib
import functools
from typing import TYPE_CHECKING

from fastapi import APIRouter, Depends, Security
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline

from serve_app.access.counters import Counters
from serve_app.access.guard import Guard
from serve_app.access.keys import Keys
from serve_app.access.rate_limits import Allowance
from serve_app.accounts import open_account
from serve_app.http import errors
from serve_app.http.body_limit import BodyLimit
from serve_app.http.redirects import RelativeRedirects
from serve_app.http.request_ids import RequestIds
from serve_app.http.response_window import ResponseWindow
from serve_app.readiness import ReadinessProbe, always_running
from serve_app.routes import (
    chat,
    completions,
    documents,
    embeddings,
    files,
    generate,
    health,
    images,
    jobs,
    models,
    page,
    searches,
    vector_stores,
)
from serve_app.routes.dependencies import known_parameters_only

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from fastapi import FastAPI
    from starlette.routing import BaseRoute

    from deployments.file_store import FileStore
    from deployments.settings import Secrets
    from serve_app.readiness import ScaleStates
    from serve_app.services import Services
    from serve_app.settings import AppSettings

_BODY_BYTES_PER_CHAR = 10  # Escaped, a character takes six; the rest is for all other fields.
_ROUTES = (
    generate,
    chat,
    completions,
    embeddings,
    models,
    documents,
    files,
    vector_stores,
    searches,
    images,
    jobs,
)
# For the reference only: the guard has let the request in.
_KEY = HTTPBearer(
    scheme_name="API key", description="One of GENSERVE_API_KEYS, if any.", auto_error=False
)


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


def create_app(
    services: Services,
    settings: AppSettings,
    secrets: Secrets,
    store: FileStore,
    scale_states: ScaleStates = always_running,
) -> FastAPI:
    """Join the routes, the error form, the guard and the body limit.

    `store` is the one the jobs share; `scale_states` reports deployments that may scale to zero.
    Raises ValueError for secrets that cannot be read.
    """
    keys, limits = Keys.read(secrets.api_keys), settings.limits
    counters = Counters(secrets.redis_url)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
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
    app.state.probe = ReadinessProbe(services, scale_states)
    app.state.accounts = {
        owner: open_account(owner, allowance, services, settings, store)
        for owner, allowance in allowances.items()
    }
    page.install(app)
    app.router.routes.extend(_routes())
    errors.install(app)
    app.add_middleware(RelativeRedirects)
    app.add_middleware(
        BodyLimit,
        default_bytes=limits.max_prompt_chars * _BODY_BYTES_PER_CHAR,
        file_bytes=dict.fromkeys(("/upload", "/v1/files"), limits.max_upload_bytes),
    )
    # The last one added is the first one asked.
    app.add_middleware(Guard, keys=keys, allowances=allowances)
    app.add_middleware(RequestIds)
    app.add_middleware(ResponseWindow)
    return app
