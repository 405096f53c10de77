"""Server-sent events: true status codes for early errors, and keep-alive comments.

The first event is awaited before the response starts, for some seconds, so that an error before it
has its status code. A silent stream sends comments, or other blocks that clients ignore: load
balancers cut idle connections.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from fastapi.sse import EventSourceResponse
from loguru import logger

from deployments.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from starlette.types import Message, Receive, Scope, Send

    Shape = Callable[[ServiceError], str]

_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}
_MAX_SILENCE_S = 15.0  # load balancers cut idle connections after 30 or 60 s
_COMMENT = ": keep-alive\n\n"


class EventStream(EventSourceResponse):
    """A response that closes its generator at once when the client goes.

    `first` is the task that awaits the first event.
    """

    def __init__(
        self,
        events: AsyncGenerator[str, None],
        first: asyncio.Future[str | None],
        shaped: Shape,
        max_silence_s: float = _MAX_SILENCE_S,
        keep_alive: str = _COMMENT,
    ) -> None:
        self._events = events
        self._first = first
        self._max_silence_s = max_silence_s
        self._keep_alive = keep_alive
        super().__init__(_reporting(events, first, shaped, keep_alive), headers=_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kept = _KeptAlive(send, self._max_silence_s, self._keep_alive)
        comments = asyncio.create_task(kept.comment())
        try:
            await super().__call__(scope, receive, kept.send)
        finally:
            await _abandoned(comments)
            await _abandoned(self._first)
            await self._events.aclose()


class _KeptAlive:
    """Forwards the messages of a response, and sends a comment after each long silence."""

    def __init__(self, send: Send, max_silence_s: float, keep_alive: str) -> None:
        self._send = send
        self._max_silence_s = max_silence_s
        self._keep_alive = keep_alive.encode()
        self._sending = asyncio.Lock()
        self._sent_s = asyncio.get_running_loop().time()
        self._open = False

    async def send(self, message: Message) -> None:
        """Send a message of the response."""
        async with self._sending:
            self._open = bool(message.get("more_body", True))
            await self._send(message)
            self._sent_s = asyncio.get_running_loop().time()

    async def comment(self) -> None:
        """Send comments after each silence until the response ends."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(max(self._sent_s + self._max_silence_s - loop.time(), 0))
            async with self._sending:
                if loop.time() - self._sent_s < self._max_silence_s:
                    continue
                if self._open:
                    comment = {"body": self._keep_alive, "more_body": True}
                    await self._send({"type": "http.response.body", **comment})
                self._sent_s = loop.time()


async def opened(
    events: AsyncGenerator[str, None],
    shaped: Shape,
    max_silence_s: float = _MAX_SILENCE_S,
    keep_alive: str = _COMMENT,
) -> EventStream:
    """Await the first event, raising what it raises; a later error becomes an event.

    After `max_silence_s` the response starts without it. A silent stream sends `keep_alive`.
    """
    first = asyncio.ensure_future(anext(events, None))
    try:
        await asyncio.wait({first}, timeout=max_silence_s)
    except asyncio.CancelledError:
        await _abandoned(first)
        await events.aclose()
        raise
    if first.done():
        first.result()
    return EventStream(events, first, shaped, max_silence_s, keep_alive)


async def _abandoned(task: asyncio.Future[Any]) -> None:
    """Cancel a task and wait for its end, however it ends."""
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task


async def _reporting(
    events: AsyncGenerator[str, None],
    first: asyncio.Future[str | None],
    shaped: Shape,
    keep_alive: str,
) -> AsyncGenerator[str, None]:
    try:
        if not first.done():  # the headers alone may be held back on the way
            yield keep_alive
        if (opening := await first) is not None:
            yield opening
        async for event in events:
            yield event
    except ServiceError as error:
        logger.warning("a stream broke: {}", error.code)
        yield shaped(error)
    except Exception as error:  # noqa: BLE001 - the status is sent; only an event can tell
        logger.opt(exception=error).error("a stream broke")
        yield shaped(ServiceError("something went wrong inside the service"))
