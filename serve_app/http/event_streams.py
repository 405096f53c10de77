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
    from collections.abc import AsyncGenerator, AsyncIterable, Callable

    from starlette.types import Receive, Scope, Send

_HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class EventStream(EventSourceResponse):
    """A response that closes its generator at once when the client goes."""

    def __init__(self, events: AsyncGenerator[str, None], first: str | None) -> None:
        self._events = events
        super().__init__(_joined(first, events), headers=_HEADERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with contextlib.aclosing(self._events):
            await super().__call__(scope, receive, send)


async def opened(
    events: AsyncGenerator[str, None], shaped: Callable[[ServiceError], str]
) -> EventStream:
    """Await the first event, raising what it raises; a later error becomes an event."""
    first = await anext(events, None)
    return EventStream(_reporting(events, shaped), first)


async def _reporting(
    events: AsyncGenerator[str, None], shaped: Callable[[ServiceError], str]
) -> AsyncGenerator[str, None]:
    async with contextlib.aclosing(events):
        try:
            async for event in events:
                yield event
        except ServiceError as error:
            logger.warning("a stream broke: {}", error.code)
            yield shaped(error)
        except Exception as error:  # noqa: BLE001 - the status is sent; only an event can tell
            logger.opt(exception=error).error("a stream broke")
            yield shaped(ServiceError("something went wrong inside the service"))


async def _joined(first: str | None, events: AsyncIterable[str]) -> AsyncGenerator[str, None]:
    if first is not None:
        yield first
    async for event in events:
        yield event
