"""X-Forwarded-Proto, -Host and -Prefix, from proxies that the operator trusts and nobody else."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from starlette.datastructures import Headers

from serve_app.http.urls import FORWARDED_HOST, route_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import ASGIApp, Receive, Scope, Send

    Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_HOST = re.compile(r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")


class ForwardedHeaders:
    """ASGI middleware: corrects scheme, host and mount path of requests from trusted proxies.

    Serve's own HTTP server, uvicorn, does the scheme alone, and by its default for proxies on
    127.0.0.1 only; where such a proxy sends X-Forwarded-For as well, uvicorn puts the client's
    address in place of the proxy's, which then is not known here: set `public_url` instead.
    """

    def __init__(self, app: ASGIApp, trusted: Sequence[Network]) -> None:
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._trusts(scope.get("client")):
            _correct(scope)
        await self._app(scope, receive, send)

    def _trusts(self, client: tuple[str, int] | None) -> bool:
        if client is None or not self._trusted:
            return False
        try:
            address = ipaddress.ip_address(client[0])
        except ValueError:
            return False
        return any(address in network for network in self._trusted)


def _correct(scope: Scope) -> None:
    headers = Headers(scope=scope)
    if (scheme := _last(headers, "x-forwarded-proto")) in {"http", "https"}:
        scope["scheme"] = scheme
    if _HOST.fullmatch(host := _last(headers, "x-forwarded-host")):
        scope.setdefault("state", {})[FORWARDED_HOST] = host
    prefix, root_path = _last(headers, "x-forwarded-prefix").rstrip("/"), scope.get("root_path", "")
    if _PREFIX.fullmatch(prefix) and not f"{root_path}/".startswith(f"{prefix}/"):
        # As Serve does it: what is the mount path is part of the path as well.
        path = route_path(scope)
        scope["root_path"] = prefix + root_path
        scope["path"] = scope["root_path"] + path


def _last(headers: Headers, name: str) -> str:
    """Return the value that the nearest proxy wrote: earlier ones may be the client's."""
    values = headers.getlist(name)
    return values[-1].rpartition(",")[2].strip() if values else ""
