"""The one factory of the HTTP session by which pages are read."""

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

from deployments.scraper.addresses import is_permitted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohappyeyeballs import AddrInfoType, SocketFactoryType

    from deployments.scraper.addresses import Network
    from deployments.settings import ScraperSettings

_CONNECT_TIMEOUT_S = 3.0
_MAX_CONNECTIONS = 64
_MAX_CONNECTIONS_PER_HOST = 4
ACCEPT = "text/html, application/xhtml+xml, text/markdown, text/plain, application/pdf;q=0.9"


class ForbiddenAddress(OSError):
    """A connection was about to be opened to an address that is not public."""


@asynccontextmanager
async def open_session(settings: ScraperSettings) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session that dials public addresses only, whatever the name or URL says.

    The check is made on each socket, after names are resolved, so address literals, names that
    resolve to something else the second time and redirects all pass through it. No proxy,
    netrc or cookie is used. Whoever asks sets the deadlines; only connecting has its own.
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
    """Make a socket factory that raises ForbiddenAddress where the address rule says no."""

    def create(target: AddrInfoType) -> socket.socket:
        family, kind, protocol, _, sockaddr = target
        if not is_permitted(ip_address(sockaddr[0]), opened):
            # The same words each time: several of them are merged only if they are equal.
            msg = "not a public address"
            raise ForbiddenAddress(msg)
        return socket.socket(family, kind, protocol)

    return create


class ThreadedResolver(AbstractResolver):
    """The system's resolver on threads of its own.

    On the event loop's few shared ones, a handful of names that are slow to resolve would
    hold up everybody's pages.
    """

    def __init__(self, threads: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="resolver")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Look the name up; raises OSError if there is no such name."""
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
        """Let go of the threads; one in the middle of a lookup ends with it."""
        self._threads.shutdown(wait=False, cancel_futures=True)
