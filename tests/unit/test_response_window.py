"""Responses wait for clients that read slowly, under Serve's way of sending and uvicorn's."""

from __future__ import annotations

import asyncio
import pickle
import random
from collections import deque
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from serve_app.http import response_window
from serve_app.http.response_window import ResponseWindow

pytestmark = pytest.mark.anyio

MESSAGE_BYTES = 4 * 1024**2  # Ray Serve's default for one gRPC message
CONTENT = random.Random(1).randbytes(6_000_000)  # noqa: S311


class ServeQueue:
    """Sends as a replica of Serve does: never waits, and packs all that is queued together."""

    def __init__(self) -> None:
        self.queued: deque[Message] = deque()
        self.taken: list[Message] = []
        self.largest = 0

    async def send(self, message: Message) -> None:
        self.queued.append(message)

    def take(self) -> None:
        """Serialise everything queued into one message, as the proxy's next read has it."""
        batch = pickle.dumps([self.queued.popleft() for _ in range(len(self.queued))])
        self.largest = max(self.largest, len(batch))
        self.taken += pickle.loads(batch)  # noqa: S301 - our own


async def whole(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": CONTENT})


async def streamed(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    for start in range(0, len(CONTENT), 50_000):
        part = CONTENT[start : start + 50_000]
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def nothing() -> Message:
    return {"type": "http.disconnect"}


def content_of(messages: list[Message]) -> bytes:
    start, *bodies = messages
    assert start["type"] == "http.response.start"
    assert [bool(part.get("more_body")) for part in bodies[-2:]] == [True, False]
    assert all(type(message) is dict for message in messages)  # the proxy lacks our classes
    return b"".join(part["body"] for part in bodies)


@pytest.mark.parametrize("app", [whole, streamed])
async def test_a_large_response_passes_in_small_messages(app: Any) -> None:
    queue = ServeQueue()
    answer = asyncio.create_task(ResponseWindow(app)({"type": "http"}, nothing, queue.send))
    for _ in range(1000):
        await asyncio.sleep(0)
        if not answer.done() or queue.queued:
            queue.take()
    await answer
    assert content_of(queue.taken) == CONTENT
    assert queue.largest < MESSAGE_BYTES / 2


async def test_what_a_client_does_not_read_is_not_sent() -> None:
    queue = ServeQueue()
    answer = asyncio.create_task(ResponseWindow(streamed)({"type": "http"}, nothing, queue.send))
    await asyncio.sleep(0.05)
    assert sum(len(message.get("body", b"")) for message in queue.queued) < MESSAGE_BYTES / 2
    assert not answer.done()
    answer.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answer


async def test_a_server_that_waits_by_itself_is_not_held_up() -> None:
    got: list[Message] = []

    async def send(message: Message) -> None:
        got.append(dict(message))
        await asyncio.sleep(0)

    await asyncio.wait_for(ResponseWindow(whole)({"type": "http"}, nothing, send), 20)
    assert content_of(got) == CONTENT


async def test_a_client_that_reads_nothing_ends_its_response(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(response_window, "_STALL_S", 0.05)
    with pytest.raises(ConnectionError, match="read nothing"):
        await ResponseWindow(whole)({"type": "http"}, nothing, ServeQueue().send)
