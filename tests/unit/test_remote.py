"""What a caller sees of whatever Ray raises, by either of its transports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError

from deployments.errors import InvalidRequest, Overloaded, ServiceError, Unavailable
from deployments.remote import RemoteParser, RemoteRetriever, RemoteTextGenerator
from deployments.types import ParseSpec

pytestmark = pytest.mark.anyio
SPEC = ParseSpec("uploads/a", "a.pdf", "chunks/a")


class Handle:
    """As much of a handle as is called: raises what it is told to, as often as told."""

    deployment_name = "LLM"

    def __init__(self, error: BaseException, times: int = 99) -> None:
        self.error, self.times, self.calls = error, times, 0

    def options(self, **_: Any) -> Handle:
        return self

    def remote(self, *_: Any) -> Any:
        return self

    def __await__(self) -> Any:
        return self._answer().__await__()

    async def _answer(self) -> list[Any]:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return []

    async def __aiter__(self) -> AsyncIterator[str]:
        yield "data: 1\n\n"
        raise self.error

    def cancel(self) -> None: ...


def lost() -> AioRpcError:
    return AioRpcError(StatusCode.INTERNAL, Metadata(), Metadata(), details="192.0.2.9 is gone")


def wrapped(cause: Exception) -> RayTaskError:
    return RayTaskError("f", "traceback", cause, proctitle="p", pid=1, ip="192.0.2.9")


@pytest.mark.parametrize(
    ("raised", "seen"),
    [
        (InvalidRequest("bad"), InvalidRequest),
        (wrapped(InvalidRequest("bad")), InvalidRequest),
        (BackPressureError(9, 9, 429, 2.0), Overloaded),
        (wrapped(BackPressureError(9, 9, 429, 2.0)), Overloaded),
        (lost(), Unavailable),
        (RayActorError(), Unavailable),
        (asyncio.CancelledError(), Unavailable),
        (RuntimeError("Already borrowed"), ServiceError),
        (TimeoutError("inside"), ServiceError),
        (wrapped(RuntimeError("192.0.2.9")), ServiceError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else "",
)
async def test_everything_arrives_as_one_of_ours(
    raised: BaseException, seen: type[ServiceError]
) -> None:
    with pytest.raises(ServiceError) as caught:
        await RemoteParser(Handle(raised), "document parser").parse(SPEC)  # type: ignore[arg-type]
    assert isinstance(caught.value, seen)
    assert caught.value.code == seen.code
    assert "192.0.2.9" not in caught.value.message
    model = RemoteTextGenerator(Handle(raised), "language model")  # type: ignore[arg-type]
    with pytest.raises(seen):
        _ = [event async for event in model.stream_chat({})]


async def test_a_search_is_repeated_when_its_replica_went_away_and_a_parse_is_not() -> None:
    handle = Handle(lost(), times=1)
    assert await RemoteRetriever(handle, "search").search(["q"], "default", 3, 99) == []  # type: ignore[arg-type]
    with pytest.raises(Unavailable):
        await RemoteParser(Handle(lost(), times=1), "parser").parse(SPEC)  # type: ignore[arg-type]


async def test_what_broke_behind_a_deployment_is_not_repeated_in_front_of_it() -> None:
    """Or three attempts at each of two places would be nine."""
    with pytest.raises(Unavailable) as behind:
        await RemoteParser(Handle(lost(), times=1), "parser").parse(SPEC)  # type: ignore[arg-type]
    handle = Handle(behind.value, times=1)
    with pytest.raises(Unavailable):
        await RemoteRetriever(handle, "search").search(["q"], "default", 3, 99)  # type: ignore[arg-type]


async def test_a_call_cancelled_a_moment_before_its_caller_is_no_failure() -> None:
    """Serve cancels what was called for a client that leaves, in either order."""
    remote = RemoteRetriever(Handle(asyncio.CancelledError()), "search")  # type: ignore[arg-type]
    task = asyncio.ensure_future(remote.search(["q"], "default", 3, 99))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancelled_caller_stays_cancelled() -> None:
    class Stuck(Handle):
        async def _answer(self) -> list[Any]:
            await asyncio.Event().wait()
            return []

    remote = RemoteRetriever(Stuck(RuntimeError()), "search")  # type: ignore[arg-type]
    task = asyncio.ensure_future(remote.search(["q"], "default", 3, 99))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
