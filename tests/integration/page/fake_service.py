"""Serve the FastAPI application over fake capabilities: no Ray, no model, ready at once."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any

import uvicorn
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from serve_app.testing import Fakes

_TIMEOUT_S = 20.0


@dataclass
class FakeService:
    """The served application: its address, its capabilities, and the loop that they run in."""

    url: str
    fakes: Fakes
    server: uvicorn.Server
    loop: asyncio.AbstractEventLoop
    thread: threading.Thread

    def call(self, action: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine where the service runs; return its result."""
        return asyncio.run_coroutine_threadsafe(action, self.loop).result(_TIMEOUT_S)

    def stop(self) -> None:
        """Close the port and every connection."""
        self.server.should_exit = self.server.force_exit = True
        self.thread.join(_TIMEOUT_S)
        assert not self.thread.is_alive()


@contextlib.contextmanager
def served(fakes: Fakes, root_path: str = "", **settings: Any) -> Iterator[FakeService]:
    """Serve on a free port of loopback, below `root_path` as Ray Serve's route prefix does."""
    app: FastAPI | Starlette = fakes.app(**settings)
    if root_path:
        app = Starlette(routes=[Mount(root_path, app)])
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    loop = asyncio.new_event_loop()
    with socket.socket(proto=socket.IPPROTO_TCP) as listening, contextlib.closing(loop):
        listening.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}{root_path}"
        started = threading.Event()

        async def serve() -> None:
            loop.call_soon(started.set)
            await server.serve(sockets=[listening])
            for connection in server.server_state.connections:
                connection.transport.abort()
            await asyncio.sleep(0)  # until the sockets are closed

        thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
        thread.start()
        assert started.wait(_TIMEOUT_S)
        service = FakeService(url, fakes, server, loop, thread)
        try:
            yield service
        finally:
            service.stop()
