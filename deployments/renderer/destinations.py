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

_CONNECT_TIMEOUT_S: Final = 3.0
_RESOLVER_THREADS: Final = 16


class ForbiddenDestination(Exception):
    """The port or all addresses of the name are not allowed; nothing was connected to."""


class Unreached(Exception):
    """The name does not exist, or no connection to its addresses was made in time."""


class Destinations:
    """Connect to allowed ports of public addresses, and of networks that the operator opened.

    A name is resolved once and the connection is made to the address that was checked, so that
    a name that changes its address between the two (DNS rebinding) reaches nothing else.
    """

    def __init__(self, networks: Sequence[Network], ports: Sequence[int]) -> None:
        self._networks, self._ports = tuple(networks), frozenset(ports)
        self._threads = ThreadPoolExecutor(_RESOLVER_THREADS, thread_name_prefix="proxy-resolver")

    async def connect(self, host: str, port: int) -> Streams:
        """Return streams of a connection; raise ForbiddenDestination or Unreached."""
        if port not in self._ports:
            raise ForbiddenDestination
        try:
            async with asyncio.timeout(_CONNECT_TIMEOUT_S):
                found = await self._resolve(host, port)
                allowed = [each for each in found if self._allows(each[1][0])]
                if not allowed:
                    raise ForbiddenDestination
                return await _connect(allowed)
        except (OSError, TimeoutError, UnicodeError) as error:
            raise Unreached from error

    def close(self) -> None:
        """Stop the threads without waiting for lookups in progress."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _allows(self, address: str) -> bool:
        return is_permitted(ip_address(address), self._networks)

    async def _resolve(self, host: str, port: int) -> list[tuple[socket.AddressFamily, Any]]:
        look_up = partial(
            socket.getaddrinfo, host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
        )
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [(family, address) for family, _, _, _, address in found]


async def _connect(addresses: Sequence[tuple[socket.AddressFamily, Any]]) -> Streams:
    """Connect to the first address that answers."""
    failure: OSError = OSError("no address")
    for family, address in addresses:
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)  # noqa: FBT003 - its only argument
            await asyncio.get_running_loop().sock_connect(connection, address)
            return await asyncio.open_connection(sock=connection)
        except OSError as error:
            connection.close()
            failure = error
        except BaseException:
            connection.close()
            raise
    raise failure
