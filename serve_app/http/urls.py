"""Paths as the router sees them, and what the URLs in an answer begin with."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from starlette._utils import get_route_path
from starlette.datastructures import Headers

if TYPE_CHECKING:
    from starlette.types import Scope

PART_OF_ARCHIVE = re.compile(r"/v1/imports/[^/]+/parts/[^/]+")
"""The paths to which parts of an archive are sent."""

_PORTS = {"http": 80, "https": 443}


def route_path(scope: Scope) -> str:
    """Return the path below the one that the service is mounted at, by the router's own function.

    Whatever decides by path must use this: Serve's `root_path` and `route_prefix` are part of
    `scope["path"]`.
    """
    return get_route_path(scope) or "/"


def local_url(scope: Scope, path: str) -> str:
    """Return a path on this service as a URL relative to the host that the client called."""
    return f"{_root_path(scope)}{path}"


def base_url(scope: Scope, public_url: str | None) -> str:
    """Return what URLs in an answer begin with, without a slash at the end.

    The operator's `public_url` decides if it is set. Otherwise scheme and host are those of the
    request if its Host header can name nothing but this service: a loopback name, or the address
    at which the connection arrived. For any other Host, which the client may have forged, the
    result is the mount path alone: the URL then is relative to the host that the client called.

    X-Forwarded-Host and -Prefix are not read: anybody can send them, and behind Serve's own HTTP
    server a proxy cannot be told from its clients. That server, uvicorn, takes the scheme from
    X-Forwarded-Proto of proxies on 127.0.0.1, or of those in FORWARDED_ALLOW_IPS.
    """
    if public_url is not None:
        return public_url
    host = _own_host(scope)
    return f"{scope['scheme']}://{host}{_root_path(scope)}" if host else _root_path(scope)


def is_loopback(host: str) -> bool:
    """Say whether an address or name is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def hostname(host: str) -> str:
    """Return the name or address in a Host header, empty if it is malformed."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _root_path(scope: Scope) -> str:
    root_path: str = scope.get("root_path", "")
    return root_path.rstrip("/")


def _own_host(scope: Scope) -> str | None:
    host = Headers(scope=scope).get("host", "")
    name = hostname(host)
    if name and (is_loopback(name) or _is_address_of_server(scope, host, name)):
        return host
    return None


def _is_address_of_server(scope: Scope, host: str, name: str) -> bool:
    try:
        port = urlsplit(f"//{host}").port or _PORTS[scope["scheme"]]
        address, own_port = scope["server"]
        return ipaddress.ip_address(name) == ipaddress.ip_address(address) and port == own_port
    except (ValueError, TypeError, KeyError):  # a name, or a server that is a Unix socket
        return False
