"""From exceptions to the one error form, `{"error": {message, type, code, param}}`.

Requests of Anthropic's API get that API's form instead, see `anthropic`.
"""

from __future__ import annotations

import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from loguru import logger
from starlette.exceptions import HTTPException
from starlette.routing import Match

from deployments.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    ServiceError,
    TooLarge,
    Unavailable,
    Unprocessable,
    UnsupportedMedia,
)
from deployments.observability.metrics import SHED
from serve_app.http.anthropic import REQUEST_ID, error_body, is_anthropic, request_id_of
from serve_app.http.validation import fault_of
from serve_app.schemas.errors import ErrorBody, ErrorResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastapi import FastAPI, Request
    from pydantic import BaseModel
    from starlette.types import Receive, Scope, Send

# The most particular class first: an error takes the first that fits.
_STATUS: tuple[tuple[type[ServiceError], HTTPStatus], ...] = (
    (NotFound, HTTPStatus.NOT_FOUND),
    (Conflict, HTTPStatus.CONFLICT),
    (TooLarge, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (UnsupportedMedia, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (Unprocessable, HTTPStatus.UNPROCESSABLE_ENTITY),
    (InvalidRequest, HTTPStatus.BAD_REQUEST),
    (Overloaded, HTTPStatus.TOO_MANY_REQUESTS),
    (DeadlineExceeded, HTTPStatus.GATEWAY_TIMEOUT),
    (Unavailable, HTTPStatus.SERVICE_UNAVAILABLE),
)
_SHOWN_CHARS = 300
_RETRY_AFTER_S = 2.0  # Advice to a caller who is refused.
_FASTAPIS_ERROR = "HTTPValidationError"


def refusals(
    *statuses: int, model: type[BaseModel] = ErrorResponse
) -> dict[int | str, dict[str, Any]]:
    """Say in the API reference which errors a route may answer with, beside EVERYWHERE."""
    return {
        status: {"model": model, "description": HTTPStatus(status).phrase} for status in statuses
    }


class ErrorAnswer(JSONResponse):
    """An error in the form of the request's API, OpenAI's or Anthropic's."""

    def __init__(
        self, error: ErrorResponse, status: HTTPStatus, headers: Mapping[str, str] | None = None
    ) -> None:
        self._error = error.error
        super().__init__(error.model_dump(), status, headers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if is_anthropic(scope):
            request_id = request_id_of(scope)
            status = HTTPStatus(self.status_code)
            body = error_body(status, self._error.message, self._error.code, request_id)
            self.body = self.render(body)
            self.headers["content-length"] = str(len(self.body))
            if request_id:
                self.headers[REQUEST_ID] = request_id
        await super().__call__(scope, receive, send)


EVERYWHERE = refusals(400, 401, 403, 429, 500, 503)
"""Errors that any route may answer with: at the door, of its parameters, or of a backend."""


def status_of(error: ServiceError) -> HTTPStatus:
    """The HTTP status an error means."""
    return next(
        (status for kind, status in _STATUS if isinstance(error, kind)),
        HTTPStatus.INTERNAL_SERVER_ERROR,
    )


def body_of(error: ServiceError) -> ErrorResponse:
    """The error form, also for an error in the middle of a stream."""
    return _form(status_of(error), error.message, error.code, error.param)


def response_to(error: ServiceError) -> ErrorAnswer:
    """Make the response to a request that failed of an error; 429 and 503 say when to return."""
    status = status_of(error)
    headers = {}
    if isinstance(error, Overloaded) and error.code == Overloaded.code:
        SHED.add(where=error.where or "Ingress")
    if status in {HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE}:
        headers["Retry-After"] = str(math.ceil(error.retry_after_s or _RETRY_AFTER_S))
    return ErrorAnswer(body_of(error), status, headers)


def install(app: FastAPI) -> None:
    """Answer every exception in the one form; nothing of the inside is shown."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        reference = describe()
        _remove_fastapis_errors(reference)
        return reference

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's way to extend the reference

    @app.exception_handler(ServiceError)
    async def service_error(_request: Request, error: ServiceError) -> JSONResponse:
        if status_of(error) >= HTTPStatus.INTERNAL_SERVER_ERROR:
            logger.opt(exception=error).warning("request failed: {}", error.code)
        return response_to(error)

    @app.exception_handler(RequestValidationError)
    async def validation(_request: Request, error: RequestValidationError) -> JSONResponse:
        fault = fault_of(error.errors(), error.body)
        return error_response(HTTPStatus.BAD_REQUEST, fault.message, fault.code, fault.param)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> JSONResponse:
        return _of_framework(request, error)

    @app.exception_handler(Exception)
    async def unforeseen(_request: Request, error: Exception) -> JSONResponse:
        logger.opt(exception=error).error("unforeseen error")
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        return error_response(
            status, "something went wrong inside the service", "internal_error", None
        )


def _remove_fastapis_errors(reference: dict[str, Any]) -> None:
    """Remove the 422 that FastAPI adds to each route with parameters: `validation` sends 400."""
    for methods in reference["paths"].values():
        for operation in methods.values():
            if _FASTAPIS_ERROR in str(operation["responses"].get("422")):
                del operation["responses"]["422"]
    for name in (_FASTAPIS_ERROR, "ValidationError"):
        reference["components"]["schemas"].pop(name, None)


def _of_framework(request: Request, error: HTTPException) -> JSONResponse:
    status = HTTPStatus(error.status_code)
    message, code = str(error.detail), status.phrase.lower().replace(" ", "_")
    headers = dict(error.headers or {})
    match status:
        case HTTPStatus.BAD_REQUEST:
            code = InvalidRequest.code
        case HTTPStatus.NOT_FOUND:
            message = f"there is no route {request.method} {request.scope['path'][:_SHOWN_CHARS]}"
        case HTTPStatus.METHOD_NOT_ALLOWED:
            methods = _methods(request)
            headers["Allow"] = ", ".join(methods)
            message = f"use {' or '.join(methods)} here: {request.method} is not allowed"
        case HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            code = TooLarge.code
    return error_response(status, message, code, None, headers)


def _methods(request: Request) -> list[str]:
    """Return the methods of all routes with this path; Starlette names those of the first."""
    found: set[str] = set()
    for route in request.app.router.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            found |= getattr(route, "methods", None) or set()
    return sorted(found)


def _form(status: HTTPStatus, message: str, code: str, param: str | None) -> ErrorResponse:
    if status is HTTPStatus.TOO_MANY_REQUESTS:
        kind = "rate_limit_error"
    elif status is HTTPStatus.UNAUTHORIZED:
        kind = "authentication_error"
    elif status < HTTPStatus.INTERNAL_SERVER_ERROR:
        kind = "invalid_request_error"
    else:
        kind = "server_error"
    return ErrorResponse(error=ErrorBody(message=message, type=kind, code=code, param=param))


def error_response(
    status: HTTPStatus,
    message: str,
    code: str,
    param: str | None = None,
    headers: dict[str, str] | None = None,
) -> ErrorAnswer:
    """Make the response to a request that nobody could take on."""
    return ErrorAnswer(_form(status, message, code, param), status, headers)
