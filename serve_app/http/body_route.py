"""Routes whose bodies are read by our own readers of JSON and of forms."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fastapi.routing import APIRoute

from serve_app.http.json_bodies import read_json
from serve_app.http.multipart import MultipartRequest

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from fastapi import Request, Response

_INLINE_BYTES = 32 * 1024  # scanned in half a millisecond


class BodyRoute(APIRoute):
    """A route of FastAPI that reads JSON within bounds, and extended names of files."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_body(request: Request) -> Response:
            return await handle(_BodyRequest(request.scope, request.receive))

        return handle_body


class _BodyRequest(MultipartRequest):
    async def json(self) -> Any:  # noqa: ANN401 - any JSON
        body = await self.body()
        if len(body) <= _INLINE_BYTES:
            return read_json(body)
        return await asyncio.to_thread(read_json, body)
