"""The renderer with a real Chromium: what it reads, and what it can be made to connect to."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from deployments.errors import ServiceError
from deployments.renderer.proxy import TrafficBounds
from deployments.renderer.renderer import PageRenderer
from deployments.settings import RendererSettings, ScraperSettings
from deployments.types import RenderedPage
from tests.support.renderer_site import LEAVE, SITE, Canaries, Site, resolve_names, serve_site

pytestmark = pytest.mark.anyio

MEMORY_BYTES = 4 * 1024**3  # the pages that attack open some hundred frames
MANY = TrafficBounds(max_connections=2000)
# Names and spellings of addresses that are not allowed; {port} is also the port of the site.
FORBIDDEN = ("127.0.0.1:{port}", "inside.example:{port}", f"{SITE}:{{other_port}}")
OTHER_SPELLINGS = (
    "localhost:{port}",
    "[::1]:{port}",
    "0x7f000001:{port}",
    "0.0.0.0:{port}",
    "[::ffff:127.0.0.1]:{port}",
)
COMMON = "fetch websocket iframe script css-import worker-fetch"


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def web() -> AsyncIterator[tuple[Site, Canaries]]:
    async with serve_site() as served:
        yield served


@pytest.fixture(scope="module")
def site(web: tuple[Site, Canaries]) -> Site:
    return web[0]


@pytest.fixture
def canaries(web: tuple[Site, Canaries]) -> Canaries:
    web[1].heard.clear()
    return web[1]


@pytest.fixture(autouse=True)
def lookups(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    return resolve_names(monkeypatch)


def renderer(site: Site, *networks: str, ports: tuple[int, ...] = (), **more: Any) -> PageRenderer:
    scraper = ScraperSettings.model_validate(
        {"allowed_networks": [f"{SITE}/32", *networks], "allowed_ports": [site.port, *ports]}
    )
    settings = RendererSettings(page_timeout_s=40, max_pages=4, memory_bytes=MEMORY_BYTES)
    return PageRenderer(settings, scraper, **more)


async def attempt(reader: PageRenderer, url: str) -> RenderedPage | ServiceError:
    try:
        return await reader.render(url, 40)
    except ServiceError as error:
        return error


async def attack(reader: PageRenderer, site: Site, target: str, **only: str) -> set[str]:
    """Show the page that tries everything against one target; return what it tried."""
    url = site.url("/attack", target=f"http://{target}", leave=" ".join(LEAVE), **only)
    page = await attempt(reader, url)
    assert isinstance(page, RenderedPage), page
    begun = re.search(r'id="begun">([^<]*)<', page.html)
    assert begun is not None
    return set(begun[1].split())


async def test_nothing_on_a_forbidden_address_is_connected_to(
    site: Site, canaries: Canaries, lookups: list[str]
) -> None:
    ports = {"port": site.port, "other_port": canaries.other_port}
    # First with the addresses opened, to see which tries are real.
    opened = renderer(site, "127.0.0.0/8", "::1/128", traffic=MANY, own_network=False)
    async with opened:
        tried = await attack(opened, site, f"127.0.0.1:{site.port}")
    reached = {each.rpartition("/")[2] for each in canaries.heard}
    assert len(tried) >= 70
    assert len(reached & tried) >= 30, sorted(tried - reached)
    assert "form" in reached and "location" in reached
    canaries.heard.clear()
    # Then as it is: flags and proxy alone, without the network namespace behind them.
    async with renderer(site, traffic=MANY, own_network=False) as closed:
        targets = [target.format(**ports) for target in (*FORBIDDEN, *OTHER_SPELLINGS)]
        whole = len(FORBIDDEN)
        inside = f"http://127.0.0.1:{site.port}/inside"
        leaving = [site.url(f"/leave/{way}", url=inside) for way in ("location", "form")]
        leaving += [site.url("/to", url=inside), site.url("/refresh-header", url=inside)]
        leaving += [site.url("/plain", "rebinding.example"), site.url("/plain", "mixed.example")]
        leaving += [f"http://{target}/direct" for target in targets[:2]]
        leaving += ["http://169.254.169.254/latest/meta-data/", "file:///etc/hostname"]
        begun = [await attack(closed, site, target) for target in targets[:whole]]
        spelled = [attack(closed, site, target, only=COMMON) for target in targets[whole:]]
        assert await asyncio.gather(*spelled) == [set(COMMON.split())] * len(OTHER_SPELLINGS)
        shown = await asyncio.gather(*(attempt(closed, url) for url in leaving))
    assert begun == [tried] * whole
    assert canaries.heard == []
    texts = [page.html for page in shown if isinstance(page, RenderedPage)]
    assert not any("secret" in text for text in texts)
    assert sum("No scripts here" in text for text in texts) == 2
    assert lookups.count("inside.example") > 10
