"""Destinations of the proxy: resolve a name, check its addresses, connect to a checked one."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final

from deployments.addresses import is_permitted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.addresses import Network

    Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
    Address = tuple[socket.AddressFamily, Any]
    Resolved = dict[str, list[Address]]

_CONNECT_TIMEOUT_S: Final = 3.0
_RESOLVER_THREADS: Final = 16


class ForbiddenDestination(Exception):
    """The port or all addresses of the name are not allowed; nothing was connected to."""


class DestinationUnreachable(Exception):
    """The name does not exist, or no connection to its addresses was made in time."""


class Destinations:
    """Connect to allowed ports of public addresses, and of networks that the operator opened.

    The latter are for the host of the page that a user named: the scripts of a public page must
    not reach them. A name is resolved once a page, and connections are made to the addresses that
    were checked, so that a name that changes its address (DNS rebinding) reaches nothing else.
    """

    def __init__(self, networks: Sequence[Network], ports: Sequence[int]) -> None:
        self._networks, self._ports = tuple(networks), frozenset(ports)
        self._threads = ThreadPoolExecutor(_RESOLVER_THREADS, thread_name_prefix="proxy-resolver")

    async def connect(self, host: str, port: int, *, named: bool, resolved: Resolved) -> Streams:
        """Return streams of a connection; raise ForbiddenDestination or DestinationUnreachable.

        `named` says that the user has named this host; `resolved` keeps the names of the page.
        """
        if port not in self._ports:
            raise ForbiddenDestination
        opened = self._networks if named else ()
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                if host not in resolved:
                    resolved.setdefault(host, await self._resolve(host))
                found = resolved[host]
                allowed = [each for each in found if is_permitted(ip_address(each[1][0]), opened)]
                if not allowed:
                    raise ForbiddenDestination
                return await _connect(allowed, port)
        except (OSError, TimeoutError, UnicodeError) as error:
            raise DestinationUnreachable from error

    def close(self) -> None:
        """Stop the threads without waiting for lookups in progress."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _resolve(self, host: str) -> list[Address]:
        look_up = partial(
            socket.getaddrinfo, host, 0, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [(family, address) for family, _, _, _, address in found]


async def _connect(addresses: Sequence[Address], port: int) -> Streams:
    """Connect to the first address that answers."""
    failure: OSError = OSError("no address")
    for family, (host, _, *rest) in addresses:
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)  # noqa: FBT003 - its only argument
            await asyncio.get_running_loop().sock_connect(connection, (host, port, *rest))
            return await asyncio.open_connection(sock=connection)
        except OSError as error:
            connection.close()
            failure = error
        except BaseException:
            connection.close()
            raise
    raise failure
