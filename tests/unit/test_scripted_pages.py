"""Pages that ask for scripts: which these are, and what becomes of them without a renderer."""

from __future__ import annotations

import time

import pytest
from yarl import URL

from deployments.errors import DeadlineExceeded, Overloaded, Unavailable, Unprocessable
from deployments.scraper.fetch import Download, PageFailure
from deployments.scraper.javascript import ScriptedPages, asks_for_scripts
from deployments.text.html import HtmlText, html_to_text
from deployments.types import PageOutcome, RenderedPage

pytestmark = pytest.mark.anyio

SCRIPT = "<script src=app.js></script>"
NOSCRIPT = "<noscript><p>Please enable JavaScript.</p></noscript>"
WORDS = "The harbour was dredged in 1911. "
RENDERED = f"<title>Harbour</title><main><p>{WORDS * 20}</p></main>"
SITE = "https://site.example/page"


@pytest.mark.parametrize(
    ("html", "chars", "asks"),
    [
        (f"<div id=root></div>{SCRIPT}", 0, True),
        (f"<p>Loading</p>{SCRIPT}", 7, True),
        (f"{NOSCRIPT}{SCRIPT}", 600, True),
        (f'<div class="x" id="__next"> </div>{SCRIPT}', 600, True),
        (f"<p>News</p>{SCRIPT}", 600, False),  # has its text
        (f"{NOSCRIPT}{SCRIPT}", 5000, False),
        ("<p>Short.</p>", 6, False),  # no scripts
        (f"{'<noscript><div ' * 100_000}{SCRIPT}", 600, False),  # and quickly
    ],
)
def test_a_page_asks_for_scripts(html: str, chars: int, *, asks: bool) -> None:
    started = time.process_time()
    assert asks_for_scripts(html.encode(), "x" * chars) is asks
    assert time.process_time() - started < 1


class Extractor:
    """Extracts in this process; the real one has its own tests."""

    async def extract(self, download: Download, owner: str = "") -> HtmlText:
        assert owner == "someone"
        page = html_to_text(download.data, download.charset)
        if not page.text:
            raise PageFailure(PageOutcome.EMPTY, "there is no text on the page")
        return page


class Renderer:
    def __init__(self, answer: RenderedPage | Exception) -> None:
        self.answer = answer
        self.asked: list[tuple[str, float]] = []

    async def check_health(self) -> None: ...

    async def render(self, url: str, timeout_s: float, owner: str = "") -> RenderedPage:
        assert owner == "someone"
        self.asked.append((url, timeout_s))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


async def permit(url: URL) -> None:
    if url.host == "closed.example":
        raise PageFailure(PageOutcome.BLOCKED, "the site's robots.txt does not allow it")


async def read(
    html: str, answer: RenderedPage | Exception, left_s: float = 8
) -> tuple[tuple[str, HtmlText, str], Renderer]:
    renderer = Renderer(answer)
    pages = ScriptedPages(renderer, Extractor(), permit)  # type: ignore[arg-type]
    download = Download(URL(f"{SITE}#top"), "text/html", "utf-8", html.encode())
    return await pages.read(download, "someone", time.monotonic() + left_s), renderer


async def test_the_rendered_page_is_read_with_time_left_to_extract_it() -> None:
    page = RenderedPage(f"{SITE}/moved#x", RENDERED)
    (url, found, detail), renderer = await read(f"<div id=root></div>{SCRIPT}", page)
    assert (url, found.title, detail) == (f"{SITE}/moved", "Harbour", "")
    assert WORDS.strip() in found.text
    ((asked, timeout_s),) = renderer.asked
    assert asked.startswith(SITE)
    assert 5 < timeout_s < 7


async def test_a_page_with_text_is_not_rendered() -> None:
    (_, found, detail), renderer = await read(f"<p>{WORDS * 20}</p>{SCRIPT}", Unavailable("away"))
    assert found.text
    assert (detail, renderer.asked) == ("", [])


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (Overloaded("full"), "too many pages"),
        (DeadlineExceeded("late"), "took too long"),
        (Unavailable("the browser crashed"), "not available"),
        (Unprocessable("the site answered the browser 503"), "answered the browser 503"),
        (RenderedPage("https://closed.example/", RENDERED), "robots.txt"),
    ],
)
async def test_a_page_that_is_not_rendered_is_the_static_one_and_says_so(
    answer: RenderedPage | Exception, says: str
) -> None:
    (url, found, detail), _ = await read(f"<p>Opens at nine.</p>{SCRIPT}", answer)
    assert (url, found.text) == (SITE, "Opens at nine.")
    assert says in detail
    with pytest.raises(PageFailure, match="scripts, which were not run") as empty:
        await read(f"<div id=root></div>{SCRIPT}", answer)
    assert empty.value.outcome is PageOutcome.EMPTY
    assert says in empty.value.detail


async def test_a_page_is_not_rendered_without_time_for_it() -> None:
    (_, _, detail), renderer = await read(
        f"<p>Opens at nine.</p>{SCRIPT}", RenderedPage(SITE, RENDERED), left_s=1
    )
    assert "no time was left" in detail
    assert renderer.asked == []


async def test_less_text_than_before_is_not_taken() -> None:
    (_, found, detail), _ = await read(f"<p>Opens at nine.</p>{SCRIPT}", RenderedPage(SITE, "<p>x"))
    assert (found.text, detail) == ("Opens at nine.", "")
