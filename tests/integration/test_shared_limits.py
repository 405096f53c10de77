"""Two ingress replicas count together in a real Redis, and each by itself while it is away."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from loguru import logger
from pydantic import SecretStr

from deployments.settings import Secrets
from serve_app.access.counters import Counters
from serve_app.app import create_app
from serve_app.testing import MODEL, Fakes
from serve_app.testing import fake_settings as settings
from tests.support.redis_server import RedisServer, serve_redis

pytestmark = pytest.mark.anyio
KEY = "a" * 20
HEADERS = {"authorization": f"Bearer {KEY}"}
BACK_WITHIN_S = 20.0
REQUESTS = 40


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    with serve_redis() as running:
        yield running


@pytest.fixture
def said() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda message: lines.append(message.record["message"]), level="INFO")
    yield lines
    logger.remove(sink)


@contextlib.asynccontextmanager
async def replicas(url: str, **limits: float) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Two applications that have nothing in common but the address of the Redis."""
    fakes = [Fakes(), Fakes()]
    for one in fakes:
        one.llm.usage = {"prompt_tokens": 60, "completion_tokens": 50, "total_tokens": 110}
    secrets = Secrets(api_keys=SecretStr(f"alice:{KEY}"), redis_url=SecretStr(url))
    apps = [
        create_app(one.services(), settings(limits=limits), secrets, one.files, one.catalogue)
        for one in fakes
    ]
    async with contextlib.AsyncExitStack() as stack:
        for app in apps:
            await stack.enter_async_context(app.router.lifespan_context(app))
        yield [
            await stack.enter_async_context(
                httpx.AsyncClient(
                    transport=httpx.ASGITransport(app),
                    base_url="http://127.0.0.1",
                    headers=HEADERS,
                    timeout=60,
                )
            )
            for app in apps
        ]


async def statuses(clients: list[httpx.AsyncClient], count: int) -> list[int]:
    """Of so many requests, in turn at each replica."""
    return [
        (await clients[number % len(clients)].get("/v1/models")).status_code
        for number in range(count)
    ]


async def test_a_limit_holds_over_both(redis: RedisServer) -> None:
    async with replicas(redis.url, requests_per_minute=4) as both:
        assert await statuses(both, 6) == [200] * 4 + [429] * 2
        refused = await both[1].get("/v1/models")
    assert 1 <= int(refused.headers["retry-after"]) <= 60


async def away_from_the_turn_of_a_minute() -> None:
    """Tokens are counted in whole minutes: two requests must fall into the same one."""
    left_s = 60 - time.time() % 60
    if left_s < BACK_WITHIN_S:
        await asyncio.sleep(left_s)


async def test_tokens_spent_at_one_are_missing_at_the_other(redis: RedisServer) -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "one"}]}
    async with replicas(redis.url, tokens_per_minute=100) as (one, other):
        await away_from_the_turn_of_a_minute()
        first = await one.post("/v1/chat/completions", json=body)
        second = await other.post("/v1/chat/completions", json=body)
    assert (first.status_code, second.status_code) == (200, 429)
    assert "100 tokens a minute" in second.json()["error"]["message"]


async def test_each_counts_by_itself_while_redis_is_away(
    redis: RedisServer, said: list[str]
) -> None:
    async with replicas(redis.url, requests_per_minute=4) as both:
        assert await statuses(both, 5) == [200] * 4 + [429]
        redis.kill()
        assert await statuses(both, 10) == [200] * 8 + [429] * 2
        assert [line for line in said if "Redis" in line] == [
            "Redis does not answer (ConnectionError): each ingress replica counts for itself"
        ] * len(both)
        redis.start()
        end = time.monotonic() + BACK_WITHIN_S
        while sum("Redis is back" in line for line in said) < len(both):
            assert time.monotonic() < end
            await asyncio.sleep(0.2)
            await statuses(both, len(both))
        # Together again: what is left of four in a Redis that has begun anew, and then nothing.
        assert (await statuses(both, 6))[-2:] == [429, 429]
    assert redis.url not in "".join(said)


async def test_a_redis_that_hangs_delays_one_request_a_second_at_most(said: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(0)
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}"
        async with replicas(url, requests_per_minute=100) as both:
            began = time.monotonic()
            assert await statuses(both, REQUESTS) == [200] * REQUESTS
            took = time.monotonic() - began
        tries = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                silent.accept()[0].close()
                tries += 1
    # Each replica at once, and then once a second; on a slow machine that is more often.
    assert len(both) <= tries <= len(both) * (1 + took)
    assert len([line for line in said if "Redis" in line]) == len(both)


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1", "redis-without-scheme", "redis://:secret@host:nine"]
)
def test_what_is_no_redis_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(ValueError, match="GENSERVE_REDIS_URL") as refused:
        Counters(SecretStr(url))
    assert "secret" not in str(refused.value)
