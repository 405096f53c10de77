"""Authentication: every request needs an API key or, without keys, comes from this machine."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from deployments.errors import Overloaded
from serve_app.access.keys import NOBODY
from serve_app.http.errors import error_response, response_to
from serve_app.http.urls import PART_OF_ARCHIVE, hostname, is_loopback, route_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from serve_app.access.keys import Keys
    from serve_app.access.rate_limits import Allowance

PUBLIC_PATHS = frozenset({"/", "/healthz", "/readyz", "/docs", "/openapi.json"})
PUBLIC_FOLDERS = ("/page/", "/static-offline-docs/")
"""Public paths: they expose no user data. The page sends its key with all others."""
UPLOAD_PATHS = ("/upload", "/v1/files")
_ATTACHMENT = re.compile(r"/v1/vector_stores/[^/]+/files")


def is_public(path: str) -> bool:
    """Return whether a path needs no key."""
    return path in PUBLIC_PATHS or path.startswith(PUBLIC_FOLDERS)


def adds_document(method: str, path: str) -> bool:
    """Return whether a request uploads a file or a part of one, or attaches one.

    Quotas, the shares of uploads and the queue of jobs bound these, not the requests a minute: a
    client that sends a thousand files is no abuse. A file batch is one request for as many.
    """
    if method == "POST":
        return path in UPLOAD_PATHS or _ATTACHMENT.fullmatch(path) is not None
    return method == "PUT" and PART_OF_ARCHIVE.fullmatch(path) is not None


class Guard:
    """ASGI middleware: sets the owner of a request in `scope["state"]["owner"]`, or refuses it.

    Decides by the path as the router sees it, never by a URL made from headers. The body has not
    been read when a request is refused.
    """

    def __init__(self, app: ASGIApp, keys: Keys, allowances: Mapping[str, Allowance]) -> None:
        self._app = app
        self._keys = keys
        self._allowances = allowances

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            else:  # the service has no WebSockets
                await send({"type": "websocket.close", "code": 1008})
            return
        headers: dict[str, str] = {}
        for name, value in scope["headers"]:
            known = headers.get(name.decode("latin-1"))
            text = value.decode("latin-1")
            # Joined, two headers of one name are no valid key, host or origin.
            headers[name.decode("latin-1")] = text if known is None else f"{known}, {text}"
        refusal = await (
            self._check_key(scope, headers) if self._keys else _check_origin(scope, headers)
        )
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _check_key(self, scope: Scope, headers: Mapping[str, str]) -> Response | None:
        key = _key_in(headers)
        owner = self._keys.owner_of(key) if key else None
        _set_owner(scope, owner if owner is not None else NOBODY)
        path = route_path(scope)
        if is_public(path):
            return None
        if owner is None:
            message = (
                "this API key is not known"
                if key
                else "an API key is needed, as the header `Authorization: Bearer KEY` or "
                "`x-api-key: KEY`"
            )
            return error_response(
                HTTPStatus.UNAUTHORIZED,
                message,
                "invalid_api_key",
                headers={"WWW-Authenticate": "Bearer", "Connection": "close"},
            )
        if adds_document(scope["method"], path):
            return None
        try:
            await self._allowances[owner].take_request()
        except Overloaded as error:
            return response_to(error)
        return None


def _key_in(headers: Mapping[str, str]) -> str:
    """Return the key of a request, as OpenAI's clients send it or as Anthropic's do."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    bearer = key.strip() if scheme.lower() == "bearer" else ""
    return bearer or headers.get("x-api-key", "").strip()


async def _check_origin(scope: Scope, headers: Mapping[str, str]) -> Response | None:
    """Refuse other machines, and web pages of other origins.

    Another page in a browser on this machine could otherwise send requests here (CSRF) or, by a
    DNS name that it points to this machine, read the answers too (DNS rebinding).
    """
    _set_owner(scope, NOBODY)
    client, host = scope.get("client"), headers.get("host", "")
    origin = headers.get("origin")
    if client is None or not is_loopback(client[0]) or any(map(_is_proxy_header, headers)):
        message = (
            "this service has no API keys (GENSERVE_API_KEYS) and answers its own machine only"
        )
    elif not is_loopback(hostname(host)):
        message = (
            "without API keys (GENSERVE_API_KEYS) the service is called by a loopback name only"
        )
    elif origin is not None and _netloc(origin) != host:
        message = "without API keys (GENSERVE_API_KEYS) no other web page is answered"
    else:
        return None
    return error_response(
        HTTPStatus.FORBIDDEN, message, "forbidden", headers={"Connection": "close"}
    )


def _is_proxy_header(header: str) -> bool:
    """A proxy on this machine forwards requests of others, so the service needs keys."""
    return header in {"forwarded", "x-real-ip", "via"} or header.startswith("x-forwarded")


def _set_owner(scope: Scope, owner: str) -> None:
    scope.setdefault("state", {})["owner"] = owner


def _netloc(url: str) -> str:
    try:
        return urlsplit(url).netloc
    except ValueError:
        return ""
