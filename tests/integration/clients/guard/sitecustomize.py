"""Let a client reach this machine only; the file TEST_STRAYED gets the hosts that it tried.

Python imports this module at its start, in child processes too.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import sys
import types
from pathlib import Path
from typing import Any

# uvloop looks up and connects in C, where no audit hook sees it: it becomes Python's own loop.
_uvloop = types.ModuleType("uvloop")
_uvloop.Loop = asyncio.SelectorEventLoop  # type: ignore[attr-defined]
_uvloop.EventLoopPolicy = asyncio.DefaultEventLoopPolicy  # type: ignore[attr-defined]
_uvloop.new_event_loop = asyncio.new_event_loop  # type: ignore[attr-defined]
_uvloop.run = asyncio.run  # type: ignore[attr-defined]
_uvloop.install = lambda: None  # type: ignore[attr-defined]
sys.modules["uvloop"] = _uvloop


def _is_inside(host: object) -> bool:
    name = host.decode() if isinstance(host, bytes) else str(host)
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name in {"localhost", "None", ""}
    return address.is_loopback or address.is_unspecified


def _check(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event == "socket.connect" and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if not _is_inside(host):
        with Path(os.environ["TEST_STRAYED"]).open("a") as strayed:
            strayed.write(f"{host}\n")
        message = f"{host} is not to be reached"
        raise OSError(message)


if "TEST_STRAYED" in os.environ:
    sys.addaudithook(_check)
