"""HTTP session for pages: it connects to public addresses only."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from ipaddress import ip_address
from typing import TYPE_CHECKING

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from deployments.addresses import is_permitted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohappyeyeballs import AddrInfoType, SocketFactoryType

    from deployments.addresses import Network
    from deployments.settings import ScraperSettings

_CONNECT_TIMEOUT_S = 3.0
_MAX_CONNECTIONS = 64
_MAX_CONNECTIONS_PER_HOST = 4
ACCEPT = (
    "text/html, application/xhtml+xml, text/markdown, text/plain, application/pdf;q=0.9,"
    " text/*;q=0.8, application/json;q=0.7, application/xml;q=0.7"
)


class ForbiddenAddress(OSError):
    """A connection to an address that is not public was refused."""


@asynccontextmanager
async def open_session(settings: ScraperSettings) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session that connects to public addresses only.

    Each socket is checked after name resolution, which covers address literals, DNS rebinding
    and redirects. Proxies, netrc and cookies are not used. Only connecting has a timeout here;
    the caller sets all others.
    """
    resolver = ThreadedResolver(_MAX_CONNECTIONS)
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=_MAX_CONNECTIONS,
            limit_per_host=_MAX_CONNECTIONS_PER_HOST,
            resolver=resolver,
            socket_factory=guarded_sockets(settings.allowed_networks),
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"User-Agent": settings.user_agent, "Accept": ACCEPT},
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_TIMEOUT_S),
        trust_env=False,
    )
    try:
        async with session:
            yield session
    finally:
        await resolver.close()


def guarded_sockets(opened: tuple[Network, ...]) -> SocketFactoryType:
    """Return a socket factory that raises ForbiddenAddress for an address that is not allowed."""

    def create(target: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, sockaddr = target
        if not is_permitted(ip_address(sockaddr[0]), opened):
            # A constant message: aiohttp merges several errors only if they are equal.
            msg = "not a public address"
            raise ForbiddenAddress(msg)
        return socket.socket(family, kind, protocol)

    return create


class ThreadedResolver(AbstractResolver):
    """Resolve names with the system's resolver in a thread pool of its own.

    In the event loop's small shared pool a few slow names would delay all pages.
    """

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="resolver")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Resolve a name; raise OSError if it does not exist."""
        look_up = partial(
            socket.getaddrinfo,
            host,
            port,
            family=family,
            type=socket.SOCK_STREAM,
            flags=socket.AI_ADDRCONFIG,
        )
        found = await asyncio.get_running_loop().run_in_executor(self._threads, look_up)
        return [
            ResolveResult(
                hostname=host,
                host=str(sockaddr[0]),
                port=port,
                family=family,
                proto=protocol,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for family, _, protocol, _, sockaddr in found
        ]

    async def close(self) -> None:
        """Stop the threads without waiting for lookups in progress."""
        self._threads.shutdown(wait=False, cancel_futures=True)
