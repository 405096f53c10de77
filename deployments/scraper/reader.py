"""Web reader: read several pages concurrently, each within its deadline."""

from __future__ import annotations

import asyncio
import itertools
import time
import traceback
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, Self

from loguru import logger
from yarl import URL

from deployments.errors import Unavailable
from deployments.scraper.extract import ExtractionBounds, Extractor
from deployments.scraper.fetch import MAX_PAGE_BYTES, PageFailure, Redirects, WebClient
from deployments.scraper.javascript import ScriptedPages
from deployments.scraper.robots import RobotsRules
from deployments.scraper.session import open_session
from deployments.scraper.worker import HTML_TYPES, TEXT_TYPES
from deployments.text.html import HtmlText
from deployments.types import Page, PageOutcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deployments.interfaces import Renderer
    from deployments.scraper.pdf_pages import PdfPages
    from deployments.settings import ScraperSettings

_PDF: Final = "application/pdf"


class WebReader:
    """Implement `deployments.interfaces.Scraper`; PDFs are read only if `pdfs` is given.

    With a `renderer`, pages that are empty without their scripts are read through it.

    Use it as a context manager, or call `start` first and `close` last.
    """

    def __init__(  # noqa: PLR0913 - bounds that tests set
        self,
        settings: ScraperSettings,
        pdfs: PdfPages | None = None,
        renderer: Renderer | None = None,
        *,
        processes: int = 1,
        extraction: ExtractionBounds | None = None,
        max_page_bytes: int = MAX_PAGE_BYTES,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        """Keep the parts; `processes` extract text at the same time, in turns by `shares`."""
        self._settings = settings
        self._shares = shares
        self._processes, self._extraction = processes, extraction
        self._pdfs = pdfs
        self._renderer = renderer
        self._scripts: ScriptedPages | None = None
        self._max_bytes = dict.fromkeys((*HTML_TYPES, *TEXT_TYPES), max_page_bytes)
        if pdfs is not None:
            self._max_bytes[_PDF] = settings.max_pdf_bytes
        self._resources = AsyncExitStack()
        self._prompts = itertools.count()

    async def start(self) -> None:
        """Open the HTTP session and start the extraction processes."""
        async with AsyncExitStack() as stack:
            self._extractor = Extractor(self._processes, self._extraction, shares=self._shares)
            stack.push_async_callback(self._extractor.close)
            self._session = await stack.enter_async_context(open_session(self._settings))
            self._client = WebClient(self._session, self._settings)
            self._robots = RobotsRules(self._client, self._settings.user_agent)
            if self._renderer is not None:
                permit = self._robots.permit if self._settings.respect_robots else None
                self._scripts = ScriptedPages(self._renderer, self._extractor, permit)
            await self._extractor.start()
            self._resources = stack.pop_all()

    async def close(self) -> None:
        """Close all connections and processes."""
        await self._resources.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def check_health(self) -> None:
        """Raise Unavailable if the reader has been closed."""
        if self._session.closed:
            msg = "the web reader is closed"
            raise Unavailable(msg)

    async def fetch(self, urls: Sequence[str], owner: str = "") -> list[Page]:
        """Read the pages concurrently and return them in order; fetch equal URLs once.

        A page that fails raises nothing: its `outcome` and `detail` say why. Cancelling the
        call cancels all pages. Owners take turns; so do prompts of nobody in particular.
        """
        distinct = list(dict.fromkeys(urls))
        read = distinct[: self._settings.max_pages]
        turn = owner or f"prompt {next(self._prompts)}"
        async with asyncio.TaskGroup() as group:
            tasks = {url: group.create_task(self._page(url, turn)) for url in read}
        pages = {url: task.result() for url, task in tasks.items()}
        detail = f"only the first {self._settings.max_pages} pages of a prompt are read"
        for url in distinct[self._settings.max_pages :]:
            pages[url] = Page(url, PageOutcome.BLOCKED, detail=detail)
        return [pages[url] for url in urls]

    async def _page(self, url: str, turn: str) -> Page:
        started = time.monotonic()
        final_url, found = "", HtmlText("", "")
        try:
            async with asyncio.timeout(self._settings.page_timeout_s):
                deadline_s = started + self._settings.page_timeout_s
                final_url, found, detail = await self._read(url, turn, deadline_s)
            outcome = PageOutcome.OK
        except PageFailure as failure:
            outcome, detail = failure.outcome, failure.detail
        except TimeoutError:
            outcome = PageOutcome.TIMEOUT
            detail = f"not read within {self._settings.page_timeout_s:g} s"
        except Exception as error:  # noqa: BLE001 - one page must not fail the others
            # Without the message, which may contain the URL.
            where = "".join(traceback.format_tb(error.__traceback__))
            logger.error("a page failed by {}:\n{}", type(error).__name__, where)
            outcome, detail = PageOutcome.UNREACHABLE, "the page could not be read"
        return Page(
            url=url,
            outcome=outcome,
            final_url=final_url,
            title=found.title,
            text=found.text,
            detail=detail,
            elapsed_s=time.monotonic() - started,
        )

    async def _read(self, url: str, turn: str, deadline_s: float) -> tuple[str, HtmlText, str]:
        permit = self._robots.permit if self._settings.respect_robots else None
        redirects = Redirects()
        while True:
            try:
                target = URL(url)
            except ValueError as error:
                raise PageFailure(PageOutcome.BLOCKED, "not a valid web address") from error
            download = await self._client.download(target, self._max_bytes, permit, redirects)
            final_url, detail = str(download.url.with_fragment(None)), ""
            if download.media_type == _PDF and self._pdfs is not None:
                return final_url, *(await self._pdfs.read(download, turn))
            if self._scripts is not None and download.media_type in HTML_TYPES:
                final_url, page, detail = await self._scripts.read(download, turn, deadline_s)
            else:
                page = await self._extractor.extract(download, turn)
            if not page.refresh:
                return final_url, page, detail
            redirects.use()
            url = page.refresh
