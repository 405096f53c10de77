"""Rate limit counters: in a Redis that all ingress replicas share, or in memory."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

from limits.aio.storage import MemoryStorage
from limits.aio.strategies import FixedWindowRateLimiter, SlidingWindowCounterRateLimiter
from loguru import logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from limits.aio.storage import RedisStorage
    from limits.aio.strategies import RateLimiter
    from pydantic import SecretStr
    from redis.asyncio import ConnectionPool

    Question = Callable[[RateLimiter, RateLimiter], Awaitable["T"]]

T = TypeVar("T")

_SCHEMES = ("redis://", "rediss://")
_KEY_PREFIX = "genserve"
_TIMEOUT_S = 0.25  # that a request waits for Redis
_AWAY_S = 1.0  # before a Redis that did not answer is asked again


class Counters:
    """Counts requests in a sliding window of a minute, and tokens in a fixed one.

    While Redis is unavailable no request is refused for it: this process counts in its own
    memory, and logs once when that begins and ends. Counts are not carried over.
    """

    def __init__(self, redis_url: SecretStr | None = None, timeout_s: float = _TIMEOUT_S) -> None:
        """Count in Redis if there is an address; `timeout_s` bounds what a request waits for it.

        Raises ValueError for an address of something else, without showing it.
        """
        here = MemoryStorage()
        self._connections: ConnectionPool | None = None
        self._here = SlidingWindowCounterRateLimiter(here), FixedWindowRateLimiter(here)
        self._shared: tuple[RateLimiter, RateLimiter] | None = None
        if redis_url is not None:
            self._connections = _connections(redis_url.get_secret_value(), timeout_s)
            there = _redis(self._connections)
            self._shared = SlidingWindowCounterRateLimiter(there), FixedWindowRateLimiter(there)
        self._timeout_s = timeout_s
        self._away = False
        self._ask_again_at = 0.0

    async def ask(self, question: Question[T]) -> T:
        """Ask the limiters for requests and for tokens, those of Redis if it is available."""
        now = time.monotonic()
        if self._shared is None or (self._away and now < self._ask_again_at):
            return await question(*self._here)
        # While it is away one request tries, and the others need not wait with it.
        self._ask_again_at = now + _AWAY_S
        try:
            async with asyncio.timeout(self._timeout_s):
                answer = await question(*self._shared)
        except Exception as error:  # noqa: BLE001 - whatever ails it, a request is not refused for it
            self._lost(error)
            return await question(*self._here)
        if self._away:
            self._away = False
            logger.info("Redis is back: rate limits are shared again")
        return answer

    async def close(self) -> None:
        """Close the connections."""
        if self._connections is not None:
            await self._connections.aclose()

    def _lost(self, error: Exception) -> None:
        self._ask_again_at = time.monotonic() + _AWAY_S
        if not self._away:
            self._away = True
            # Its words may hold the address, and so a password.
            logger.warning(
                "Redis does not answer ({}): each ingress replica counts for itself",
                type(error).__name__,
            )


def _connections(url: str, timeout_s: float) -> ConnectionPool:
    if not url.startswith(_SCHEMES):
        msg = f"GENSERVE_REDIS_URL must begin with {' or '.join(_SCHEMES)}"
        raise ValueError(msg)
    from redis.asyncio import ConnectionPool
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    try:
        return ConnectionPool.from_url(
            url,
            socket_connect_timeout=timeout_s,
            socket_timeout=timeout_s,
            retry=Retry(NoBackoff(), 1),  # where a connection was closed since it was last used
        )
    except ValueError:  # its words show the address
        msg = "GENSERVE_REDIS_URL is not an address like redis://:PASSWORD@HOST:PORT/NUMBER"
        raise ValueError(msg) from None


def _redis(connections: ConnectionPool) -> RedisStorage:
    from limits.aio.storage import RedisStorage

    options: dict[str, Any] = {"connection_pool": connections}
    return RedisStorage("redis://", implementation="redispy", key_prefix=_KEY_PREFIX, **options)
