"""The web page in a real browser against the real service: documents, pictures, strangers' text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.integration.page.answers import answer
from tests.integration.page.hostile import HOSTILE, assert_harmless
from tests.support.browser import Visit
from tests.support.service import Service

TORNHOLM = """# The engine of Tornholm

The zephyr engine of Tornholm runs on fermented lichen, and has done so since 1921. The lichen is
gathered in October and lies in barrels of oak until the spring.
"""

# The text of the answer, without what is put between its sentences as their sources are found.
ANSWER_TEXT = """() => {
    const prose = document.querySelector(".answer .prose").cloneNode(true);
    for (const added of prose.querySelectorAll(".chip, .sr")) added.remove();
    return prose.textContent;
}"""


@pytest.fixture
def visit(visitors: Callable[..., Visit], service: Service) -> Visit:
    """Someone who comes and gives the key that the page asks for."""
    visit = visitors(service.url)
    visit.give_key(service.key)
    expect(visit.page.locator("#settings")).to_be_hidden()
    return visit


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
    text = visit.evaluate(ANSWER_TEXT)
    page.reload()
    expect(answer(visit)).to_be_visible()
    assert visit.evaluate(ANSWER_TEXT) == text
    visit.go("Documents")
    page.get_by_role("button", name="Delete tornholm.md").click()
    page.locator("#ask").get_by_role("button", name="Delete").click()
    expect(page.get_by_text("No documents here yet")).to_be_visible()
    page.get_by_role("button", name="Delete collection").click()
    page.locator("#ask").get_by_role("button", name="Delete").click()
    expect(page.locator("#show-collection")).to_have_value("default")


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
