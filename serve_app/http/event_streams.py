"""Server-sent events whose first one is awaited before the response starts.

A generator that fails before its first item would otherwise give 200 and an empty body.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from fastapi.sse import EventSourceResponse
from loguru import logger

from deployments.errors import ServiceError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from starlette.types import Receive, Scope, Send

    Shape = Callable[[ServiceError], str]

_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class EventStream(EventSourceResponse):
    """A response that closes its generator at once when the client goes."""

    def __init__(self, events: AsyncGenerator[str, None], first: str | None, shaped: Shape) -> None:
        self._events = events
        super().__init__(_reporting(events, first, shaped), headers=_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with contextlib.aclosing(self._events):
            await super().__call__(scope, receive, send)


async def opened(events: AsyncGenerator[str, None], shaped: Shape) -> EventStream:
    """Await the first event, raising what it raises; a later error becomes an event."""
    return EventStream(events, await anext(events, None), shaped)


async def _reporting(
    events: AsyncGenerator[str, None], first: str | None, shaped: Shape
) -> AsyncGenerator[str, None]:
    async with contextlib.aclosing(events):
        try:
            if first is not None:
                yield first
            async for event in events:
                yield event
        except ServiceError as error:
            logger.warning("a stream broke: {}", error.code)
            yield shaped(error)
        except Exception as error:  # noqa: BLE001 - the status is sent; only an event can tell
            logger.opt(exception=error).error("a stream broke")
            yield shaped(ServiceError("something went wrong inside the service"))
