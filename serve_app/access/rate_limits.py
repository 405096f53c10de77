"""Rate limits of one owner: requests and model tokens a minute."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Literal

from limits import RateLimitItemPerMinute

from deployments.errors import Overloaded
from deployments.observability.metrics import RATE_LIMITED

if TYPE_CHECKING:
    from limits import RateLimitItem
    from limits.aio.strategies import RateLimiter

    from serve_app.access.counters import Counters
    from serve_app.settings import LimitSettings


class Allowance:
    """One owner's; all ingress replicas whose counters are in one Redis share it.

    Requests are counted over the last minute. What an answer costs is known when it is over:
    requests are taken on as long as the tokens of the present minute are not used up, and pay
    afterwards, so that answers under way may go beyond.
    """

    def __init__(self, owner: str, limits: LimitSettings, counters: Counters) -> None:
        """Bind the owner's limits; a limit of None is none."""
        self._owner = owner
        self._requests = _per_minute(limits.requests_per_minute, "requests")
        self._tokens = _per_minute(limits.tokens_per_minute, "tokens")
        self._counters = counters

    async def take_request(self) -> None:
        """Count a request; raise Overloaded if it is one too many."""
        await self._admit(self._requests, "requests")

    async def check_tokens(self) -> None:
        """Raise Overloaded if the tokens of this minute are used up."""
        await self._admit(self._tokens, "tokens")

    async def spend_tokens(self, tokens: int) -> None:
        """Count tokens that were used, be they more than were left."""
        item = self._tokens
        if item is None or tokens <= 0:
            return

        async def counted(_: RateLimiter, by_token: RateLimiter) -> bool:
            return await by_token.hit(item, self._owner, cost=tokens)

        await self._counters.ask(counted)

    async def _admit(self, item: RateLimitItem | None, what: Literal["requests", "tokens"]) -> None:
        if item is None:
            return

        async def refused_until(by_request: RateLimiter, by_token: RateLimiter) -> float | None:
            if what == "requests":
                limiter, admitted = by_request, await by_request.hit(item, self._owner)
            else:
                limiter, admitted = by_token, await by_token.test(item, self._owner)
            if admitted:
                return None
            return (await limiter.get_window_stats(item, self._owner)).reset_time

        free_at = await self._counters.ask(refused_until)
        if free_at is None:
            return
        wait_s = max(1, math.ceil(free_at - time.time()))
        RATE_LIMITED.add(limit=what)
        msg = f"this API key has used its {item.amount} {what} a minute; try again in {wait_s} s"
        raise Overloaded(msg, code="rate_limit_exceeded", retry_after_s=wait_s)


def _per_minute(amount: int | None, what: str) -> RateLimitItem | None:
    return None if amount is None else RateLimitItemPerMinute(amount, namespace=f"genserve-{what}")
