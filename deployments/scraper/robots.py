"""Rules of robots.txt (RFC 9309), cached by origin."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from protego import Protego

from deployments.scraper.fetch import PageFailure, read_capped
from deployments.types import PageOutcome

if TYPE_CHECKING:
    from yarl import URL

    from deployments.scraper.fetch import WebClient

_ENTRY_BYTES: Final = 1_000


@dataclass(frozen=True, slots=True)
class RobotsBounds:
    """Bounds on fetching and keeping robots.txt files."""

    timeout_s: float = 2.0
    cache_s: float = 3600.0
    retry_s: float = 30.0
    """How long one that could not be read is not asked for again."""
    max_bytes: int = 512_000
    cache_bytes: int = 8_000_000
    """Of all that are kept."""


@dataclass(slots=True)
class _Site:
    """Cache entry of one origin; its lock makes concurrent pages fetch robots.txt once."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    expires: float = 0.0
    rules: Protego | None = None
    failure: PageFailure | None = None
    size_bytes: int = _ENTRY_BYTES


class RobotsRules:
    """Fetch, cache and apply the robots.txt of each origin."""

    def __init__(
        self, client: WebClient, user_agent: str, bounds: RobotsBounds | None = None
    ) -> None:
        self._client = client
        self._user_agent = user_agent
        self._bounds = bounds or RobotsBounds()
        self._sites: OrderedDict[URL, _Site] = OrderedDict()

    async def permit(self, url: URL) -> None:
        """Return if the page may be read, else raise PageFailure.

        A site without a robots.txt (4xx) allows everything. If it cannot be fetched for now,
        nothing is allowed and the page fails for the same reason.
        """
        site = self._sites.setdefault(url.origin(), _Site())
        self._sites.move_to_end(url.origin())
        async with site.lock:
            if time.monotonic() >= site.expires:
                await self._refresh(site, url.origin())
                self._shrink()
        if site.failure is not None:
            raise PageFailure(site.failure.outcome, site.failure.detail)
        if site.rules is not None and not site.rules.can_fetch(str(url), self._user_agent):
            raise PageFailure(PageOutcome.BLOCKED, "the site's robots.txt does not allow it")

    async def _refresh(self, site: _Site, origin: URL) -> None:
        site.rules = site.failure = None
        site.size_bytes = _ENTRY_BYTES
        try:
            text = await self._fetch(origin / "robots.txt")
        except PageFailure as failure:
            site.failure = failure
            site.expires = time.monotonic() + self._bounds.retry_s
            return
        if text:
            # A large file takes most of a second to parse.
            site.rules = await asyncio.to_thread(Protego.parse, text)
            site.size_bytes += len(text)
        site.expires = time.monotonic() + self._bounds.cache_s

    async def _fetch(self, url: URL) -> str:
        try:
            async with (
                asyncio.timeout(self._bounds.timeout_s),
                self._client.open(url) as response,
            ):
                if response.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                    detail = "the site's robots.txt cannot be read for now"
                    raise PageFailure(PageOutcome.BLOCKED, detail)  # noqa: TRY301
                if response.status >= HTTPStatus.BAD_REQUEST:
                    return ""
                # The rest of a longer file is ignored, as the RFC says.
                data, _ = await read_capped(response, self._bounds.max_bytes)
                return data.decode("utf-8-sig", "replace")
        except PageFailure as failure:
            if failure.outcome is PageOutcome.HTTP_ERROR:  # too many redirects: no robots.txt
                return ""
            raise
        except TimeoutError as error:
            detail = "the site's robots.txt did not come in time"
            raise PageFailure(PageOutcome.TIMEOUT, detail) from error

    def _shrink(self) -> None:
        total = sum(site.size_bytes for site in self._sites.values())
        while total > self._bounds.cache_bytes and len(self._sites) > 1:
            _, oldest = self._sites.popitem(last=False)
            total -= oldest.size_bytes
