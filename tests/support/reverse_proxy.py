"""A reverse proxy that serves a service below a path, as nginx does with `proxy_pass URL/;`."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator

from aiohttp import ClientSession, ClientTimeout, web

_OF_A_CONNECTION = ("connection", "keep-alive", "transfer-encoding", "content-length")


@contextlib.contextmanager
def proxied(target: str, prefix: str) -> Iterator[str]:
    """Yield the URL, with the prefix, below which the service at `target` answers."""
    loop = asyncio.new_event_loop()
    started, stop = threading.Event(), asyncio.Event()
    urls: list[str] = []

    async def serve() -> None:
        async with ClientSession(
            auto_decompress=False, timeout=ClientTimeout(total=None)
        ) as session:

            async def forward(request: web.Request) -> web.StreamResponse:
                async with session.request(
                    request.method,
                    f"{target}{request.rel_url.raw_path_qs.removeprefix(prefix)}",
                    headers=request.headers,
                    data=request.content if request.can_read_body else None,
                    allow_redirects=False,
                ) as answer:
                    headers = answer.headers.copy()
                    for name in _OF_A_CONNECTION:
                        headers.popall(name, None)
                    response = web.StreamResponse(status=answer.status, headers=headers)
                    await response.prepare(request)
                    async for block in answer.content.iter_any():
                        await response.write(block)
                    return response

            app = web.Application()
            app.router.add_route("*", f"{prefix}/{{path:.*}}", forward)
            runner = web.AppRunner(app)
            await runner.setup()
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            urls.append(f"http://127.0.0.1:{runner.addresses[0][1]}{prefix}")
            started.set()
            await stop.wait()
            await runner.cleanup()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    assert started.wait(20)
    try:
        yield urls[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(20)
        loop.close()
