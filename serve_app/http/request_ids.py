"""A bound on X-Request-Id, which Serve copies into its logs and into the response.

Anthropic's clients also get the id as `request-id`.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING

from starlette.datastructures import MutableHeaders

from serve_app.http.anthropic import REQUEST_ID, is_anthropic, set_request_id
from serve_app.http.errors import error_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_CHARS = 128
_ALLOWED = re.compile(rb"[\x21-\x7e]{0,%d}" % MAX_CHARS)


class RequestIds:
    """ASGI middleware: 400 for a request id that is too long or not printable ASCII."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for name, value in scope["headers"]:
                if name == b"x-request-id" and not _ALLOWED.fullmatch(value):
                    message = (
                        f"the header X-Request-Id may have at most {MAX_CHARS} characters of "
                        "printable ASCII"
                    )
                    status = HTTPStatus.BAD_REQUEST
                    headers = {"Connection": "close"}  # the body is not read
                    refusal = error_response(status, message, "invalid_request", headers=headers)
                    await refusal(scope, receive, send)
                    return
            if is_anthropic(scope):
                send = _with_header(set_request_id(scope), send)
        await self._app(scope, receive, send)


def _with_header(request_id: str, send: Send) -> Send:
    async def send_with_header(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)[REQUEST_ID] = request_id
        await send(message)

    return send_with_header
