"""Page renderer: load pages in a browser, several at once, each within its deadline."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import urlsplit

from loguru import logger

from deployments.errors import DeadlineExceeded, InvalidRequest, Unavailable
from deployments.fair_places import FairPlaces
from deployments.renderer.chromium import Chromium
from deployments.renderer.destinations import Destinations
from deployments.renderer.page_load import load

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deployments.renderer.proxy import TrafficBounds
    from deployments.settings import RendererSettings, ScraperSettings
    from deployments.types import RenderedPage

_MAX_WAITING: Final = 32
_PAGES_PER_BROWSER: Final = 500
_READ_SHARE: Final = 0.8
"""Of the time that is left when a page's turn has come; the rest is for reading it."""


class PageRenderer:
    """Implement `deployments.interfaces.Renderer`.

    Call `start` first and `close` last, or use it as a context manager. A browser that crashed,
    or was ended for its memory, fails the pages it shows and is replaced for the next one.
    """

    def __init__(
        self,
        settings: RendererSettings,
        scraper: ScraperSettings,
        *,
        shares: Mapping[str, float] | None = None,
        traffic: TrafficBounds | None = None,
        own_network: bool = True,
    ) -> None:
        """Keep the parts; ports, networks and the user agent are those of the scraper."""
        self._settings, self._user_agent = settings, scraper.user_agent
        self._destinations = Destinations(scraper.allowed_networks, scraper.allowed_ports)
        self._traffic, self._own_network = traffic, own_network
        self._turns = FairPlaces(
            settings.max_pages, shares=shares, max_waiting=_MAX_WAITING, what="pages with scripts"
        )
        self._starting = asyncio.Lock()
        self._chromium: Chromium | None = None
        self._shown, self._closed = 0, False

    async def start(self) -> None:
        """Start the browser; raise Unavailable with the reason if that is not possible."""
        await self._running()

    async def close(self) -> None:
        """End the browser."""
        async with self._starting:
            self._closed = True
            if self._chromium is not None:
                await self._chromium.close()
            self._destinations.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def check_health(self) -> None:
        """Always healthy: `render` replaces a crashed browser."""

    async def render(self, url: str, timeout_s: float, owner: str = "") -> RenderedPage:
        if urlsplit(url).scheme not in {"http", "https"}:
            msg = "only http and https addresses are read"
            raise InvalidRequest(msg)
        timeout_s = min(timeout_s, self._settings.page_timeout_s)
        deadline_s = time.monotonic() + timeout_s
        try:
            async with asyncio.timeout(timeout_s) as waiting:
                async with self._turns.place(owner):
                    # A start that takes longer than this page goes on for the next one.
                    chromium = await asyncio.shield(asyncio.ensure_future(self._running()))
                    waiting.reschedule(None)
                    return await self._load(chromium, url, deadline_s)
        except TimeoutError as error:
            msg = "the browser is busy with other pages"
            raise DeadlineExceeded(msg) from error

    async def _load(self, chromium: Chromium, url: str, deadline_s: float) -> RenderedPage:
        now_s = time.monotonic()
        proxy = await chromium.free.get()
        self._shown += 1
        try:
            with proxy.page(urlsplit(url).hostname or ""):
                return await load(
                    chromium.browser,
                    url,
                    user_agent=self._user_agent,
                    proxy_port=proxy.port,
                    read_by_s=now_s + _READ_SHARE * (deadline_s - now_s),
                    deadline_s=deadline_s,
                    end_browser=chromium.kill,
                )
        finally:
            chromium.free.put_nowait(proxy)

    async def _running(self) -> Chromium:
        """Return the browser; start one if there is none, or the last one has ended."""
        async with self._starting:
            if self._closed:
                msg = "the renderer is closed"
                raise Unavailable(msg)
            old = self._chromium
            idle = old is not None and old.free.qsize() == self._settings.max_pages
            worn = idle and self._shown >= _PAGES_PER_BROWSER
            if old is not None and old.alive and not worn:
                return old
            if old is not None:
                if not worn:
                    logger.warning("Chromium has ended: starting it again")
                self._chromium = None
                await old.close()
            self._shown = 0
            self._chromium = await Chromium(
                self._settings.chromium,
                self._destinations,
                pages=self._settings.max_pages,
                memory_bytes=self._settings.memory_bytes,
                traffic=self._traffic,
                own_network=self._own_network,
            ).start()
            return self._chromium
