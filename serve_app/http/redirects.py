"""Redirects that stay on the host which the client called."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_REDIRECTS = {301, 302, 303, 307, 308}


class RelativeRedirects:
    """ASGI middleware: makes the Location of redirects relative.

    Starlette's router redirects `/docs/` to `/docs`, and the mount path to itself with a slash,
    by an absolute URL made from the Host header, which the client can forge, and with the scheme
    of the last proxy.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_relative(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] in _REDIRECTS:
                headers = MutableHeaders(scope=message)
                if "location" in headers:
                    headers["location"] = _relative(headers["location"])
            await send(message)

        await self._app(scope, receive, send_relative)


def _relative(url: str) -> str:
    parts = urlsplit(url)
    # Two slashes at the beginning would name a host.
    path = "/" + parts.path.lstrip("/")
    return parts._replace(scheme="", netloc="", path=path).geturl()
