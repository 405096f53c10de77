"""Flow control of responses: send no more than the client reads."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PART_BYTES = 256 * 1024
_WINDOW_BYTES = 1024 * 1024  # one gRPC message of Ray Serve holds at most 4 MiB
_STALL_S = 120.0


class ResponseWindow:
    """ASGI middleware: keep at most 1 MiB of a response waiting, in parts of 256 KiB.

    In a replica of Ray Serve, `send` never waits: messages are queued, and all that are queued
    when the proxy takes some go into one gRPC message. So a client that reads slowly would hold
    its whole response in memory, and a response over the size of a gRPC message would fail. A
    part counts as taken once it was serialised for the proxy or, under a server whose `send`
    waits by itself, once that has dropped it.

    Raises ConnectionError, which ends the response, if the client takes nothing for 120 s.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        window = _Window(asyncio.get_running_loop())

        async def send_in_parts(message: Message) -> None:
            if message["type"] != "http.response.body":
                await send(message)
                return
            body = message.get("body", b"")
            more = message.get("more_body", False)
            for start in range(0, len(body) or 1, _PART_BYTES):
                part = body[start : start + _PART_BYTES] if len(body) > _PART_BYTES else body
                last = start + _PART_BYTES >= len(body)
                await window.wait()
                await send(window.add({**message, "body": part, "more_body": more or not last}))

        await self._app(scope, receive, send_in_parts)


class _Window:
    """Count the bytes of a response that were sent and not taken."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting_bytes = 0
        self._changed = asyncio.Event()

    def add(self, message: Message) -> _Part:
        size = len(message["body"])
        self._waiting_bytes += size
        return _Part(message, functools.partial(self._taken_anywhere, size))

    async def wait(self) -> None:
        """Wait until another part may be sent."""
        while self._waiting_bytes > _WINDOW_BYTES - _PART_BYTES:
            self._changed.clear()
            try:
                async with asyncio.timeout(_STALL_S):
                    await self._changed.wait()
            except TimeoutError:
                msg = f"the client has read nothing for {_STALL_S:g} s"
                raise ConnectionError(msg) from None

    def _taken_anywhere(self, size: int) -> None:
        # Serve may serialise in another thread; and a closed loop has no one to tell.
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._taken, size)

    def _taken(self, size: int) -> None:
        self._waiting_bytes -= size
        self._changed.set()


class _Part(dict[str, Any]):
    """A message that reports once that it was pickled, as a plain dictionary, or dropped."""

    __slots__ = ("_report",)

    def __init__(self, message: Message, report: Callable[[], None]) -> None:
        super().__init__(message)
        self._report: Callable[[], None] | None = report

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[dict[str, Any]]]:
        self._done()
        return dict, (dict(self),)

    def __del__(self) -> None:
        self._done()

    def _done(self) -> None:
        report, self._report = self._report, None
        if report is not None:
            report()
