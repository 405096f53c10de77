"""A bound on request bodies that holds while they arrive, not after."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from deployments.errors import TooLarge
from serve_app.http.bounds import too_large
from serve_app.http.errors import body_of, status_of
from serve_app.http.urls import route_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send
_FORM_OVERHEAD_BYTES = 64 * 1024  # what multipart adds around a file


class BodyLimit:
    """ASGI middleware: 413 as soon as the declared or the received size passes the bound.

    `file_bytes` bounds the file of a multipart body by its path.
    """

    def __init__(self, app: ASGIApp, default_bytes: int, file_bytes: Mapping[str, int]) -> None:
        self._app = app
        self._default_bytes = default_bytes
        self._file_bytes = file_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        file_bytes = self._file_bytes.get(route_path(scope))
        if file_bytes is None:
            limit = self._default_bytes
            message = too_large("request", limit)
        else:
            limit = file_bytes + _FORM_OVERHEAD_BYTES
            message = too_large("file", file_bytes)
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            await _refusal(message)(scope, receive, send)
            return
        received = 0

        async def bounded_receive() -> Message:
            nonlocal received
            part = await receive()
            received += len(part.get("body", b""))
            if received > limit:
                # Of all exceptions in the reading of a body, FastAPI lets only this one pass.
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)
            return part

        await self._app(scope, bounded_receive, send)


def _refusal(message: str) -> JSONResponse:
    error = TooLarge(message)
    # What is still being sent is not read: the connection cannot be used again.
    headers = {"connection": "close"}
    return JSONResponse(body_of(error).model_dump(), status_of(error), headers=headers)
