"""Heads of proxy requests (RFC 9110 and 9112): the destination, and the head to send there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Sequence

_REQUEST_LINE: Final = re.compile(r"([A-Z]{1,20}) ([\x21-\x7e]{1,60000}) HTTP/1\.[01]")
_FIELD: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,200}):[ \t]*(.*)")
_LENGTH: Final = re.compile(r"[0-9]{1,12}")
_HOP_BY_HOP: Final = frozenset(
    ("connection", "keep-alive", "upgrade", "te", "trailer", "expect", "http2-settings")
)
_HTTP_PORT: Final = 80


class BadHead(Exception):
    """Not a proxy request that this proxy serves."""


@dataclass(frozen=True, slots=True)
class RequestHead:
    """A request for a destination: a `tunnel` (CONNECT), or one HTTP request to forward."""

    host: str
    port: int
    tunnel: bool
    forwarded: bytes = b""
    """The head for the destination; it asks for the connection to be closed."""
    body_bytes: int = 0


def read_head(data: bytes) -> RequestHead:
    """Read the head of a request, its empty line included; raise BadHead."""
    first, *lines = data.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    line = _REQUEST_LINE.fullmatch(first)
    if line is None:
        raise BadHead
    method, target = line.groups()
    if method == "CONNECT":
        host, port = _authority(f"//{target}")
        if port is None:
            raise BadHead
        return RequestHead(host, port, tunnel=True)
    scheme, _, rest = target.partition("://")
    host, port = _authority(f"//{rest}")
    if scheme.lower() != "http":
        raise BadHead
    kept, body_bytes = _fields(lines)
    path = rest[min((rest.find(mark) for mark in "/?" if mark in rest), default=len(rest)) :]
    path = path if path.startswith("/") else f"/{path}"
    head = "\r\n".join([f"{method} {path} HTTP/1.1", *kept, "Connection: close", "", ""])
    return RequestHead(
        host,
        port or _HTTP_PORT,
        tunnel=False,
        forwarded=head.encode("latin-1"),
        body_bytes=body_bytes,
    )


def _fields(lines: Sequence[str]) -> tuple[list[str], int]:
    """Return the header fields to forward, and the length of the body."""
    kept: list[str] = []
    body_bytes = 0
    for line in lines:
        entry = _FIELD.fullmatch(line)
        if entry is None:
            raise BadHead
        name, value = entry[1].lower(), entry[2]
        if name == "transfer-encoding":  # browsers send none over HTTP/1.1
            raise BadHead
        if name == "content-length":
            if not _LENGTH.fullmatch(value):
                raise BadHead
            body_bytes = int(value)
        if name not in _HOP_BY_HOP and not name.startswith("proxy-"):
            kept.append(line)
    return kept, body_bytes


def _authority(url: str) -> tuple[str, int | None]:
    """Return host and port of a network-path reference; raise BadHead for other forms."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise BadHead from error
    if not host or "@" in parts.netloc:
        raise BadHead
    return host, port
