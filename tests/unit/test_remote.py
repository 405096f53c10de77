"""What a caller sees of whatever Ray raises, by either of its transports."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import stamina
from grpc import StatusCode
from grpc.aio import AioRpcError, Metadata
from ray.exceptions import RayActorError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException

from deployments.errors import (
    InvalidRequest,
    Overloaded,
    ServiceError,
    TooLarge,
    Unavailable,
)
from deployments.remote.embedder import RemoteEmbedder
from deployments.remote.jobs import RemoteJobs
from deployments.remote.parser import RemoteParser
from deployments.remote.responder import _Ingress
from deployments.remote.retriever import RemoteRetriever
from deployments.remote.scraper import RemoteScraper
from deployments.remote.text_generator import RemoteTextGenerator
from deployments.types import Document, ParseSpec, ResponseSpec
from tests.support.serve_handle import Handle

pytestmark = pytest.mark.anyio
SPEC = ParseSpec("uploads/a", "a.pdf", "chunks/a")
KNOWN = Document("doc_a", "default", "a.txt", "a", "text/plain", 9, None, 1, 0.0, None)


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


async def test_a_replica_of_version_0_1_can_search_for_what_it_knows() -> None:
    class Earlier(Handle):
        def remote(self, queries: object, collections: object, limit: int, chars: int) -> Any:
            return super().remote(queries, collections, limit, chars)

    remote = RemoteRetriever(Earlier(RuntimeError(), times=0), "search")  # type: ignore[arg-type]
    assert await remote.search(["q"], "default", 3, 99) == []


def missing() -> RayServeException:
    return RayServeException("Tried to call a method that does not exist. Available methods: []")


@pytest.fixture
def at_once() -> Iterator[None]:
    """Repeat calls three times, without pauses."""
    with stamina.set_testing(True, attempts=3):
        yield


@pytest.mark.usefixtures("at_once")
async def test_a_method_that_a_replica_of_version_0_1_lacks_is_waited_for() -> None:
    handle = Handle(missing(), times=2)
    await _Ingress(handle, "service").respond("alice", "resp_1")  # type: ignore[arg-type]
    assert handle.calls == 3
    handle = Handle(missing(), times=5)  # longer than what a client waits for
    await RemoteRetriever(handle, "search").unmoved_collections()  # type: ignore[arg-type]
    assert handle.calls == 6


@pytest.mark.usefixtures("at_once")
async def test_a_request_is_told_to_come_again_while_replicas_are_of_version_0_1() -> None:
    handle = Handle(missing())
    with pytest.raises(Unavailable, match="the jobs service is of an earlier version"):
        await RemoteJobs(handle, "jobs service").submit_response(ResponseSpec("resp_1", "small"))  # type: ignore[arg-type]
    assert handle.calls == 3
    with pytest.raises(Unavailable):
        await RemoteTextGenerator(Handle(missing()), "language model").prompt_tokens({})  # type: ignore[arg-type]
    once = Handle(missing(), times=1)
    await RemoteTextGenerator(once, "language model").prompt_tokens({})  # type: ignore[arg-type]
    assert once.calls == 2


async def test_what_broke_behind_a_deployment_is_not_repeated_in_front_of_it() -> None:
    """Or three attempts at each of two places would be nine."""
    with pytest.raises(Unavailable) as behind:
        await RemoteParser(Handle(lost(), times=1), "parser").parse(SPEC)  # type: ignore[arg-type]
    handle = Handle(pickle.loads(pickle.dumps(behind.value)), times=1)  # noqa: S301 - as Ray does
    with pytest.raises(Unavailable):
        await RemoteRetriever(handle, "search").search(["q"], "default", 3, 99)  # type: ignore[arg-type]


async def test_a_request_over_the_size_of_a_message_is_told_so_and_not_repeated() -> None:
    details = "CLIENT: Sent message larger than max (5242880 vs. 4194304)"
    error = AioRpcError(StatusCode.RESOURCE_EXHAUSTED, Metadata(), Metadata(), details=details)
    handle = Handle(error)
    with pytest.raises(TooLarge, match="larger than the search accepts"):
        await RemoteRetriever(handle, "search").search(["q"], "default", 3, 99)  # type: ignore[arg-type]
    assert handle.calls == 1


def test_the_failure_of_a_job_of_version_0_1_can_be_read() -> None:
    stored = b"cdeployments.ray_errors\nAway\n(Vthe parser is not available\ntR."
    error = pickle.loads(stored)  # noqa: S301 - our own
    assert isinstance(error, Unavailable)
    assert error.message == "the parser is not available"


class OldScraper(Handle):
    """Takes the URLs alone."""

    def remote(self, *args: Any) -> Any:
        self.times = self.calls + 1 if len(args) > 1 else 0
        return self


async def test_a_scraper_of_version_0_1_is_called_without_the_owner() -> None:
    handle = OldScraper(wrapped(TypeError("takes 2 positional arguments but 3 were given")))
    scraper = RemoteScraper(handle, "page reader")  # type: ignore[arg-type]
    assert await scraper.fetch(["https://example.com"], "alice") == []
    assert handle.calls == 2
    full = Handle(BackPressureError(9, 9, 429, 2.0))
    with pytest.raises(Overloaded):
        await RemoteScraper(full, "page reader").fetch([], "alice")  # type: ignore[arg-type]
    assert full.calls == 1


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


class Endless(Handle):
    """Never answers, and remembers that it was cancelled."""

    cancelled = False

    async def _answer(self) -> list[Any]:
        return await asyncio.Event().wait()  # type: ignore[return-value]

    def cancel(self) -> None:
        self.cancelled = True


async def test_a_call_whose_deadline_has_passed_is_cancelled_in_the_deployment() -> None:
    handle = Endless(RuntimeError())
    embedder = RemoteEmbedder(handle, "embedder")  # type: ignore[arg-type]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await embedder.embed(["snow"], "query")
    assert handle.cancelled


async def test_a_call_that_changes_something_is_left_to_end() -> None:
    handle = Endless(RuntimeError())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await RemoteRetriever(handle, "search").drop("default")  # type: ignore[arg-type]
    assert not handle.cancelled


class Embedding(Handle):
    """Returns a row of the length of each text, in the next turn of the loop."""

    def __init__(self) -> None:
        super().__init__(RuntimeError(), times=0)
        self.texts: list[list[str]] = []

    def remote(self, texts: list[str], *_: str) -> Any:
        self.texts.append(texts)

        async def rows() -> Any:
            await asyncio.sleep(0)
            return np.array([[len(text)] for text in texts], dtype=np.float32)

        return rows()


async def test_short_passages_share_calls_and_get_their_own_vectors() -> None:
    handle = Embedding()
    remote = RemoteEmbedder(handle, "embedder")  # type: ignore[arg-type]
    calls = [["a"], ["bb"], ["ccc", "dddd"], [], ["eeeee"]]
    rows = await asyncio.gather(*(remote.embed(texts, "passage") for texts in calls))
    assert [part[:, 0].tolist() for part in rows] == [[1], [2], [3, 4], [], [5]]
    assert handle.texts == [["a", "bb", "ccc", "dddd", "eeeee"]]


async def test_a_query_and_a_long_document_go_alone() -> None:
    handle = Embedding()
    remote = RemoteEmbedder(handle, "embedder")  # type: ignore[arg-type]
    long = ["x"] * 17
    queries = [remote.embed([text], "query") for text in "qr"]
    await asyncio.gather(*queries, *(remote.embed(long, "passage") for _ in "ab"))
    assert handle.texts == [["q"], ["r"], long, long]
