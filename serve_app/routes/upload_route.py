"""Routes that take a file, counted against the bound on uploads from their first byte."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.routing import APIRoute

from serve_app.http.multipart import MultipartRequest
from serve_app.routes.dependencies import account_of

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from fastapi import Request, Response


class UploadRoute(APIRoute):
    """Takes a place for an upload before the body is read: FastAPI reads a form first of all."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_in_place(request: Request) -> Response:
            with account_of(request).uploads.place():
                return await handle(MultipartRequest(request.scope, request.receive))

        return handle_in_place
