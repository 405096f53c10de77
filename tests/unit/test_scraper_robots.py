"""What robots.txt forbids is not read, and robots.txt is asked for once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from yarl import URL

from deployments.scraper.fetch import PageFailure, WebClient
from deployments.scraper.robots import RobotsBounds, RobotsRules
from deployments.scraper.session import open_session
from deployments.settings import ScraperSettings
from deployments.types import PageOutcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

RULES = """\
User-agent: *
Disallow: /private

User-agent: genserve
Disallow: /private
Disallow: /*.cgi$
"""


class Site:
    """Answers everything; `reply` is its robots.txt."""

    def __init__(self) -> None:
        self.port = 0
        self.reply: dict[str, Any] = {"text": RULES}
        self.hangs = False
        self.asked: list[str] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append(request.path)
        if request.path == "/to-private":
            return web.Response(status=302, headers={"Location": "/private/page"})
        if request.path != "/robots.txt":
            return web.Response(text="<p>a page</p>", content_type="text/html")
        if self.hangs:
            await asyncio.sleep(600)
        return web.Response(**self.reply)

    async def read(self, path: str, **bounds: Any) -> bytes:
        settings = ScraperSettings.model_validate(
            {"allowed_networks": ["127.0.0.0/8"], "allowed_ports": [self.port]}
        )
        async with open_session(settings) as session:
            client = WebClient(session, settings)
            robots = RobotsRules(
                client, settings.user_agent, RobotsBounds(**{"timeout_s": 30.0, **bounds})
            )
            reads = (
                client.download(self.url(path), {"text/html": 1_000}, robots.permit)
                for _ in range(3)
            )
            return (await asyncio.gather(*reads))[0].data

    def url(self, path: str) -> URL:
        return URL(f"http://127.0.0.1:{self.port}{path}")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    site = Site()
    app = web.Application()
    app.router.add_get("/{path:.*}", site.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    site.port = runner.addresses[0][1]
    yield site
    await runner.cleanup()


async def test_what_is_allowed_is_read_and_robots_asked_once(site: Site) -> None:
    assert b"a page" in await site.read("/public")
    assert site.asked.count("/robots.txt") == 1


@pytest.mark.parametrize("path", ["/private/page?x=1", "/run.cgi", "/to-private"])
async def test_what_is_disallowed_is_blocked_unread(site: Site, path: str) -> None:
    with pytest.raises(PageFailure) as caught:
        await site.read(path)
    assert caught.value.outcome is PageOutcome.BLOCKED
    assert "robots.txt" in caught.value.detail
    assert set(site.asked) <= {"/robots.txt", "/to-private"}


async def test_the_rules_for_another_robot_are_not_ours(site: Site) -> None:
    site.reply = {"text": "User-agent: otherbot\nDisallow: /\n"}
    assert b"a page" in await site.read("/public")


@pytest.mark.parametrize("status", [401, 404, 410])
async def test_a_site_without_robots_txt_allows_everything(site: Site, status: int) -> None:
    site.reply = {"status": status, "text": "User-agent: *\nDisallow: /"}
    assert b"a page" in await site.read("/private")


async def test_a_robots_txt_that_redirects_for_ever_is_none(site: Site) -> None:
    site.reply = {"status": 302, "headers": {"Location": "/robots.txt"}}
    assert b"a page" in await site.read("/private")


async def test_a_broken_robots_txt_forbids(site: Site) -> None:
    site.reply = {"status": 503}
    with pytest.raises(PageFailure) as caught:
        await site.read("/public")
    assert caught.value.outcome is PageOutcome.BLOCKED
    assert site.asked == ["/robots.txt"]


async def test_a_hanging_robots_txt_is_a_timeout(site: Site) -> None:
    site.hangs = True
    with pytest.raises(PageFailure) as caught:
        await site.read("/public", timeout_s=0.2)
    assert caught.value.outcome is PageOutcome.TIMEOUT
    assert "robots.txt" in caught.value.detail
    assert site.asked == ["/robots.txt"]


async def test_of_a_large_robots_txt_the_beginning_counts(site: Site) -> None:
    site.reply = {"text": "User-agent: *\nDisallow: /private\n" + "# padding\n" * 10_000}
    with pytest.raises(PageFailure):
        await site.read("/private", max_bytes=1_000)


async def test_what_is_kept_is_bounded_and_expires(site: Site) -> None:
    site.reply = {"text": RULES + "#" * 5_000}
    settings = ScraperSettings.model_validate(
        {"allowed_networks": ["127.0.0.0/8"], "allowed_ports": [site.port]}
    )
    for bounds in (RobotsBounds(cache_bytes=8_000), RobotsBounds(cache_s=0.000_001)):
        site.asked.clear()
        async with open_session(settings) as session:
            robots = RobotsRules(WebClient(session, settings), settings.user_agent, bounds)
            origins = [URL(f"http://127.0.0.{host}:{site.port}/") for host in (1, 1)]
            origins.insert(1, URL(f"http://localhost:{site.port}/"))
            for origin in origins:
                await robots.permit(origin)
        assert len(site.asked) == 3
