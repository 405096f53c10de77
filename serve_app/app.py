"""The FastAPI application over a set of capabilities; runs without Ray under a test client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from serve_app import errors
from serve_app.answering.answer import Answering
from serve_app.body_limit import BodyLimit
from serve_app.imaging import Imaging
from serve_app.routes import chat, documents, generate, health, images, jobs, models, vector_stores
from serve_app.schemas import ErrorResponse
from serve_app.uploads import Uploads

if TYPE_CHECKING:
    from deployments.file_store import FileStore
    from serve_app.services import Services
    from serve_app.settings import AppSettings

_FORM_OVERHEAD_BYTES = 64 * 1024  # What multipart adds around a file.
_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorResponse}
    for status in (400, 404, 409, 413, 415, 422, 429, 500, 503, 504)
}


def create_app(services: Services, settings: AppSettings, files: FileStore) -> FastAPI:
    """Join the routes, the error form and the body bound; `files` is the one the jobs share."""
    app = FastAPI(
        title="GenServe",
        summary="Answers from a language model, live web pages and your documents; pictures too.",
        responses=_ERRORS,
    )
    app.state.services = services
    app.state.settings = settings
    app.state.answering = Answering(services, settings)
    app.state.files = files
    app.state.seen_well = {}  # when /readyz last had an answer of each deployment
    app.state.uploads = Uploads(services.jobs, files, settings.limits)
    app.state.imaging = Imaging(services.jobs, settings.limits.images_timeout_s)
    for routes in (generate, chat, models, documents, vector_stores, images, jobs, health):
        app.include_router(routes.router)
    errors.install(app, settings.limits.retry_after_s)
    app.add_middleware(
        BodyLimit,
        default_bytes=settings.limits.max_body_bytes,
        by_path={"/upload": settings.limits.max_upload_bytes + _FORM_OVERHEAD_BYTES},
    )
    return app
