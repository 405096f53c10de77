"""Event streams: true status codes for what fails early, comments for who waits long."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncGenerator, AsyncIterator

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, Response

from deployments.errors import InvalidRequest, ServiceError, Unavailable
from serve_app.http import errors
from serve_app.http.event_streams import opened

pytestmark = pytest.mark.anyio
SILENCE_S, CUT_S, WAIT_S = 0.2, 1.5, 2.5
COMMENT, PING = ": keep-alive\n\n", 'event: ping\ndata: {"type":"ping"}\n\n'


def shaped(error: ServiceError) -> str:
    return f"event: error\ndata: {error.code}\n\n"


async def words(*, wait_s: float, error: ServiceError | None = None) -> AsyncGenerator[str, None]:
    await asyncio.sleep(wait_s)
    if error is not None:
        raise error
    yield "data: first\n\n"
    await asyncio.sleep(wait_s)
    yield "data: second\n\n"


@contextlib.asynccontextmanager
async def served() -> AsyncIterator[str]:
    """Serve streams behind a proxy that cuts connections on which nothing comes."""
    app = FastAPI()
    errors.install(app)

    @app.get("/{kind}")
    async def stream(kind: str) -> Response:
        failure = {"early": InvalidRequest("no"), "late": Unavailable("gone")}.get(kind)
        wait_s = {"early": 0.0, "soon": 1.5 * SILENCE_S}.get(kind, WAIT_S)
        keep_alive = PING if kind == "pinged" else COMMENT
        return await opened(
            words(wait_s=wait_s, error=failure), shaped, SILENCE_S, keep_alive=keep_alive
        )

    listening = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
    serving = asyncio.create_task(server.serve([listening]))

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        address = listening.getsockname()
        from_app, to_app = await asyncio.open_connection(*address)
        to_app.write(await reader.readuntil(b"\r\n\r\n"))
        with contextlib.suppress(TimeoutError):
            while data := await asyncio.wait_for(from_app.read(65536), CUT_S):
                writer.write(data)
        to_app.close()
        writer.close()

    proxy = await asyncio.start_server(connected, "127.0.0.1", 0)
    host, port = proxy.sockets[0].getsockname()
    async with proxy:
        yield f"http://{host}:{port}"
    server.should_exit = True
    await serving


async def test_silent_streams_send_comments_and_early_errors_have_a_status() -> None:
    async with served() as url, httpx.AsyncClient(base_url=url, timeout=60) as http:
        kinds = "/whole", "/late", "/early", "/soon", "/pinged"
        whole, late, early, soon, pinged = await asyncio.gather(*map(http.get, kinds))
    assert early.status_code == 400
    assert whole.status_code == late.status_code == 200
    events = [line for line in whole.text.splitlines() if line.startswith("data: ")]
    assert events == ["data: first", "data: second"]
    for waited in (whole, late, soon):
        assert waited.text.startswith(COMMENT)
    assert pinged.text.count(PING) > 1
    assert COMMENT not in pinged.text
    assert late.text.endswith("event: error\ndata: unavailable\n\n")
