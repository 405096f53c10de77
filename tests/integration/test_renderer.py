"""The renderer with a real Chromium: what it reads, and what it can be made to connect to."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from deployments.errors import DeadlineExceeded, ServiceError, Unavailable
from deployments.renderer import launcher
from deployments.renderer.page_load import MAX_HTML_CHARS
from deployments.renderer.proxy import TrafficBounds
from deployments.renderer.renderer import PageRenderer
from deployments.scraper.reader import WebReader
from deployments.settings import RendererSettings, ScraperSettings
from deployments.types import PageOutcome, RenderedPage
from tests.support.renderer_site import (
    LEAVE,
    SITE,
    Canaries,
    Site,
    resolve_names,
    serve_site,
    take_for_public,
)

pytestmark = [pytest.mark.anyio, pytest.mark.long]

MEMORY_BYTES = 4 * 1024**3  # the pages that attack open some hundred frames
MANY = TrafficBounds(max_connections=2000)
# Names and spellings of addresses that are not allowed; {port} is also the port of the site.
FORBIDDEN = ("127.0.0.1:{port}", "inside.example:{port}")
OTHER_SPELLINGS = (
    f"{SITE}:{{other_port}}",
    "127.0.0.3:{port}",
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
    take_for_public(monkeypatch, SITE)
    return resolve_names(monkeypatch)


def settings_of(site: Site, *networks: str) -> ScraperSettings:
    opened = {"allowed_networks": [f"{SITE}/32", *networks], "allowed_ports": [site.port]}
    return ScraperSettings.model_validate(opened | {"page_timeout_s": 40})


def renderer(
    site: Site, *networks: str, memory_bytes: int = MEMORY_BYTES, **more: Any
) -> PageRenderer:
    scraper = settings_of(site, *networks)
    settings = RendererSettings(page_timeout_s=40, max_pages=4, memory_bytes=memory_bytes)
    return PageRenderer(settings, scraper, **more)


async def attempt(
    reader: PageRenderer, url: str, timeout_s: float = 40
) -> RenderedPage | ServiceError:
    try:
        return await reader.render(url, timeout_s)
    except ServiceError as error:
        return error


def of_process(pid: int) -> tuple[str, str]:
    """Return the status and the environment of a process."""
    files = (Path(f"/proc/{pid}/{name}") for name in ("status", "environ"))
    status, environment = (each.read_bytes().decode("utf-8", "replace") for each in files)
    return status, environment


async def attack(reader: PageRenderer, site: Site, target: str, **only: str) -> set[str]:
    """Show the page that tries everything against one target; return what it tried."""
    url = site.url("/attack", target=f"http://{target}", leave=" ".join(LEAVE), **only)
    page = await attempt(reader, url)
    assert isinstance(page, RenderedPage), page
    begun = re.search(r'id="begun">([^<]*)<', page.html)
    assert begun is not None
    return set(begun[1].split())


async def test_nothing_on_a_forbidden_address_is_connected_to(
    site: Site, canaries: Canaries, lookups: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ports = {"port": site.port, "other_port": canaries.other_port}
    # First with the address as a public one, to see which tries are real.
    take_for_public(monkeypatch, SITE, "127.0.0.1")
    async with renderer(site, traffic=MANY, own_network=False) as opened:
        tried = await attack(opened, site, f"127.0.0.1:{site.port}")
    reached = {each.rpartition("/")[2] for each in canaries.heard}
    assert len(tried) >= 70
    assert len(reached & tried) >= 30, sorted(tried - reached)
    assert {"form", "location"} <= reached
    canaries.heard.clear()
    # Then as it is: flags and proxy alone, without the network namespace behind them. Scripts must
    # not even reach a network that the operator has opened.
    take_for_public(monkeypatch, SITE)
    async with renderer(site, "127.0.0.3/32", traffic=MANY, own_network=False) as closed:
        targets = [target.format(**ports) for target in (*FORBIDDEN, *OTHER_SPELLINGS)]
        whole = len(FORBIDDEN)
        inside = f"http://127.0.0.1:{site.port}/inside"
        leaving = [site.url(f"/leave/{way}", url=inside) for way in ("location", "form")]
        leaving += [site.url("/to", url=inside), site.url("/refresh-header", url=inside)]
        again = f"http://rebinding.example:{site.port}/plain"
        leaving += [site.url("/leave/location", "rebinding.example", url=again)]
        leaving += [site.url("/plain", "mixed.example")]
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
    assert lookups.count("rebinding.example") == 1


async def test_the_network_of_the_browser_has_nothing_but_the_proxy(
    site: Site, canaries: Canaries, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without its default, Playwright has the browser connect to loopback past the proxy.
    monkeypatch.setenv("PLAYWRIGHT_DISABLE_FORCED_CHROMIUM_PROXIED_LOOPBACK", "1")
    async with renderer(site) as reader:
        tried = await attack(reader, site, f"127.0.0.1:{site.port}", only=COMMON)
        (status,) = await asyncio.gather(attempt(reader, site.url("/plain")))
    assert tried == set(COMMON.split())
    assert isinstance(status, RenderedPage)
    assert canaries.heard == []


async def test_pages_are_read_within_their_bounds(site: Site) -> None:
    async with renderer(site) as reader:
        shop = await reader.render(site.url("/shop"), 30)
        assert shop.url == site.url("/shop")
        assert "closes at half past six" in shop.html
        started = time.monotonic()
        endless = await attempt(reader, site.url("/endless"), 5)
        loops = await attempt(reader, site.url("/loops"), 3)
        assert time.monotonic() - started < 12
        moves, large = await asyncio.gather(
            *(attempt(reader, site.url(path)) for path in ("/moves", "/large"))
        )
        assert isinstance(endless, RenderedPage)
        assert "Entry 3" in endless.html
        assert isinstance(loops, DeadlineExceeded)
        assert isinstance(moves, ServiceError)
        assert isinstance(large, RenderedPage)
        assert len(large.html) == MAX_HTML_CHARS


async def test_a_page_made_by_scripts_is_read_by_the_scraper(site: Site) -> None:
    settings = settings_of(site)
    async with renderer(site) as rendering, WebReader(settings, None, rendering) as reader:
        shop, plain, missing = await reader.fetch(
            [site.url("/shop"), site.url("/plain"), site.url("/missing")]
        )
        await rendering.close()
        (away,) = await reader.fetch([site.url("/shop")])
    assert (shop.outcome, shop.title, shop.detail) == (PageOutcome.OK, "Opening hours", "")
    assert "closes at half past six" in shop.text
    assert (plain.outcome, plain.detail) == (PageOutcome.OK, "")
    assert missing.outcome is PageOutcome.HTTP_ERROR
    assert "the renderer is not available" in away.detail


async def test_memory_is_bounded_and_a_crash_is_survived(site: Site) -> None:
    async with renderer(site, memory_bytes=512 * 1024**2) as reader:
        await attempt(reader, site.url("/allocates"))
        chromium = reader._chromium
        assert chromium is not None
        assert chromium.peak_bytes < 900 * 1024**2
        endless = asyncio.create_task(attempt(reader, site.url("/endless")))
        await asyncio.sleep(1)
        chromium.kill()
        assert isinstance(await endless, Unavailable)
        shop = await reader.render(site.url("/shop"), 30)
        assert "closes at half past six" in shop.html
        assert reader._chromium is not chromium


async def test_chromium_keeps_its_sandbox_and_gives_up_root(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENSERVE_API_KEYS", "someone:secret")
    async with renderer(site) as reader:
        chromium = reader._chromium
        assert chromium is not None
        status, environment = of_process(chromium._pid)
        page = await chromium.browser.new_page()
        await page.goto("chrome://sandbox")
        text = await page.inner_text("body")
    assert "You are adequately sandboxed." in text
    assert not re.search(r"^Uid:.*\b0\b", status, re.MULTILINE)
    assert "NoNewPrivs:\t1" in status
    assert "GENSERVE" not in environment


REFUSED = """
import sys
sys.path.insert(0, {folder!r})
import launcher
def refuse(*_, **more):
    raise OSError(1, "unshare: refused")
launcher._call = refuse
launcher.main(sys.argv[1:])
"""


@pytest.fixture
def refused_namespaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the launcher see a kernel that refuses namespaces."""
    program = tmp_path / "refused.py"
    program.write_text(REFUSED.format(folder=str(Path(launcher.__file__).parent)))
    monkeypatch.setattr(launcher, "__file__", str(program))


async def test_a_browser_that_cannot_be_isolated_is_not_started(
    site: Site, refused_namespaces: None
) -> None:
    with pytest.raises(Unavailable, match="cannot be isolated and is not started: unshare"):
        await renderer(site).start()
