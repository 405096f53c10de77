"""Extract the text of downloaded pages in child processes that can be killed."""

from __future__ import annotations

import asyncio
import multiprocessing
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import TYPE_CHECKING

from loguru import logger
from pebble import ProcessExpired, ProcessPool

from deployments.errors import TooLarge
from deployments.fair_places import FairPlaces
from deployments.scraper.fetch import PageFailure
from deployments.scraper.worker import TooSlow, page_text, prepare, warm
from deployments.types import PageOutcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deployments.scraper.fetch import Download
    from deployments.text.html import HtmlText


MAX_TEXT_CHARS = 100_000
"""Of one page; the rest is cut off."""


@dataclass(frozen=True, slots=True)
class ExtractionBounds:
    """Bounds on the extraction of one page, and on one process."""

    timeout_s: float = 5.0
    cpu_s: float = 2.0
    max_chars: int = MAX_TEXT_CHARS
    memory_bytes: int = 1024**3
    """What a process may take beyond what it starts with."""
    pages_per_process: int = 500


class Extractor:
    """Extract text in a process pool, as a hostile page can make it arbitrarily slow."""

    def __init__(
        self,
        processes: int = 1,
        bounds: ExtractionBounds | None = None,
        *,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        """Make the pool; `shares` are the weights of owners, 1 for those that are not named."""
        self._processes = processes
        self._bounds = bounds or ExtractionBounds()
        self._pool = self._new_pool()
        self._turns = FairPlaces(processes, shares=shares)

    async def start(self) -> None:
        """Start the processes and wait until one has loaded its libraries."""
        await asyncio.wrap_future(self._pool.schedule(warm))

    async def close(self) -> None:
        """Kill the processes."""
        await _end(self._pool)

    async def extract(self, download: Download, owner: str = "") -> HtmlText:
        """Return the text of HTML or plain text, or the `refresh` of a page; raise PageFailure.

        Owners take turns: one with many slow pages holds up only itself. Cancelling the call
        kills the process that works on it.
        """
        try:
            async with self._turns.place(owner):
                try:
                    page = await self._run(download)
                except BrokenProcessPool:  # an idle process was killed from outside: once more
                    page = await self._run(download)
        except (TimeoutError, TooSlow) as error:
            raise PageFailure(PageOutcome.TIMEOUT, "the page takes too long to read") from error
        except (MemoryError, ProcessExpired, TooLarge) as error:
            raise PageFailure(PageOutcome.TOO_LARGE, "the page is too much to read") from error
        except Exception as error:
            # Only the type: the message may quote the page.
            logger.warning("no text could be made of a page: {}", type(error).__name__)
            raise PageFailure(PageOutcome.EMPTY, "no text could be made of the page") from error
        if not page.text and not page.refresh:
            raise PageFailure(PageOutcome.EMPTY, "there is no text on the page")
        return page

    async def _run(self, download: Download) -> HtmlText:
        if not self._pool.active:
            broken, self._pool = self._pool, self._new_pool()
            await _end(broken)
        work = self._pool.schedule(
            page_text,
            (download, self._bounds.max_chars, self._bounds.cpu_s),
            timeout=self._bounds.timeout_s,
        )
        return await asyncio.wrap_future(work)

    def _new_pool(self) -> ProcessPool:
        return ProcessPool(
            max_workers=self._processes,
            max_tasks=self._bounds.pages_per_process,
            initializer=prepare,
            initargs=(self._bounds.memory_bytes,),
            # A forked child of a process with threads can deadlock.
            context=multiprocessing.get_context("spawn"),
        )


async def _end(pool: ProcessPool) -> None:
    pool.stop()
    await asyncio.to_thread(pool.join)
