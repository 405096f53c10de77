"""The web reader: the pages named in a prompt, read at once and each within its deadline."""

from __future__ import annotations

import asyncio
import time
import traceback
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final, Self

from loguru import logger
from yarl import URL

from deployments.errors import (
    DeadlineExceeded,
    InvalidRequest,
    ServiceError,
    TooLarge,
    Unavailable,
    UnsupportedMedia,
)
from deployments.scraper.extract import MAX_TEXT_CHARS, ExtractionBounds, Extractor
from deployments.scraper.fetch import PageFailure, WebClient
from deployments.scraper.robots import RobotsRules
from deployments.scraper.session import open_session
from deployments.scraper.worker import HTML_TYPES, TEXT_TYPES
from deployments.text.html import HtmlText
from deployments.types import Page, PageOutcome

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.interfaces import Parser
    from deployments.scraper.fetch import Download
    from deployments.settings import ScraperSettings

_PDF: Final = "application/pdf"
_MAX_PAGE_BYTES: Final = 2_000_000  # of HTML or text, after decompression


class WebReader:
    """Implements `deployments.interfaces.Scraper`; PDFs are read if a parser is given.

    Use it as a context manager, or call `start` first and `close` last.
    """

    def __init__(
        self,
        settings: ScraperSettings,
        parser: Parser | None = None,
        *,
        processes: int = 1,
        extraction: ExtractionBounds | None = None,
        max_page_bytes: int = _MAX_PAGE_BYTES,
    ) -> None:
        """Keep the parts; `processes` extract text at the same time."""
        self._settings = settings
        self._processes, self._extraction = processes, extraction
        self._parser = parser
        self._max_bytes = dict.fromkeys((*HTML_TYPES, *TEXT_TYPES), max_page_bytes)
        if parser is not None:
            self._max_bytes[_PDF] = settings.max_pdf_bytes
        self._resources = AsyncExitStack()

    async def start(self) -> None:
        """Open the session and warm the processes."""
        async with AsyncExitStack() as stack:
            self._extractor = Extractor(self._processes, self._extraction)
            stack.push_async_callback(self._extractor.close)
            self._session = await stack.enter_async_context(open_session(self._settings))
            self._client = WebClient(self._session, self._settings)
            self._robots = RobotsRules(self._client, self._settings.user_agent)
            await self._extractor.start()
            self._resources = stack.pop_all()

    async def close(self) -> None:
        """Close every connection and process."""
        await self._resources.aclose()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def check_health(self) -> None:
        """Raise Unavailable if it has been closed."""
        if self._session.closed:
            msg = "the web reader is closed"
            raise Unavailable(msg)

    async def fetch(self, urls: Sequence[str]) -> list[Page]:
        """Read the pages concurrently, in order, equal URLs once.

        Nothing is raised for a page: each says how it ended. Cancelling ends all of them.
        """
        distinct = list(dict.fromkeys(urls))
        read = distinct[: self._settings.max_pages]
        async with asyncio.TaskGroup() as group:
            tasks = {url: group.create_task(self._page(url)) for url in read}
        pages = {url: task.result() for url, task in tasks.items()}
        detail = f"only the first {self._settings.max_pages} pages of a prompt are read"
        for url in distinct[self._settings.max_pages :]:
            pages[url] = Page(url, PageOutcome.BLOCKED, detail=detail)
        return [pages[url] for url in urls]

    async def _page(self, url: str) -> Page:
        started = time.monotonic()
        final_url, found = "", HtmlText("", "")
        try:
            async with asyncio.timeout(self._settings.page_timeout_s):
                final_url, found = await self._read(url)
            outcome, detail = PageOutcome.OK, ""
        except PageFailure as failure:
            outcome, detail = failure.outcome, failure.detail
        except TimeoutError:
            outcome = PageOutcome.TIMEOUT
            detail = f"not read within {self._settings.page_timeout_s:g} s"
        except Exception as error:  # noqa: BLE001 - one page must not take the others with it
            # Without the message, which may hold the URL.
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

    async def _read(self, url: str) -> tuple[str, HtmlText]:
        try:
            target = URL(url)
        except ValueError as error:
            raise PageFailure(PageOutcome.BLOCKED, "not a valid web address") from error
        permit = self._robots.permit if self._settings.respect_robots else None
        download = await self._client.download(target, self._max_bytes, permit)
        final_url = str(download.url.with_fragment(None))
        if download.media_type == _PDF and self._parser is not None:
            return final_url, await self._parse(download, self._parser)
        return final_url, await self._extractor.extract(download)

    async def _parse(self, download: Download, parser: Parser) -> HtmlText:
        name = download.url.name or "page"
        filename = name if name.lower().endswith(".pdf") else f"{name}.pdf"
        try:
            document = await parser.parse(download.data, filename)
        except TooLarge as error:
            raise PageFailure(PageOutcome.TOO_LARGE, error.message) from error
        except UnsupportedMedia as error:
            raise PageFailure(PageOutcome.UNSUPPORTED_TYPE, error.message) from error
        except InvalidRequest as error:
            raise PageFailure(PageOutcome.EMPTY, error.message) from error
        except DeadlineExceeded as error:
            raise PageFailure(PageOutcome.TIMEOUT, error.message) from error
        except ServiceError as error:
            detail = "PDF files cannot be read for now"
            raise PageFailure(PageOutcome.UNSUPPORTED_TYPE, detail) from error
        text = "\n\n".join(chunk.text for chunk in document.chunks)
        if not text:
            raise PageFailure(PageOutcome.EMPTY, "there is no text in the PDF")
        return HtmlText(document.title, text[:MAX_TEXT_CHARS])
