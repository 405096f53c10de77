"""Admission: a place within the shares of its key for each request, before its body is read."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING

from deployments.errors import Overloaded
from serve_app.access.fair_queue import FairQueue
from serve_app.access.guard import adds_document, is_public
from serve_app.access.keys import NOBODY
from serve_app.access.shares import Shares, divided
from serve_app.http.errors import response_to
from serve_app.http.urls import route_path

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping

    from starlette.types import ASGIApp, Receive, Scope, Send

_DOWNLOAD = re.compile(
    r"/v1/(?:files|documents)/[^/]+/content|/v1/vector_stores/[^/]+/files/[^/]+/content"
    r"|/v1/vector_stores/[^/]+/export|/v1/images/[^/]+/[^/]+"
)
_MAX_UPLOADS = 64
_UPLOADS_WAITING_PER_PLACE = 3
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
        self._uploads = FairQueue("uploads", weights, _UPLOADS_WAITING_PER_PLACE)
        self._uploads.resize(_MAX_UPLOADS)
        self._downloads = Shares("downloads", _MAX_DOWNLOADS, weights)

    @contextlib.asynccontextmanager
    async def taken(self, method: str, path: str, owner: str) -> AsyncIterator[None]:
        """Hold the places that a request needs; raise Overloaded if there are none.

        What adds a document waits for its place, with its body unread: a folder of files is no
        abuse.
        """
        async with contextlib.AsyncExitStack() as held:
            for shares, of in self._needed(method, path, owner):
                held.enter_context(shares.take(of))
            if adds_document(method, path):
                await held.enter_async_context(self._uploads.take(owner))
            yield

    def _needed(self, method: str, path: str, owner: str) -> Iterator[tuple[Shares, str]]:
        """Yield the shares in which a request needs a place, and the owner it counts for."""
        if path == "/healthz":
            return
        if path == "/readyz":
            yield self._readiness, NOBODY
        elif is_public(path):
            yield self._public, NOBODY
        else:
            yield self._requests, owner
            if method == "GET" and _DOWNLOAD.fullmatch(path):
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
        method, path, owner = scope["method"], route_path(scope), scope["state"]["owner"]
        async with contextlib.AsyncExitStack() as held:
            try:
                await held.enter_async_context(self._places.taken(method, path, owner))
            except Overloaded as error:
                await response_to(error)(scope, receive, send)
                return
            await self._app(scope, receive, send)
