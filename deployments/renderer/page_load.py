"""Load one page in a browser context of its own and return its HTML once it has settled."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any, Final

from deployments.errors import DeadlineExceeded, Unavailable, Unprocessable
from deployments.types import RenderedPage

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.async_api import Browser, BrowserContext, CDPSession, Page, Request, Route

MAX_HTML_CHARS: Final = 2_000_000
_MAX_NAVIGATIONS: Final = 6  # of the page itself: its first, and redirects by scripts
_POLL_S: Final = 0.1
_QUIET_S: Final = 0.4  # without requests and changes
_BUSY_QUIET_S: Final = 1.5  # without changes, while requests are open that may never end
_ENOUGH_CHARS: Final = 200
_CLOSE_TIMEOUT_S: Final = 2.0
_SKIPPED: Final = frozenset(("image", "media", "font", "manifest", "texttrack", "ping"))
_HTTP_ERROR: Final = 400
_STATE: Final = "[document.readyState, document.body ? document.body.innerText.length : 0]"
_HTML: Final = f"document.documentElement.outerHTML.slice(0, {MAX_HTML_CHARS})"


async def load(  # noqa: PLR0913 - what one page needs
    browser: Browser,
    url: str,
    *,
    user_agent: str,
    proxy_port: int,
    read_by_s: float,
    deadline_s: float,
    end_browser: Callable[[], None],
) -> RenderedPage:
    """Return the page as it is when it has settled, at the latest at `read_by_s`.

    Nothing is kept for the next page: cookies, storage and cache end with this call.

    Args:
        browser: the running browser.
        url: an http or https URL.
        user_agent: the `User-Agent` header.
        proxy_port: of the proxy on loopback, which serves this page alone.
        read_by_s: by the monotonic clock; what has loaded by then is read.
        deadline_s: by the same clock, when it must have been read.
        end_browser: called if the page cannot be closed, or it would go on for ever.

    Raises:
        DeadlineExceeded: the site did not answer, or the page's scripts leave no time to read it.
        Unprocessable: the site answered with an error, or the page cannot be shown.
        Unavailable: the browser, or its process for this page, has crashed.
    """
    from playwright.async_api import Error
    from playwright.async_api import TimeoutError as PlaywrightTimeout

    context = None
    try:
        async with asyncio.timeout(max(0.0, deadline_s - time.monotonic())):
            context = await browser.new_context(
                user_agent=user_agent,
                proxy={"server": f"http://127.0.0.1:{proxy_port}"},
                accept_downloads=False,
                service_workers="block",
                permissions=[],
            )
            return await _Load(context, read_by_s).run(url)
    except (TimeoutError, PlaywrightTimeout) as error:
        msg = "the page did not load in time"
        raise DeadlineExceeded(msg) from error
    except Error as error:
        if not browser.is_connected() or "crash" in str(error).lower():
            msg = "the browser crashed"
            raise Unavailable(msg) from error
        msg = "the page could not be shown"
        raise Unprocessable(msg) from error
    finally:
        if context is not None and not await _close(context):
            end_browser()


async def _close(context: BrowserContext) -> bool:
    """Close the context with its page, and tell whether that worked."""
    from playwright.async_api import Error

    try:
        async with asyncio.timeout(_CLOSE_TIMEOUT_S):
            await context.close()
    except (Error, TimeoutError):
        return False
    return True


class _Load:
    """The load of one page, with its open requests."""

    def __init__(self, context: BrowserContext, read_by_s: float) -> None:
        self._context, self._read_by_s = context, read_by_s
        self._open: set[Request] = set()
        self._navigations = 0
        self._closing: set[asyncio.Task[None]] = set()

    async def run(self, url: str) -> RenderedPage:
        page = self._page = await self._context.new_page()
        self._context.on("page", self._close_popup)
        page.on("request", self._opened)
        page.on("requestfinished", self._ended)
        page.on("requestfailed", self._ended)
        await self._context.route("**/*", self._route)
        left_s = max(0.01, self._read_by_s - time.monotonic())
        response = await page.goto(url, wait_until="commit", timeout=left_s * 1000)
        if response is not None and response.status >= _HTTP_ERROR:
            msg = f"the site answered the browser {response.status}"
            raise Unprocessable(msg)
        session = await self._context.new_cdp_session(page)
        await self._settle(session)
        html = await _evaluate(session, _HTML)
        if not isinstance(html, str) or not page.url.startswith(("http://", "https://")):
            msg = "the page could not be shown"
            raise Unprocessable(msg)
        return RenderedPage(page.url, html)

    def _opened(self, request: Request) -> None:
        self._open.add(request)

    def _ended(self, request: Request) -> None:
        self._open.discard(request)

    async def _settle(self, session: CDPSession) -> None:
        """Wait until text and requests have come to rest, or until the page must be read."""
        seen, since = None, time.monotonic()
        while (now := time.monotonic()) < self._read_by_s:
            state = await self._state(session)
            if self._open or state != seen:
                quiet_since = now
            if state != seen:
                seen, since = state, now
            ready, chars = state or ("loading", 0)
            if ready != "loading" and not self._open and now - quiet_since >= _QUIET_S:
                return
            if chars >= _ENOUGH_CHARS and now - since >= _BUSY_QUIET_S:
                return
            await asyncio.sleep(_POLL_S)

    async def _state(self, session: CDPSession) -> tuple[str, int] | None:
        """Return how far the document is; None while it is replaced by another."""
        from playwright.async_api import Error

        try:
            ready, chars = await _evaluate(session, _STATE)
        except (Error, TypeError, ValueError):
            if self._page.is_closed() or not self._context.browser:
                raise
            return None
        return str(ready), int(chars)

    async def _route(self, route: Route, request: Request) -> None:
        from playwright.async_api import Error

        try:
            if request.resource_type in _SKIPPED or not self._may_navigate(request):
                await route.abort()
            else:
                await route.continue_()
        except Error:  # the page has gone meanwhile
            await route.fallback()  # or Playwright waits for ever for an answer

    def _may_navigate(self, request: Request) -> bool:
        if not request.is_navigation_request() or request.frame != self._page.main_frame:
            return True
        self._navigations += 1
        return self._navigations <= _MAX_NAVIGATIONS

    def _close_popup(self, popup: Page) -> None:
        async def close() -> None:
            from playwright.async_api import Error

            with contextlib.suppress(Error):
                await popup.close()

        task = asyncio.create_task(close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


async def _evaluate(session: CDPSession, expression: str) -> Any:  # noqa: ANN401 - JSON
    """Evaluate in an isolated world, whose built-in functions the page cannot replace."""
    tree = await session.send("Page.getFrameTree")
    frame = tree["frameTree"]["frame"]["id"]
    world = await session.send(
        "Page.createIsolatedWorld", {"frameId": frame, "worldName": "genserve"}
    )
    result = await session.send(
        "Runtime.evaluate",
        {
            "expression": expression,
            "contextId": world["executionContextId"],
            "returnByValue": True,
        },
    )
    return result["result"].get("value")
