"""Pages whose text is made by scripts: recognise them, and read them through the renderer."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Final

from yarl import URL

from deployments.errors import DeadlineExceeded, Overloaded, ServiceError, Unprocessable
from deployments.scraper.fetch import MAX_PAGE_BYTES, Download, PageFailure
from deployments.text.html import HtmlText
from deployments.types import PageOutcome

if TYPE_CHECKING:
    from deployments.interfaces import Renderer
    from deployments.scraper.extract import Extractor
    from deployments.scraper.fetch import Permit

_EMPTY_CHARS: Final = 200
"""A page with scripts and less text than this is rendered."""
_SHORT_CHARS: Final = 1_500
"""A page with less text than this is rendered if it asks for scripts."""
_LOOKED_AT_BYTES: Final = 200_000  # which takes at most some 50 ms
_SCRIPT: Final = re.compile(rb"<script\b", re.IGNORECASE)
_ASKS: Final = re.compile(
    rb"<noscript\b[^>]{0,200}>[^\0]{0,200}?java\s?script"
    rb"|<(?:div|main|app-root|body)\b[^>]{0,200}\bid=[\"']?(?:root|app|__next|__nuxt|___gatsby)\b"
    rb"[^>]{0,200}>\s{0,100}</",
    re.IGNORECASE,
)
_EXTRACTION_S: Final = 1.0  # left for reading what was rendered
_MARGIN_S: Final = 0.2  # left for returning the static page
_LEAST_S: Final = 1.0


class _NotRendered(Exception):
    """The scripts of a page were not run; the message is written for the user."""


def asks_for_scripts(html: bytes, text: str) -> bool:
    """Tell whether a page with this visible text is likely to show more when its scripts run."""
    if len(text) >= _SHORT_CHARS or not _SCRIPT.search(html):
        return False
    return len(text) < _EMPTY_CHARS or _ASKS.search(html, 0, _LOOKED_AT_BYTES) is not None


class ScriptedPages:
    """Read HTML pages as they were downloaded, or rendered if they ask for scripts."""

    def __init__(
        self, renderer: Renderer, extractor: Extractor, permit: Permit | None = None
    ) -> None:
        """Keep the parts; `permit` forbids URLs, as for pages that are downloaded."""
        self._renderer, self._extractor, self._permit = renderer, extractor, permit

    async def read(
        self, download: Download, owner: str, deadline_s: float
    ) -> tuple[str, HtmlText, str]:
        """Return the final URL, the text, and what there is to say about how it was read.

        `deadline_s` is by the monotonic clock. A page that asks for scripts and is not rendered
        in time is the static page. Raises PageFailure.
        """
        static, failure = HtmlText("", ""), None
        try:
            static = await self._extractor.extract(download, owner)
        except PageFailure as error:
            if error.outcome is not PageOutcome.EMPTY:
                raise
            failure = error
        if static.refresh:  # it leads on to another page
            return _without_fragment(download.url), static, ""
        if asks_for_scripts(download.data, static.text):
            try:
                url, rendered = await self._rendered(str(download.url), owner, deadline_s)
            except _NotRendered as reason:
                if failure is not None:
                    detail = f"{failure.detail} without its scripts, which were not run: {reason}"
                    raise PageFailure(failure.outcome, detail) from reason
                return _without_fragment(download.url), static, f"read without scripts: {reason}"
            if len(rendered.text) > len(static.text):
                return url, rendered, ""
        if failure is not None:
            raise failure
        return _without_fragment(download.url), static, ""

    async def _rendered(self, url: str, owner: str, deadline_s: float) -> tuple[str, HtmlText]:
        """Return the final URL and text of the rendered page; raise _NotRendered."""
        left_s = deadline_s - time.monotonic() - _MARGIN_S
        if left_s < _EXTRACTION_S + _LEAST_S:
            msg = "no time was left"
            raise _NotRendered(msg)
        try:
            async with asyncio.timeout(left_s):
                page = await self._renderer.render(url, left_s - _EXTRACTION_S, owner)
                final = URL(page.url)
                if self._permit is not None and final != URL(url):
                    await self._permit(final)
                data = page.html.encode("utf-8", "replace")[:MAX_PAGE_BYTES]
                download = Download(final, "text/html", "utf-8", data)
                return _without_fragment(final), await self._extractor.extract(download, owner)
        except (TimeoutError, DeadlineExceeded) as error:
            msg = "they took too long"
            raise _NotRendered(msg) from error
        except Overloaded as error:
            msg = "too many pages are waiting for the renderer"
            raise _NotRendered(msg) from error
        except (PageFailure, Unprocessable) as error:
            detail = error.detail if isinstance(error, PageFailure) else error.message
            raise _NotRendered(detail) from error
        except (ServiceError, ValueError) as error:
            msg = "the renderer is not available"
            raise _NotRendered(msg) from error


def _without_fragment(url: URL) -> str:
    return str(url.with_fragment(None))
