"""The web reader against a real server on the loopback, opened to it by a setting."""

from __future__ import annotations

import asyncio
import gzip
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from aiohttp import web

from deployments.chunk_batches import write_batches
from deployments.errors import Overloaded, Unavailable, Unprocessable
from deployments.file_store import FileStore
from deployments.scraper.extract import ExtractionBounds
from deployments.scraper.pdf_pages import PdfPages
from deployments.scraper.reader import WebReader
from deployments.settings import ScraperSettings
from deployments.types import Chunk, DocumentWarning, Page, PageOutcome, ParsedDocument, ParseSpec

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

MAX_PAGE_BYTES = 200_000
ARTICLE = (
    "<html><head><title>The harbour</title></head><body><article><h1>History</h1>"
    f"<p>{'The harbour was dredged in 1911. ' * 10}</p></article></body></html>"
)
HTML = {"Content-Type": "text/html"}
JSON = {"Content-Type": "application/ld+json"}


class Site:
    """A site that counts what is asked of it; `url` makes its addresses."""

    def __init__(self) -> None:
        self.port = 0
        self.asked: list[str] = []
        self.hanging = 0
        self.both_hang = asyncio.Event()
        self.nobody_hangs = asyncio.Event()
        self.together = asyncio.Barrier(3)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"

    @web.middleware
    async def count(self, request: web.Request, handler: Any) -> web.StreamResponse:
        self.asked.append(request.path)
        response: web.StreamResponse = await handler(request)
        return response

    async def hang(self, _: web.Request) -> web.Response:
        self.hanging += 1
        self.nobody_hangs.clear()
        if self.hanging == 2:
            self.both_hang.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.hanging -= 1
            if self.hanging == 0:
                self.nobody_hangs.set()
        raise AssertionError

    async def meet(self, _: web.Request) -> web.Response:
        await self.together.wait()
        return web.Response(text=ARTICLE, content_type="text/html")

    async def redirect(self, request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": request.query["to"]})

    async def hop(self, request: web.Request) -> web.Response:
        left = int(request.match_info["left"])
        return web.Response(
            status=301, headers={"Location": f"/hop/{left - 1}" if left else "/good"}
        )

    async def refresh(self, request: web.Request) -> web.Response:
        content = request.query.get("content", f"0; url={request.query.get('to')}")
        content = content.replace("SELF", str(request.rel_url))
        text = f'<meta http-equiv="Refresh" content="{content}"><p>Wait a moment, please.</p>'
        return web.Response(text=text + "<p>" + "Slow. " * 50, content_type="text/html")

    async def reloading_hop(self, request: web.Request) -> web.Response:
        left = int(request.match_info["left"])
        to = f"/meta-hop/{left - 1}" if left else "/good"
        if left % 2:
            return web.Response(status=302, headers={"Location": to})
        text = f"<base href='/'><meta http-equiv=refresh content=0;URL='{to}'>"
        return web.Response(text=text, content_type="text/html")

    async def drip(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers=HTML)
        await response.prepare(request)
        while True:
            await response.write(b"<p>more and more</p>" * 500)

    def routes(self) -> list[web.RouteDef]:
        bomb = gzip.compress(b"<p>" + b" " * 50_000_000)
        fixed: dict[str, dict[str, Any]] = {
            "/good": {"text": ARTICLE, "content_type": "text/html"},
            "/latin": {
                "body": "<title>Caf\u00e9</title><p>Cr\u00e8me</p>".encode("cp1252"),
                "headers": {"Content-Type": "text/html; charset=windows-1252"},
            },
            "/plain": {"text": "Just \u200bwords.", "content_type": "text/plain"},
            "/rows.csv": {"text": "name,watts\nLumo,47\nAnna,30\n", "content_type": "text/csv"},
            "/data.json": {"body": b'{"lamp":"Caf\\u00e9","watts":[47]}', "headers": JSON},
            "/deep.json": {"body": b"[" * 90_000, "headers": JSON},
            "/feed": {
                "body": "<?xml version='1.0' encoding='iso-8859-2'?><a>Łódź</a>".encode("latin2"),
                "headers": {"Content-Type": "application/atom+xml"},
            },
            "/broken": {"status": 500},
            "/large": {"body": b"x" * (MAX_PAGE_BYTES + 1), "headers": HTML},
            "/bomb": {"body": bomb, "headers": HTML | {"Content-Encoding": "gzip"}},
            "/not-gzip": {"body": b"hello", "headers": HTML | {"Content-Encoding": "gzip"}},
            "/image": {"body": b"\x89PNG", "headers": {"Content-Type": "image/png"}},
            "/untyped": {"body": b"hello", "headers": {"Content-Type": "application/octet-stream"}},
            "/nothing": {"body": b"", "headers": HTML},
            "/no-content": {"status": 204},
            "/blank": {"text": "<html><body><script>1</script></body></html>", "headers": HTML},
            "/paper": {"body": b"%PDF-", "headers": {"Content-Type": "application/pdf"}},
            "/endless.pdf": {"body": b"%PDF-", "headers": {"Content-Type": "application/pdf"}},
            "/busy.pdf": {"body": b"%PDF-", "headers": {"Content-Type": "application/pdf"}},
            "/scan.pdf": {"body": b"%PDF-", "headers": {"Content-Type": "application/pdf"}},
        }

        def always(reply: dict[str, Any]) -> Any:
            async def handler(_: web.Request) -> web.Response:
                return web.Response(**reply)

            return handler

        return [
            *(web.get(path, always(reply)) for path, reply in fixed.items()),
            web.get("/hang", self.hang),
            web.get("/meet", self.meet),
            web.get("/redirect", self.redirect),
            web.get("/hop/{left}", self.hop),
            web.get("/drip", self.drip),
            web.get("/refresh", self.refresh),
            web.get("/meta-hop/{left}", self.reloading_hop),
        ]


class PdfParser:
    """Stands in for the parser deployment, which has its own tests."""

    def __init__(self, files: FileStore) -> None:
        self.files = files
        self.begun = asyncio.Event()

    async def check_health(self) -> None: ...

    async def parse(self, spec: ParseSpec) -> ParsedDocument:
        assert await self.files.get(spec.path) == b"%PDF-"
        if spec.filename == "busy.pdf":
            raise Overloaded("too many files are waiting")
        if spec.filename == "scan.pdf":
            raise Unprocessable("the PDF has no text, only images")
        # The second chunk repeats the head of a table.
        second = Chunk(1, "First page.\nSecond page.", 3, 2, 2, "", "\n", len("First page.\n"))
        chunks = [Chunk(0, "First page.", 3, 1, 1), second]
        batches = await write_batches(self.files, spec.chunks_folder, chunks, 1)
        if spec.filename == "endless.pdf":
            self.begun.set()
            await asyncio.Event().wait()
        assert spec.filename == "paper.pdf"
        unread = (DocumentWarning("pages_without_text", "1 of 3 pages holds no text.", (3,)),)
        return ParsedDocument(
            "A paper", "application/pdf", 3, len(chunks), batches, warnings=unread
        )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


def left_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.name != "pages"]


@pytest.fixture(scope="module")
async def server() -> AsyncIterator[Site]:
    site = Site()
    app = web.Application(middlewares=[site.count])
    app.add_routes(site.routes())
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    tcp = web.TCPSite(runner, "127.0.0.1", 0)
    await tcp.start()
    site.port = runner.addresses[0][1]
    yield site
    await runner.cleanup()


@pytest.fixture
def site(server: Site) -> Site:
    server.asked.clear()
    return server


PATIENT: dict[str, Any] = {
    "extraction": ExtractionBounds(timeout_s=60),
    "max_page_bytes": MAX_PAGE_BYTES,
}


def opened(site: Site, **changes: Any) -> ScraperSettings:
    return ScraperSettings.model_validate(
        {
            "allowed_networks": ["127.0.0.0/8"],
            "allowed_ports": [site.port],
            "respect_robots": False,
            # A busy machine is no reason for a test to fail; what must hang has its own reader.
            "page_timeout_s": 60,
        }
        | changes
    )


@pytest.fixture(scope="module")
async def parser(folder: Path) -> PdfParser:
    return PdfParser(FileStore(str(folder)))


@pytest.fixture(scope="module")
async def reader(server: Site, parser: PdfParser) -> AsyncIterator[WebReader]:
    pdfs = PdfPages(parser, parser.files)
    async with WebReader(opened(server), pdfs, **PATIENT) as reader:
        yield reader


async def read(reader: WebReader, url: str) -> Page:
    (page,) = await reader.fetch([url])
    assert page.url == url
    assert "127.0.0.1" not in page.detail
    if page.outcome is not PageOutcome.OK:
        assert page.detail
        assert page.text == ""
    return page


async def test_a_good_page(reader: WebReader, site: Site) -> None:
    page = await read(reader, site.url("/good?q=1#history"))
    assert page.outcome is PageOutcome.OK
    assert page.title == "The harbour"
    assert "dredged in 1911" in page.text
    assert "<p>" not in page.text
    assert page.final_url == site.url("/good?q=1")
    assert page.elapsed_s > 0


async def test_charset_of_the_header(reader: WebReader, site: Site) -> None:
    page = await read(reader, site.url("/latin"))
    assert (page.title, page.text) == ("Café", "Crème")


async def test_plain_text(reader: WebReader, site: Site) -> None:
    assert (await read(reader, site.url("/plain"))).text == "Just words."


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/rows.csv", "name,watts\nLumo,47\nAnna,30"),
        ("/data.json", '{\n "lamp": "Café",\n "watts": [\n  47\n ]\n}'),
        ("/deep.json", "[" * 90_000),
        ("/feed", "<?xml version='1.0' encoding='iso-8859-2'?><a>Łódź</a>"),
    ],
)
async def test_data_is_read_as_text(reader: WebReader, site: Site, path: str, text: str) -> None:
    assert (await read(reader, site.url(path))).text == text


async def test_a_pdf_is_read_by_the_parser_and_leaves_no_file(
    reader: WebReader, site: Site, folder: Path
) -> None:
    page = await read(reader, site.url("/paper"))
    assert page.outcome is PageOutcome.OK
    assert (page.title, page.text) == ("A paper", "First page.\nSecond page.")
    assert page.detail == "1 of 3 pages holds no text."
    assert left_in(folder) == []
    assert (await read(reader, site.url("/scan.pdf"))).outcome is PageOutcome.EMPTY
    assert left_in(folder) == []


async def test_a_cancelled_pdf_leaves_no_file(
    reader: WebReader, site: Site, parser: PdfParser, folder: Path
) -> None:
    task = asyncio.create_task(reader.fetch([site.url("/endless.pdf")]))
    await asyncio.wait_for(parser.begun.wait(), 30)
    assert left_in(folder) != []
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert left_in(folder) == []


@pytest.mark.parametrize(
    ("path", "outcome", "words"),
    [
        ("/missing", PageOutcome.HTTP_ERROR, "404 Not Found"),
        ("/broken", PageOutcome.HTTP_ERROR, "500"),
        ("/large", PageOutcome.TOO_LARGE, "0.2 MB"),
        ("/drip", PageOutcome.TOO_LARGE, "0.2 MB"),
        ("/bomb", PageOutcome.TOO_LARGE, "0.2 MB"),
        ("/not-gzip", PageOutcome.UNREACHABLE, ""),
        ("/image", PageOutcome.UNSUPPORTED_TYPE, "image/png"),
        ("/untyped", PageOutcome.UNSUPPORTED_TYPE, ""),
        ("/nothing", PageOutcome.EMPTY, ""),
        ("/no-content", PageOutcome.EMPTY, ""),
        ("/blank", PageOutcome.EMPTY, ""),
        ("/scan.pdf", PageOutcome.EMPTY, "only images"),
        ("/busy.pdf", PageOutcome.UNREACHABLE, "cannot be read for now"),
    ],
)
async def test_what_cannot_be_read_says_why(
    reader: WebReader, site: Site, path: str, outcome: PageOutcome, words: str
) -> None:
    page = await read(reader, site.url(path))
    assert page.outcome is outcome
    assert words in page.detail


async def test_redirects_are_followed_up_to_their_bound(reader: WebReader, site: Site) -> None:
    page = await read(reader, site.url("/hop/4"))
    assert page.outcome is PageOutcome.OK
    assert page.final_url == site.url("/good")
    page = await read(reader, site.url("/hop/5"))
    assert page.outcome is PageOutcome.HTTP_ERROR
    assert "5 times" in page.detail


@pytest.mark.parametrize(
    "target",
    [
        "http://10.0.0.1:{port}/",
        "http://[::1]:{port}/",
        "http://169.254.169.254:{port}/latest/meta-data",
        "http://127.0.0.1:22/",
        "http://user:secret@127.0.0.1:{port}/good",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:text/html,here",
        "http://[::1",
    ],
)
@pytest.mark.parametrize("kind", ["redirect", "refresh"])
async def test_a_redirect_is_checked_like_any_other_url(
    reader: WebReader, site: Site, target: str, kind: str
) -> None:
    page = await read(reader, site.url(f"/{kind}?to={target.format(port=site.port)}"))
    assert page.outcome is PageOutcome.BLOCKED
    assert page.final_url == ""
    assert site.asked == [f"/{kind}"]


async def test_a_page_that_refreshes_to_another_counts_as_a_redirect(
    reader: WebReader, site: Site
) -> None:
    page = await read(reader, site.url("/meta-hop/4"))
    assert page.outcome is PageOutcome.OK
    assert page.final_url == site.url("/good")
    page = await read(reader, site.url("/meta-hop/5"))
    assert page.outcome is PageOutcome.HTTP_ERROR
    assert "5 times" in page.detail
    page = await read(reader, site.url("/refresh?to=/refresh?to=x"))
    assert page.outcome is PageOutcome.HTTP_ERROR  # x does not exist
    page = await read(reader, site.url("/refresh?to=/paper"))
    assert page.title == "A paper"


@pytest.mark.parametrize(
    "content",
    ["300", "0", "3; url=", "99;url=/good", "0; url=SELF#top", "x; url=/good"],
)
async def test_a_page_that_reloads_or_stays_is_read(
    reader: WebReader, site: Site, content: str
) -> None:
    here = "content=" + quote(content)
    page = await read(reader, site.url(f"/refresh?{here}"))
    assert page.outcome is PageOutcome.OK
    assert "Wait a moment" in page.text


@pytest.mark.parametrize("url", ["", "http://", "http://[::1", "http://a:999999/", "nonsense"])
async def test_what_is_no_url_is_blocked(reader: WebReader, url: str) -> None:
    assert (await read(reader, url)).outcome is PageOutcome.BLOCKED


async def test_pages_are_read_at_the_same_time(reader: WebReader, site: Site) -> None:
    # Each is answered only once all three have been asked for.
    pages = await reader.fetch([site.url(f"/meet?{number}") for number in range(3)])
    assert [page.outcome for page in pages] == [PageOutcome.OK] * 3


async def test_equal_urls_are_read_once_and_too_many_not_at_all(
    reader: WebReader, site: Site
) -> None:
    urls = [site.url(f"/good?{number}") for number in (0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0)]
    pages = await reader.fetch(urls)
    assert [page.url for page in pages] == urls
    assert pages[9].outcome is PageOutcome.BLOCKED
    assert "first 8 pages" in pages[9].detail
    assert all(page.outcome is PageOutcome.OK for page in pages[:9] + pages[10:])
    assert len(site.asked) == 8


async def test_no_urls(reader: WebReader) -> None:
    assert await reader.fetch([]) == []


async def test_cancelling_ends_everything_at_once(reader: WebReader, site: Site) -> None:
    task = asyncio.create_task(reader.fetch([site.url("/hang?1"), site.url("/hang?2")]))
    await asyncio.wait_for(site.both_hang.wait(), 30)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.wait_for(site.nobody_hangs.wait(), 30)


async def test_pages_that_hang_or_are_missing_do_not_hurt_a_good_one(site: Site) -> None:
    async with WebReader(opened(site, page_timeout_s=2), **PATIENT) as reader:
        urls = [site.url(path) for path in ("/hang", "/good", "/missing", "/paper")]
        hung, good, missing, paper = await reader.fetch(urls)
        await reader.check_health()
    with pytest.raises(Unavailable):
        await reader.check_health()
    assert hung.outcome is PageOutcome.TIMEOUT
    assert "2 s" in hung.detail
    assert 2 <= hung.elapsed_s < 30
    assert good.outcome is PageOutcome.OK
    assert missing.outcome is PageOutcome.HTTP_ERROR
    # No parser was given to this one.
    assert paper.outcome is PageOutcome.UNSUPPORTED_TYPE
    assert "application/pdf" in paper.detail
