"""The proxy of the renderer, without a browser: its requests, and the bounds of a page."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest

from deployments.renderer.destinations import Destinations
from deployments.renderer.proxy import FilteringProxy, TrafficBounds
from deployments.renderer.request_heads import BadHead, read_head
from deployments.settings import ScraperSettings

pytestmark = pytest.mark.anyio

BOUNDS = TrafficBounds(max_bytes=2_000, max_connections=4)


class Upstream:
    """Answers each connection with what it received, and never closes one itself."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.ended = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                self.received.append(data)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
                if b"large" in data:
                    writer.write(b"x" * 10_000)
        writer.transport.abort()
        self.ended.set()


@pytest.fixture
async def upstream() -> AsyncIterator[tuple[Upstream, int]]:
    upstream = Upstream()
    server = await asyncio.start_server(upstream.serve, "127.0.0.2", 0)
    yield upstream, server.sockets[0].getsockname()[1]
    server.close()


@pytest.fixture
async def proxy(upstream: tuple[Upstream, int]) -> AsyncIterator[FilteringProxy]:
    settings = ScraperSettings.model_validate(
        {"allowed_networks": ["127.0.0.2/32"], "allowed_ports": [upstream[1]]}
    )
    destinations = Destinations(settings.allowed_networks, settings.allowed_ports)
    listener = socket.create_server(("127.0.0.1", 0))
    proxy = await FilteringProxy(listener, destinations, BOUNDS).start()
    yield proxy
    await proxy.close()
    destinations.close()


async def say(proxy: FilteringProxy, *messages: str) -> bytes:
    """Send messages one after the other, each after an answer; return what came back."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    answers = b""
    try:
        for message in messages:
            writer.write(message.encode())
            answers += await reader.read(65536)
        async with asyncio.timeout(0.2):
            while more := await reader.read(65536):
                answers += more
    except (TimeoutError, ConnectionError):
        pass
    finally:
        writer.transport.abort()
    return answers


def get(host: str, path: str = "/") -> str:
    return f"GET http://{host}{path} HTTP/1.1\r\nHost: {host}\r\nProxy-Connection: x\r\n\r\n"


async def test_a_request_is_forwarded_and_a_second_one_is_not(
    proxy: FilteringProxy, upstream: tuple[Upstream, int]
) -> None:
    server, port = upstream
    site = f"127.0.0.2:{port}"
    assert await say(proxy, get(site)) == b""  # no page is open
    with proxy.page("127.0.0.2") as traffic:
        answer = await say(proxy, get(site, "/a?b"), get("other.example", "/secret"))
        assert answer.count(b"hi") == 1
        tunnelled = await say(proxy, f"CONNECT {site} HTTP/1.1\r\n\r\n", "any bytes", "and more")
        assert tunnelled.count(b"hi") == 2
    head = f"GET /a?b HTTP/1.1\r\nHost: {site}\r\nConnection: close\r\n\r\n".encode()
    assert server.received == [head, b"any bytes", b"and more"]
    assert traffic.refused == 0
    await server.ended.wait()


async def test_forbidden_destinations_and_more_than_the_bounds_are_refused(
    proxy: FilteringProxy, upstream: tuple[Upstream, int]
) -> None:
    server, port = upstream
    with proxy.page("127.0.0.2") as traffic:
        for request in (
            get(f"127.0.0.1:{port}"),
            get("127.0.0.2:1"),
            f"CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n",
        ):
            assert b" 403 " in await say(proxy, request)
        assert server.received == []
        assert len(await say(proxy, get(f"127.0.0.2:{port}", "/large"))) <= BOUNDS.max_bytes
        assert await say(proxy, get(f"127.0.0.2:{port}")) == b""  # no bytes are left
    assert traffic.refused == 4
    with proxy.page("public.example"):  # whose scripts may not reach what the operator opened
        assert b" 403 " in await say(proxy, get(f"127.0.0.2:{port}"))


@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.1",
        "GET file:///etc/passwd HTTP/1.1",
        "GET https://site.example/ HTTP/1.1",
        "GET http://user:word@site.example/ HTTP/1.1",
        "GET http:///x HTTP/1.1",
        "GET http://site.example:99999/ HTTP/1.1",
        "GET http://[::1/ HTTP/1.1",
        "CONNECT site.example HTTP/1.1",
        "CONNECT :443 HTTP/1.1",
        "GET http://site.example/ HTTP/2",
        "GET http://site.example/a b HTTP/1.1",
        "GET http://site.example/ HTTP/1.1\r\nno field",
        "GET http://site.example/ HTTP/1.1\r\nContent-Length: -1",
        "POST http://site.example/ HTTP/1.1\r\nTransfer-Encoding: chunked",
        "",
    ],
)
def test_other_requests_are_refused(head: str) -> None:
    with pytest.raises(BadHead):
        read_head(f"{head}\r\n\r\n".encode())
