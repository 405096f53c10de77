"""Refuse to look up any host but this machine; `strayed` has the names that were asked for."""

from __future__ import annotations

import socket
from typing import Any

strayed: list[str] = []
_look_up = socket.getaddrinfo


def _checked(host: Any, *args: Any, **kwargs: Any) -> Any:
    if host not in {"127.0.0.1", "localhost", b"127.0.0.1"}:
        strayed.append(str(host))
        message = f"{host} is not to be reached"
        raise OSError(message)
    return _look_up(host, *args, **kwargs)


socket.getaddrinfo = _checked
