"""Bounds on the size and the time of request bodies, which hold while they arrive."""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.exceptions import HTTPException

from deployments.errors import TooLarge
from serve_app.http.bounds import size_in_words, too_large
from serve_app.http.errors import ErrorAnswer, body_of, status_of
from serve_app.http.urls import PART_OF_ARCHIVE, route_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_FORM_OVERHEAD_BYTES = 64 * 1024  # what multipart adds around a file
_STALL_S = 20.0
_START_S = 30.0
_BYTES_PER_S = 16 * 1024  # a slow mobile connection


class BodyLimit:
    """ASGI middleware: 413 for a body that is too large, 408 for one that does not arrive.

    A body is too large as soon as its declared or its received size passes the bound;
    `larger_bytes` bounds bodies that may be larger than others by their path, `file_bytes` the file
    of a multipart body, `part_bytes` a part of an archive.
    It must arrive at 16 KB/s on average, after 30 s, and without a pause of 20 s.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        default_bytes: int,
        larger_bytes: Mapping[str, int],
        file_bytes: Mapping[str, int],
        part_bytes: int,
    ) -> None:
        self._app = app
        self._larger_bytes = larger_bytes
        self._part_bytes = part_bytes
        self._default_bytes = default_bytes
        self._file_bytes = file_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = route_path(scope)
        file_bytes = self._file_bytes.get(path)
        if PART_OF_ARCHIVE.fullmatch(path):
            limit = self._part_bytes
            message = too_large("part", limit)
        elif file_bytes is None:
            limit = max(self._default_bytes, self._larger_bytes.get(path, 0))
            message = too_large("request", limit)
        else:
            limit = file_bytes + _FORM_OVERHEAD_BYTES
            message = too_large("file", file_bytes)
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > limit:
            await _refusal(message)(scope, receive, send)
            return
        received, whole, began = 0, False, time.monotonic()

        async def bounded_receive() -> Message:
            nonlocal received, whole
            if whole:  # what follows is the disconnection
                return await receive()
            left_s = began + _START_S + received / _BYTES_PER_S - time.monotonic()
            try:
                async with asyncio.timeout(min(left_s, _STALL_S)):
                    part = await receive()
            except TimeoutError:
                raise _timeout(stalled=left_s > _STALL_S) from None
            whole = not part.get("more_body", False)
            received += len(part.get("body", b""))
            if received > limit:
                # Of all exceptions in the reading of a body, FastAPI lets only this one pass.
                raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)
            return part

        await self._app(scope, bounded_receive, send)


def _timeout(*, stalled: bool) -> HTTPException:
    reason = (
        f"nothing came for {_STALL_S:g} s"
        if stalled
        else f"it came at less than {size_in_words(_BYTES_PER_S)}/s"
    )
    message = f"the request body did not arrive in time: {reason}; send it again"
    headers = {"connection": "close"}
    return HTTPException(HTTPStatus.REQUEST_TIMEOUT, message, headers)


def _refusal(message: str) -> ErrorAnswer:
    error = TooLarge(message)
    # What is still being sent is not read: the connection cannot be used again.
    headers = {"connection": "close"}
    return ErrorAnswer(body_of(error), status_of(error), headers)
