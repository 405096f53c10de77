"""Errors and the header `request-id` in the form of Anthropic's API."""

from __future__ import annotations

import secrets
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from deployments.errors import CONTEXT_LENGTH_EXCEEDED
from serve_app.http.urls import route_path

if TYPE_CHECKING:
    from starlette.types import Scope

REQUEST_ID = "request-id"
"""The response header from which Anthropic's clients report the request id."""
_MESSAGES = "/v1/messages"
_VERSION = b"anthropic-version"
_SERVES_REQUEST_ID = b"x-request-id"
_TOO_LONG = "prompt is too long"
"""Words by which Anthropic's clients know that they must shorten the conversation."""
_ERROR_TYPES = {
    HTTPStatus.UNAUTHORIZED: "authentication_error",
    HTTPStatus.FORBIDDEN: "permission_error",
    HTTPStatus.NOT_FOUND: "not_found_error",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "request_too_large",
    HTTPStatus.TOO_MANY_REQUESTS: "rate_limit_error",
    HTTPStatus.SERVICE_UNAVAILABLE: "overloaded_error",
    HTTPStatus.GATEWAY_TIMEOUT: "timeout_error",
}


def is_anthropic(scope: Scope) -> bool:
    """Return whether a request is one of Anthropic's API, by its path or its clients' header.

    The header decides on routes that both APIs have, such as the list of models.
    """
    path = route_path(scope)
    if path == _MESSAGES or path.startswith(f"{_MESSAGES}/"):
        return True
    return any(name == _VERSION for name, _ in scope["headers"])


def set_request_id(scope: Scope) -> str:
    """Set the id of the request, Serve's or a new one, and return it."""
    given = dict(scope["headers"]).get(_SERVES_REQUEST_ID, b"").decode("latin-1")
    request_id = given or f"req_{secrets.token_hex(16)}"
    scope.setdefault("state", {})["request_id"] = request_id
    return request_id


def request_id_of(scope: Scope) -> str | None:
    """Return the id of a request, None if it has none yet."""
    request_id: str | None = scope.get("state", {}).get("request_id")
    return request_id


def error_body(
    status: HTTPStatus, message: str, code: str, request_id: str | None
) -> dict[str, Any]:
    """Return an error in Anthropic's form."""
    is_fault = status < HTTPStatus.INTERNAL_SERVER_ERROR
    if code == CONTEXT_LENGTH_EXCEEDED:
        message = f"{_TOO_LONG}: {message}"
    kind = _ERROR_TYPES.get(status, "invalid_request_error" if is_fault else "api_error")
    return {
        "type": "error",
        "error": {"type": kind, "message": message, "details": {"error_code": code}},
        "request_id": request_id,
    }
