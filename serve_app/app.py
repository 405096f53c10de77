"""The FastAPI application over a set of capabilities; runs without Ray under a test client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from serve_app import errors
from serve_app.answering import Answering
from serve_app.body_limit import BodyLimit
from serve_app.ingestion import Ingestion
from serve_app.routes import chat, documents, generate, health, models
from serve_app.schemas import ErrorResponse

if TYPE_CHECKING:
    from serve_app.services import Services
    from serve_app.settings import AppSettings

_FORM_OVERHEAD_BYTES = 64 * 1024  # What multipart adds around a file.
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse} for status in (400, 404, 413, 415, 422, 429, 500, 503, 504)
}


def create_app(services: Services, settings: AppSettings) -> FastAPI:
    """Join the routes, the error form and the body bound."""
    app = FastAPI(
        title="GenServe",
        summary="Answers from a language model, live web pages and your documents.",
        responses=_ERRORS,
    )
    app.state.services = services
    app.state.settings = settings
    app.state.answering = Answering(services, settings)
    app.state.ingestion = Ingestion(services, settings)
    for routes in (generate, chat, models, documents, health):
        app.include_router(routes.router)
    errors.install(app, settings.limits.retry_after_s)
    app.add_middleware(
        BodyLimit,
        default_bytes=settings.limits.max_body_bytes,
        by_path={"/upload": settings.limits.max_upload_bytes + _FORM_OVERHEAD_BYTES},
    )
    return app
