"""The web page in a real browser: used as a person uses it, and fed what should never run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Route, expect

from tests.support.browser import Visit, chromium
from tests.support.service import Service

FOLDER = Path(__file__).parents[2] / "serve_app" / "page"
MAX_BYTES = 150_000
PHONE = {"width": 360, "height": 740}
LONG_ANSWER = "Count from 1 to 500 in words, each number on a line of its own."
TORNHOLM = """# The engine of Tornholm

The zephyr engine of Tornholm runs on fermented lichen, and has done so since 1921. The lichen is
gathered in October and lies in barrels of oak until the spring.
"""
HOSTILE = """# Quillon <script>window.__pwned = 1</script>

The quillon moss of Vardal glows <img src="x" onerror="window.__pwned = 2"> in the dark.
[Read on](javascript:window.__pwned=3) ![glow](http://evil.example/glow.png)
<iframe src="http://evil.example/"></iframe> <svg onload="window.__pwned = 4"></svg>
"""
HOSTILE_ANSWER = """Hello
<script>window.__pwned = 1</script> <img src=x onerror="window.__pwned = 2">

[a](javascript:window.__pwned=3) [b](JaVaScRiPt:alert(1)) [c](data:text/html,<script>1</script>)
![remote](http://evil.example/a.png) [d](vbscript:x) <javascript:alert(1)> [e](//evil.example/)
<a href="javascript:window.__pwned=4">f</a> <style>* { display: none }</style>

> - <iframe src="http://evil.example/"></iframe>

| <img src="http://evil.example/b.png"> | ![c](http://evil.example/c.png) |
|---|---|
| [x](javascript:alert(1)) | <svg onload="window.__pwned = 5"> |

[harmless](https://example.com/page) and a source [1].

```html"><script>window.__pwned = 6</script>
<script src="http://evil.example/d.js"></script>
"""


@pytest.fixture(scope="module")  # while it runs, nothing else in this thread may use asyncio
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def arrive(browser: Browser, service: Service) -> Iterator[Callable[..., Visit]]:
    """Someone who comes to the page; nothing unforeseen may have happened when they leave."""
    visits: list[Visit] = []

    def come(**options: Any) -> Visit:
        visit = Visit(browser.new_context(**options).new_page(), service.url)
        visits.append(visit)
        visit.open()
        return visit

    yield come
    problems = [problem for visit in visits for problem in visit.problems]
    for visit in visits:
        visit.page.context.close()
    assert problems == []


@pytest.fixture
def come(arrive: Callable[..., Visit], service: Service) -> Callable[..., Visit]:
    """Someone who comes and gives the key that the page asks for."""

    def come(**options: Any) -> Visit:
        visit = arrive(**options)
        visit.give_key(service.key)
        expect(visit.page.locator("#settings")).to_be_hidden()
        return visit

    return come


@pytest.fixture
def visit(come: Callable[..., Visit]) -> Visit:
    return come()


def answer(visit: Visit) -> Locator:
    """The last answer, once it is whole."""
    last = visit.page.locator(".turn.answer").last
    expect(last).not_to_have_attribute("aria-busy", "true", timeout=120_000)
    return last


def make_collection(visit: Visit, name: str) -> None:
    visit.go("Documents")
    visit.page.get_by_role("button", name="New …").click()
    visit.page.get_by_label("Name", exact=True).fill(name)
    visit.page.get_by_role("button", name="Create").click()
    expect(visit.page.locator("#show-collection option:checked")).to_have_text(name)


def searchable(visit: Visit, name: str, content: str) -> None:
    visit.drop(name, content)
    row = visit.page.locator(".upload", has_text=name)
    expect(row).to_contain_text("Searchable", timeout=120_000)


def stream(*texts: str, **first: Any) -> str:
    """A body of server-sent events as the service sends it."""
    chunks: list[dict[str, Any]] = [{"choices": [{"delta": {"content": ""}}], **first}]
    chunks += [{"choices": [{"delta": {"content": text}}]} for text in texts]
    chunks += [{"choices": [{"delta": {}, "finish_reason": "stop"}], "cited": [1], "timings": {}}]
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


def answered(visit: Visit, text: str) -> None:
    """Have every question answered with a text, in small pieces, from one hostile source."""
    source = {
        "id": 1,
        "kind": "page",
        "title": "<img src=x onerror=window.__pwned=7>",
        "uri": "javascript:window.__pwned=8",
        "page": None,
        "page_end": None,
        "section": "<b>bold</b>",
        "score": None,
        "text": HOSTILE,
    }
    warning = {"code": "x", "message": "<i>slow</i>", "url": "javascript:alert(1)"}
    pieces = [text[at : at + 7] for at in range(0, len(text), 7)]
    body = stream(*pieces, sources=[source], pages=[], warnings=[warning])

    def fulfil(route: Route) -> None:
        route.fulfill(content_type="text/event-stream", body=body)

    visit.page.route("**/v1/chat/completions", fulfil)


def assert_harmless(visit: Visit, part: Locator) -> None:
    assert visit.evaluate("window.__pwned") is None
    assert part.locator("script, img, iframe, style, object, embed, form, link").count() == 0
    # All that is drawn there are the page's own symbols.
    assert part.locator("svg:not(.icon)").count() == 0
    hrefs = part.locator("a").evaluate_all("links => links.map(link => link.href)")
    assert [href for href in hrefs if not re.match("(https?|mailto):", href)] == []
    listening = "nodes => nodes.filter(n => [...n.attributes].some(a => /^on/.test(a.name))).length"
    assert part.locator("*").evaluate_all(listening) == 0


def test_a_dropped_document_is_asked_about_and_its_passage_shown(visit: Visit) -> None:
    page = visit.page
    make_collection(visit, "Engines & <b>more</b>")
    searchable(visit, "tornholm.md", TORNHOLM)
    expect(page.locator("#documents-list")).to_contain_text("tornholm.md")
    page.get_by_role("button", name="Ask about it").click()
    # What is seen while it may still be stopped.
    visit.evaluate(
        """() => {
            window.seen = new Set();
            const look = () => {
                const text = document.querySelector(".answer .prose")?.textContent ?? "";
                if (text && !document.querySelector("#stop").hidden) window.seen.add(text.length);
            };
            const all = { childList: true, subtree: true, characterData: true };
            new MutationObserver(look).observe(document.querySelector("#turns"), all);
        }"""
    )
    visit.ask("What does the zephyr engine of Tornholm run on? Tell a long story of it, in detail.")
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_visible()
    last = answer(visit)
    assert len(visit.evaluate("[...window.seen]")) >= 2
    expect(page.get_by_role("button", name="Stop", exact=True)).to_be_hidden()
    last.locator(".source").first.click()
    panel = page.locator("#source")
    expect(panel.locator(".passage")).to_contain_text("fermented lichen")
    expect(panel).to_contain_text("The engine of Tornholm")
    page.keyboard.press("Escape")
    expect(panel).to_be_hidden()
    last.locator("summary").click()
    expect(last).to_contain_text("First token")
    text = last.locator(".prose").inner_text()
    page.reload()
    assert answer(visit).locator(".prose").inner_text() == text
    visit.go("Documents")
    page.get_by_role("button", name="Delete tornholm.md").click()
    page.locator("#ask").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("No documents here yet")).to_be_visible()
    page.get_by_role("button", name="Delete collection").click()
    page.locator("#ask").get_by_role("button", name="Delete").click()
    expect(page.locator("#show-collection")).to_have_value("default")


def test_a_file_that_is_refused_says_why(arrive: Callable[..., Visit], service: Service) -> None:
    visit = arrive()
    visit.give_key(service.key)
    visit.drop("pictures.zip", "PK\x03\x04 no document")
    row = visit.page.locator(".upload", has_text="pictures.zip")
    expect(row).to_have_attribute("data-state", "failed")
    expect(row).to_contain_text("PDF")
    # Chromium logs what is refused; this time it had to be.
    (logged,) = visit.problems
    assert "status of 415" in logged
    visit.problems.clear()


def test_a_job_is_cancelled(visit: Visit) -> None:
    visit.go("Images")
    page = visit.page
    page.get_by_label("What should the picture show?").fill("a red circle")
    page.get_by_label("Pictures").fill("90")
    page.get_by_label("Steps").fill("50")
    page.get_by_role("button", name="Make").click()
    expect(page.locator(".pictures").first).to_contain_text("90 pictures")
    visit.go("Jobs")
    row = page.locator(".job").first
    expect(row).to_contain_text("running")
    row.get_by_role("button", name="Cancel").click()
    expect(row.locator(".badge")).to_have_text("cancelled")
    expect(row.get_by_role("button")).to_be_hidden()


def test_a_picture_is_made_and_seen(visit: Visit) -> None:
    visit.go("Images")
    page = visit.page
    words = "a large red circle on a blue background"
    page.get_by_label("What should the picture show?").fill(words)
    page.get_by_label("Pictures").fill("2")
    page.get_by_label("Seed").fill("7")
    page.keyboard.press("Enter")
    card = page.locator(".pictures").first
    expect(card).to_contain_text(words)
    # A frame is there before its picture is: `decode()` of one without a source is an error.
    images = card.locator("img[src^='blob:']")
    expect(images).to_have_count(2, timeout=120_000)
    expect(card).to_have_attribute("data-state", "succeeded")
    for image in images.all():
        image.evaluate("image => image.decode()")
        assert image.evaluate("image => image.naturalWidth") > 0
    card.get_by_role("button", name="Open picture 2").click()
    viewer = page.locator("#viewer")
    expect(viewer).to_contain_text(words)
    expect(viewer).to_contain_text("seed 8")
    viewer.locator("img[src^='blob:']").evaluate("image => image.decode()")
    with page.expect_download() as download:
        viewer.get_by_role("link", name="Download").click()
    assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")
    page.keyboard.press("Escape")
    page.reload()  # the gallery has it from the service
    expect(page.locator(".pictures").first.locator("img[src^='blob:']")).to_have_count(2)


def test_a_hostile_document_neither_runs_nor_loads(visit: Visit) -> None:
    make_collection(visit, "<img src=x onerror=window.__pwned=9>")
    searchable(visit, '"><img src=x onerror=window.__pwned=6>.md', HOSTILE)
    assert_harmless(visit, visit.page.locator("#documents-list"))
    visit.go("Chat")
    visit.ask("What does the quillon moss of Vardal do in the dark?")
    last = answer(visit)
    assert_harmless(visit, last)
    last.locator(".source").first.click()
    passage = visit.page.locator("#source .passage")
    expect(passage).to_contain_text("quillon moss")
    assert passage.locator("*").count() == 0
    assert_harmless(visit, visit.page.locator("#source"))
    visit.page.keyboard.press("Escape")
    visit.go("Jobs")
    expect(visit.page.locator(".job").first).to_contain_text("onerror")
    assert_harmless(visit, visit.page.locator("#jobs-list"))


def test_a_hostile_answer_neither_runs_nor_loads(visit: Visit) -> None:
    answered(visit, HOSTILE_ANSWER)
    visit.ask("Hello <img src=x onerror=window.__pwned=10>")
    last = answer(visit)
    expect(last).to_contain_text("window.__pwned = 1")  # shown as what it is
    expect(last).to_contain_text("remote")
    assert_harmless(visit, visit.page.locator("#turns"))
    link = last.get_by_role("link", name="harmless")
    assert link.get_attribute("href") == "https://example.com/page"
    assert link.get_attribute("rel") == "noopener noreferrer nofollow"
    last.get_by_role("button", name="Source 1").first.click()
    expect(visit.page.locator("#source .passage")).to_contain_text("<script>")
    assert_harmless(visit, visit.page.locator("#source"))
    visit.page.keyboard.press("Escape")
    visit.page.reload()  # what was kept is as harmless
    expect(answer(visit)).to_contain_text("window.__pwned = 1")
    assert_harmless(visit, visit.page.locator("#turns"))


def test_a_long_answer_is_whole_and_leaves_the_scroll_where_it_is(visit: Visit) -> None:
    text = "".join(f"- item **{number}**\n" for number in range(1500)) + "\n```\nopen\n"
    answered(visit, text)
    visit.ask("A long list, please.")
    last = answer(visit)
    assert last.locator("li li, .prose > ul > li").count() == 1500
    assert last.locator("pre").inner_text().strip() == "open"
    scroller = visit.page.locator("#scroller")
    end = "s => s.scrollHeight - s.scrollTop - s.clientHeight"
    assert scroller.evaluate(end) < 2
    scroller.evaluate("s => { s.scrollTop = 100; }")
    expect(visit.page.get_by_role("button", name="Newest")).to_be_visible()
    # What grows below does not pull the reader there.
    last.evaluate("node => node.append(document.createElement('hr'), 'more')")
    visit.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")
    assert scroller.evaluate("s => s.scrollTop") == 100


def focus(visit: Visit, identifier: str) -> None:
    """Go somewhere by the Tab key alone."""
    for _ in range(60):
        if visit.evaluate("document.activeElement.id") == identifier:
            return
        visit.page.keyboard.press("Tab")
    pytest.fail(f"the Tab key does not lead to {identifier}")


def test_everything_in_a_chat_can_be_done_by_keyboard(visit: Visit) -> None:
    page = visit.page
    page.reload()
    focus(visit, "question")
    page.keyboard.type("One line,")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type(LONG_ANSWER)
    page.keyboard.press("Enter")
    expect(page.locator(".question p").last).to_have_text(f"One line,\n{LONG_ANSWER}")
    expect(page.locator(".answer .prose").last).not_to_be_empty()
    focus(visit, "stop")
    page.keyboard.press("Enter")
    expect(page.locator(".answer").last).to_contain_text("Stopped here")
    assert visit.evaluate("document.activeElement.id") == "question"
    page.keyboard.type(LONG_ANSWER)
    page.keyboard.press("Enter")
    expect(page.locator(".answer .prose").last).not_to_be_empty()
    page.keyboard.press("Escape")
    expect(page.locator(".answer").last).to_contain_text("Stopped here")
    focus(visit, "open-settings")
    page.keyboard.press("Space")
    expect(page.locator("#settings")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#settings")).to_be_hidden()
    assert visit.evaluate("document.activeElement.id") == "open-settings"


def test_a_phone_is_wide_enough(come: Callable[..., Visit]) -> None:
    visit = come(viewport=PHONE, is_mobile=True, has_touch=True)
    answered(
        visit, f"{'wide' * 200}\n\n```\n{'x ' * 300}\n```\n\n|{'a long head|' * 9}\n|{'-|' * 9}\n"
    )
    visit.ask("How wide is it? " + "w" * 300)
    answer(visit)
    for view in ("Chat", "Documents", "Images", "Jobs"):
        visit.go(view) if view != "Chat" else None
        assert visit.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
        beyond = visit.evaluate(
            """() => {
                const scrolls = (node) => /auto|scroll/.test(getComputedStyle(node).overflowX);
                const inside = (node) => {
                    for (let at = node.parentElement; at; at = at.parentElement)
                        if (scrolls(at) && at.scrollWidth > at.clientWidth) return at.className;
                    return null;
                };
                const own = (name) => /^(table|)$/.test(name ?? "no");
                return [...document.querySelectorAll("body *")].filter((node) => {
                    const box = node.getBoundingClientRect();
                    return box.width && box.right > innerWidth + 1 && !own(inside(node));
                }).map((node) => `${node.tagName} ${node.className}`);
            }"""
        )
        assert beyond == [], view
    visit.page.get_by_role("button", name="Settings").click()
    box = visit.page.locator("#settings").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= PHONE["width"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_can_be_read_by_day_and_by_night(come: Callable[..., Visit], scheme: str) -> None:
    visit = come(color_scheme=scheme)
    answered(visit, HOSTILE_ANSWER)
    visit.ask("Is it seen?")
    answer(visit)
    assert brightness(visit) == scheme
    for view in ("Chat", "Documents", "Images", "Jobs"):
        visit.go(view) if view != "Chat" else None
        visit.page.wait_for_load_state("networkidle")
        assert pale(visit) == [], view
    visit.page.get_by_role("button", name="Light or dark").click()
    other = {"light": "dark", "dark": "light"}[scheme]
    assert brightness(visit) == other
    assert pale(visit) == []
    visit.page.reload()
    assert brightness(visit) == other


def brightness(visit: Visit) -> str:
    color = visit.evaluate("getComputedStyle(document.documentElement).backgroundColor")
    red, green, blue = (int(part) for part in re.findall(r"\d+", color)[:3])
    return "light" if red + green + blue > 384 else "dark"


def pale(visit: Visit) -> list[str]:
    """Texts with less contrast than WCAG's AA asks for."""
    found: list[str] = visit.evaluate(
        """() => {
            const parts = (color) => (color.match(/[\\d.]+/g) ?? []).map(Number);
            const over = ([r, g, b, a = 1], under) =>
                [r, g, b].map((part, place) => part * a + under[place] * (1 - a));
            const ground = (node) => {
                const layers = [];
                for (let at = node; at; at = at.parentElement) {
                    const color = parts(getComputedStyle(at).backgroundColor);
                    layers.unshift(color);
                    if ((color[3] ?? 1) === 1) break;
                }
                return layers.reduce((under, layer) => over(layer, under), [255, 255, 255]);
            };
            const light = (color) => {
                const [r, g, b] = color.map((part) => {
                    const share = part / 255;
                    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
                });
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const pale = [];
            for (const node of document.querySelectorAll("body *")) {
                const says = [...node.childNodes].some((c) => c.nodeType === 3 && c.data.trim());
                const seen = node.checkVisibility({ visibilityProperty: true });
                if (!says || !seen || node.closest(":disabled, option, .sr, dialog")) continue;
                const style = getComputedStyle(node);
                const back = ground(node);
                const [one, two] = [light(over(parts(style.color), back)), light(back)];
                const ratio = (Math.max(one, two) + 0.05) / (Math.min(one, two) + 0.05);
                if (ratio < 4.5) pale.push(`${node.tagName} ${node.className} ${ratio.toFixed(2)}`);
            }
            return pale;
        }"""
    )
    return found


def test_a_wrong_key_is_met_kindly(arrive: Callable[..., Visit], service: Service) -> None:
    visit = arrive()
    page = visit.page
    note = page.locator("#key-note")
    expect(note).to_contain_text("asks for an API key")
    visit.give_key("wrong")
    expect(note).to_contain_text("not accepted")
    page.keyboard.press("Escape")
    visit.ask("Name the capital of France.")
    expect(note).to_contain_text("not accepted")
    visit.give_key(service.key)
    expect(page.locator("#settings")).to_be_hidden()
    expect(answer(visit).locator(".prose")).not_to_be_empty()
    # Kept for the tab, and nowhere else.
    assert service.key not in str(visit.evaluate("JSON.stringify(localStorage)"))
    page.reload()
    page.wait_for_load_state("networkidle")
    expect(page.locator("#settings")).to_be_hidden()


@pytest.fixture
def without_key(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.url, timeout=30) as client:
        yield client


def test_the_page_is_sent_with_its_policy_and_not_twice(without_key: httpx.Client) -> None:
    paths = ["/", *(f"/page/{path.name}" for path in FOLDER.iterdir())]
    for path in paths:
        answer = without_key.get(path)
        assert answer.status_code == 200, path
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert "require-trusted-types-for" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        name = path.rsplit("/", 1)[1] or "index.html"
        assert answer.content == (FOLDER / name).read_bytes()
        again = without_key.get(path, headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        head = without_key.head(path)
        assert (head.status_code, head.content) == (200, b"")
    for name in ("no.js", "..%2fapp.py", "app.py", "__init__.py"):
        missing = without_key.get(f"/page/{name}")
        assert missing.status_code == 404
        assert missing.json()["error"]["code"] == "not_found"


def test_the_page_is_small_and_all_its_own() -> None:
    files = list(FOLDER.iterdir())
    assert sum(path.stat().st_size for path in files) < MAX_BYTES
    ours = re.compile(r"http://www\.w3\.org/2000/svg|https://example\.com")
    for path in files:
        text = path.read_text(encoding="utf-8")
        assert re.findall(r"https?://[a-z]", ours.sub("", text)) == [], path.name
        assert not re.search(r"innerHTML|insertAdjacent|document\.write|\beval\b", text), path.name
    modules = {path.name for path in files if path.suffix == ".js"}
    imported = {
        name
        for path in files
        for name in re.findall(r'(?:from |src=")"?[./a-z]*?/(\w+\.js)"', path.read_text("utf-8"))
    }
    assert modules == imported
