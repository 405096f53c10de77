"""A site on loopback that tries to make a browser connect elsewhere, and canaries that notice."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from aiohttp import web

from deployments.addresses import Address, Network, is_permitted

SITE = "127.0.0.2"  # the only address here that the tests take for a public one
NAMES: dict[str, list[list[str]]] = {
    # The answers to the first lookup, the second and so on; the last one stays.
    "site.example": [[SITE]],
    "inside.example": [["127.0.0.1"]],
    "mixed.example": [["127.0.0.1", SITE]],
    "rebinding.example": [[SITE], ["127.0.0.3"]],
}
SCRIPTS = {
    "/attack.js": Path(__file__).with_name("renderer_attacks.js").read_text(encoding="utf-8"),
    "/worker.js": "self.oninstall = () => fetch('@URL@', { mode: 'no-cors' })",
}
SHOP = """<html><head><title>Shop</title></head><body><div id="root"></div><noscript>You need to
enable JavaScript to run this app.</noscript><script>
setTimeout(() => { document.title = "Opening hours";
document.getElementById("root").innerHTML = "<main><h1>Opening hours</h1>" +
"<p>The shop at the harbour opens at nine and closes at half past six. </p>".repeat(6) + "</main>"
}, 300)</script></body></html>"""
# Ways of leaving a page for another.
LEAVE = {
    "refresh": '<meta http-equiv="refresh" content="0;url=@URL@">',
    "location": '<script>location = "@URL@"</script>',
    "replace": '<script>location.replace("@URL@")</script>',
    "click": '<a id=a href="@URL@">x</a><script>a.click()</script>',
    "download": '<a id=a href="@URL@" download=x>x</a><script>a.click()</script>',
    "form": '<form id=f method=post action="@URL@"></form><script>f.submit()</script>',
    "base": '<base href="@URL@/"><script>location = "x"</script>',
    "write": '<script>document.write("<iframe src=@URL@></iframe>")</script>',
    "script-url": '<script>location = "javascript:location=`@URL@`"</script>',
    "unload": '<script>onpagehide = () => fetch("@URL@"); location = "/plain"</script>',
}
PAGES = {
    "/attack": "<p id=begun></p><p id=clock></p><script src=/attack.js></script>",
    "/refresh-header": "<p>Wait.</p>",
    "/shop": SHOP,
    "/plain": "<p>No scripts here.</p>",
    "/loops": "<p>A page.</p><script>for (;;);</script>",
    "/allocates": "<script>a = []; for (;;) a.push(new Uint8Array(2e7).fill(1))</script>",
    "/moves": "<script>location = '/moves?' + Math.random()</script>",
    "/large": "<p>x</p>" + "<!-- -->" * 300_000,
    **{f"/leave/{way}": page for way, page in LEAVE.items()},
}


@dataclass
class Canaries:
    """Listeners that nothing may connect to: first lines of what did, and UDP datagrams."""

    port: int
    other_port: int = 0
    heard: list[str] = field(default_factory=list)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        here = writer.get_extra_info("sockname")[0]
        try:
            async with asyncio.timeout(2):
                line = await reader.readline()
        except (TimeoutError, OSError):
            line = b""
        path = line.decode("latin-1").split(" ")[1:2]
        self.heard.append(f"{here} {path[0] if path else 'connection'}")
        answer = b"HTTP/1.1 200 OK\r\nAccess-Control-Allow-Origin: *\r\nContent-Type: text/html"
        writer.write(answer + b"\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret")
        writer.close()


@dataclass(frozen=True)
class Site:
    port: int

    def url(self, path: str, host: str = "site.example", **query: str) -> str:
        return f"http://{host}:{self.port}{path}?{urlencode(query)}"


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, canaries: Canaries) -> None:
        self._canaries = canaries

    def datagram_received(self, _data: bytes, _sender: Any) -> None:
        self._canaries.heard.append("datagram")


async def _page(request: web.Request) -> web.StreamResponse:
    """Serve a page by its path; most are made for the URL in the query."""
    url, target = request.query.get("url", ""), request.query.get("target", "")
    if request.path == "/to":
        return web.Response(status=302, headers={"Location": url})
    if request.path in SCRIPTS:
        code = SCRIPTS[request.path].replace("@URL@", url)
        return web.Response(text=code, content_type="text/javascript")
    headers = {}
    if request.path == "/attack":
        headers["Link"] = f"<{target}/link-header>; rel=preload; as=script"
        report = f"script-src * blob: 'unsafe-inline'; report-uri {target}/csp"
        headers["Content-Security-Policy-Report-Only"] = report
    if request.path == "/refresh-header":
        headers["Refresh"] = f"0;url={url}"
    text = PAGES.get(request.path, "").replace("@URL@", url)
    return web.Response(
        text=text, status=200 if text else 404, content_type="text/html", headers=headers
    )


async def _endless(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/html"})
    await response.prepare(request)
    await response.write(b"<h1>Log of the lighthouse</h1>")
    for number in range(1000):
        await response.write(f"<p>Entry {number}</p>".encode())
        await asyncio.sleep(0.1)
    return response


@asynccontextmanager
async def serve_site() -> AsyncIterator[tuple[Site, Canaries]]:
    """Serve the site and listen on addresses and ports around it."""
    async with AsyncExitStack() as stack:
        app = web.Application()
        app.router.add_get("/endless", _endless)
        app.router.add_route("*", "/{path:.*}", _page)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await runner.setup()
        stack.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, SITE, 0).start()
        port = runner.addresses[0][1]
        canaries = Canaries(port)
        addresses = ["127.0.0.1", "127.0.0.3", *(["::1"] if _has_ipv6() else [])]
        for address in addresses:
            server = await asyncio.start_server(canaries.accept, address, port)
            stack.callback(server.close)
            transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: _Datagrams(canaries), local_addr=(address, port)
            )
            stack.callback(transport.close)
        other = await asyncio.start_server(canaries.accept, SITE, 0)
        stack.callback(other.close)
        canaries.other_port = other.sockets[0].getsockname()[1]
        yield Site(port), canaries


def _has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def take_for_public(monkeypatch: pytest.MonkeyPatch, *addresses: str) -> None:
    """Have the renderer take these addresses for public ones."""
    public = {ip_address(address) for address in addresses}

    def permitted(address: Address, opened: Sequence[Network] = ()) -> bool:
        return address in public or is_permitted(address, opened)

    monkeypatch.setattr("deployments.renderer.destinations.is_permitted", permitted)


def resolve_names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Have the names in `NAMES` resolved as written there; return the list of lookups."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def getaddrinfo(host: Any, port: Any, *args: Any, **options: Any) -> Any:
        if host not in NAMES:
            return real(host, port, *args, **options)
        answers = NAMES[host]
        addresses = answers[min(asked.count(host), len(answers) - 1)]
        asked.append(host)
        kind = socket.SOCK_STREAM
        return [(socket.AF_INET, kind, 6, "", (address, port)) for address in addresses]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked
