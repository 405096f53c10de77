"""By default nothing on a private address is so much as connected to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from yarl import URL

from deployments.scraper.fetch import PageFailure, WebClient
from deployments.scraper.session import open_session
from deployments.settings import ScraperSettings
from deployments.types import PageOutcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

HTML = {"text/html": 10_000}


class Listener:
    """A server on the loopback that counts connections."""

    def __init__(self) -> None:
        self.connections = 0
        self.port = 0

    async def accept(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nhi")
        writer.close()


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    listener = Listener()
    server = await asyncio.start_server(listener.accept, "127.0.0.1", 0)
    listener.port = server.sockets[0].getsockname()[1]
    yield listener
    server.close()


async def failure_of(url: str, settings: ScraperSettings) -> PageFailure:
    async with open_session(settings) as session:
        with pytest.raises(PageFailure) as caught:
            await WebClient(session, settings).download(URL(url), HTML)
    return caught.value


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "①②⑦.⓪.⓪.①",
        "0.0.0.0",
        "localhost",
        "[::1]",
        "[::]",
        "[::127.0.0.1]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "10.0.0.1",
        "192.0.0.192",
        "[64:ff9b:1::7f00:1]",
        "[fe80::1%25lo]",
        "169.254.169.254",
        "168.63.129.16",
        "[fd00:ec2::254]",
    ],
)
async def test_private_addresses_are_blocked_unconnected(listener: Listener, host: str) -> None:
    settings = ScraperSettings(allowed_ports=(listener.port,))
    failure = await failure_of(f"http://{host}:{listener.port}/", settings)
    assert failure.outcome is PageOutcome.BLOCKED
    assert listener.connections == 0


async def test_an_ipv6_address_in_a_url_is_read() -> None:
    listener = Listener()
    try:
        server = await asyncio.start_server(listener.accept, "::1", 0)
    except OSError:
        pytest.skip("this machine has no IPv6")
    port = server.sockets[0].getsockname()[1]
    settings = ScraperSettings.model_validate(
        {"allowed_ports": [port], "allowed_networks": ["::1/128"]}
    )
    async with server, open_session(settings) as session:
        page = await WebClient(session, settings).download(URL(f"http://[::1]:{port}/"), HTML)
    assert page.data == b"hi"


async def test_an_opened_network_is_read(listener: Listener) -> None:
    settings = ScraperSettings.model_validate(
        {"allowed_ports": [listener.port], "allowed_networks": ["127.0.0.0/8"]}
    )
    async with open_session(settings) as session:
        url = URL(f"http://localhost:{listener.port}/")
        page = await WebClient(session, settings).download(url, HTML)
    assert page.data == b"hi"
    assert listener.connections == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://user:secret@127.0.0.1:{port}/",
        "http://user@127.0.0.1:{port}/",
        "http://127.0.0.1:1/",
        "https://127.0.0.1/",
        "ftp://127.0.0.1:{port}/",
        "file:///etc/passwd",
        "//127.0.0.1:{port}/",
        "127.0.0.1",
        "",
    ],
)
async def test_other_ports_schemes_and_credentials_are_blocked(
    listener: Listener, url: str
) -> None:
    settings = ScraperSettings.model_validate(
        {"allowed_ports": [listener.port], "allowed_networks": ["127.0.0.0/8"]}
    )
    failure = await failure_of(url.format(port=listener.port), settings)
    assert failure.outcome is PageOutcome.BLOCKED
    assert "secret" not in failure.detail
    assert listener.connections == 0


async def test_no_proxy_of_the_environment_is_used(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{listener.port}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    settings = ScraperSettings.model_validate(
        {"allowed_ports": [9], "allowed_networks": ["127.0.0.0/8"]}
    )
    failure = await failure_of("http://127.0.0.2:9/", settings)
    assert failure.outcome is PageOutcome.UNREACHABLE
    assert listener.connections == 0


async def test_an_unknown_name_and_a_closed_port_are_unreachable() -> None:
    settings = ScraperSettings.model_validate(
        {"allowed_ports": [80, 9], "allowed_networks": ["127.0.0.0/8"]}
    )
    for url in ("http://nowhere.invalid/", "http://127.0.0.1:9/"):
        failure = await failure_of(url, settings)
        assert failure.outcome is PageOutcome.UNREACHABLE
        assert "127.0.0.1" not in failure.detail
