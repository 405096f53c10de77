"""What one key may ask for in a minute: requests, and tokens of the models."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

from limits import RateLimitItemPerMinute
from limits.aio.strategies import FixedWindowRateLimiter, SlidingWindowCounterRateLimiter

from deployments.errors import Overloaded
from deployments.metrics import RATE_LIMITED

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.aio.storage import MemoryStorage
    from limits.aio.strategies import RateLimiter

    from serve_app.settings import LimitSettings


class Allowance:
    """One owner's; all ingress replicas that share a storage share it.

    Requests are counted over the last minute. What an answer costs is known when it is over:
    requests are taken on as long as the tokens of the present minute are not used up, and pay
    afterwards, so that answers under way may go beyond.
    """

    def __init__(self, owner: str, limits: LimitSettings, storage: MemoryStorage) -> None:
        """Bind the owner's limits; a limit of None is none."""
        self._owner = owner
        self._requests = _per_minute(limits.requests_per_minute, "requests")
        self._tokens = _per_minute(limits.tokens_per_minute, "tokens")
        self._by_request = SlidingWindowCounterRateLimiter(storage)
        self._by_token = FixedWindowRateLimiter(storage)

    async def take_request(self) -> None:
        """Count a request; raises Overloaded if it is one too many."""
        item = self._requests
        if item is not None and not await self._by_request.hit(item, self._owner):
            await self._refuse(self._by_request, item, "requests")

    async def check_tokens(self) -> None:
        """Raise Overloaded if the tokens of this minute are used up."""
        item = self._tokens
        if item is not None and not await self._by_token.test(item, self._owner):
            await self._refuse(self._by_token, item, "tokens")

    async def spend_tokens(self, tokens: int) -> None:
        """Count tokens that were used, be they more than were left."""
        if self._tokens is not None and tokens > 0:
            await self._by_token.hit(self._tokens, self._owner, cost=tokens)

    async def _refuse(self, limiter: RateLimiter, item: RateLimitItem, what: str) -> None:
        stats = await limiter.get_window_stats(item, self._owner)
        wait_s = max(1, math.ceil(stats.reset_time - time.time()))
        RATE_LIMITED.add(limit=what)
        msg = f"this API key has used its {item.amount} {what} a minute; try again in {wait_s} s"
        raise Overloaded(msg, code="rate_limit_exceeded", retry_after_s=wait_s)


def _per_minute(amount: int | None, what: str) -> RateLimitItem | None:
    return None if amount is None else RateLimitItemPerMinute(amount, namespace=f"genserve-{what}")
