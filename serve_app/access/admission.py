"""Admission: a place within the shares of its key for each request, before its body is read."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from deployments.errors import Overloaded
from serve_app.access.guard import UPLOAD_PATHS, is_public
from serve_app.access.keys import NOBODY
from serve_app.access.shares import Shares, divided
from serve_app.http.errors import response_to
from serve_app.http.urls import route_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

_DOWNLOAD = re.compile(r"/v1/files/[^/]+/content|/v1/images/[^/]+/[^/]+\.png")
_MAX_UPLOADS = 64
_MAX_DOWNLOADS = 32  # one that is not read costs 9 MB here and 7 MB in Serve's proxy
_NOBODYS = {NOBODY: 1.0}


class RequestShares:
    """The bounds on requests at this ingress replica, which serves `capacity` at once.

    `/readyz` may take half of the reserve for health checks, `/healthz` all of it. A request that
    is refused is answered at once, so it takes a place of Serve for a moment only.
    """

    def __init__(self, capacity: int, weights: Mapping[str, float]) -> None:
        keys, public, health = divided(capacity)
        self._requests = Shares("requests", keys, weights)
        self._public = Shares("requests of public paths", public, _NOBODYS)
        self._readiness = Shares("readiness checks", health // 2, _NOBODYS)
        self.uploads = Shares("uploads", _MAX_UPLOADS, weights)
        """Also for files that are attached to a vector store, whose content is in memory."""
        self._downloads = Shares("downloads", _MAX_DOWNLOADS, weights)

    def needed(self, method: str, path: str, owner: str) -> Iterator[tuple[Shares, str]]:
        """Yield the shares in which a request needs a place, and the owner it counts for."""
        if path == "/healthz":
            return
        if path == "/readyz":
            yield self._readiness, NOBODY
        elif is_public(path):
            yield self._public, NOBODY
        else:
            yield self._requests, owner
            if method == "POST" and path in UPLOAD_PATHS:
                yield self.uploads, owner
            elif method == "GET" and _DOWNLOAD.fullmatch(path):
                yield self._downloads, owner


class Admission:
    """ASGI middleware: 429 for a request whose key has no place left; `Guard` sets the owner."""

    def __init__(self, app: ASGIApp, places: RequestShares) -> None:
        self._app = app
        self._places = places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        needed = self._places.needed(scope["method"], route_path(scope), scope["state"]["owner"])
        with contextlib.ExitStack() as held:
            try:
                for shares, owner in needed:
                    held.enter_context(shares.take(owner))
            except Overloaded as error:
                await response_to(error)(scope, receive, send)
                return
            await self._app(scope, receive, send)
