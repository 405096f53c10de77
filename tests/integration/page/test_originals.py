"""The page opens the originals of sources: in a tab of their own, at the page, or as a download."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
from playwright.sync_api import expect

from serve_app.testing import Fakes
from tests.integration.page.answers import answer_with
from tests.integration.page.fake_service import FakeService
from tests.support.api_keys import ALICE, KEYS, bearer
from tests.support.browser import Visit
from tests.support.pdfs import pdf

SCRIPT = "<script>document.title = 'owned'</script>"
ORIGINALS = {
    "report.pdf": pdf(1, pages=2),
    "notes.txt": f"weiß: {SCRIPT}".encode(),
    "page.html": f"<!doctype html><html><body><p>snow</p>{SCRIPT}</body></html>".encode(),
}
FACTS: dict[str, dict[str, Any]] = {
    "report.pdf": {"place": "page", "page": 2, "page_end": 2, "version": 3},
    "notes.txt": {"attributes": {"team": "<b>ice</b>"}},
    "page.html": {"place": "sheet", "section": "Costs", "title": "Winter"},
}


def test_only_harmless_originals_are_shown_in_the_browser(
    visitors: Callable[..., Visit], serve: Callable[..., FakeService]
) -> None:
    fakes = Fakes(api_keys=KEYS)
    fakes.jobs.runs = True
    visit = visitors(serve(fakes, root_path="/genserve").url)
    visit.give_key(ALICE)
    page = visit.page
    sources: list[dict[str, Any]] = []
    with httpx.Client(base_url=visit.url, headers=bearer(ALICE)) as http:
        for number, (name, data) in enumerate(ORIGINALS.items(), 1):
            upload = http.post("/upload", files={"file": (name, data)}).json()
            content = f"/v1/documents/{upload['document_id']}/content?version=1"
            source: dict[str, Any] = {
                "id": number,
                "kind": "document",
                "uri": "",
                "text": "snow",
                "title": None,
            }
            source |= {"filename": name, "content_uri": content, **FACTS[name]}
            sources.append(source)
    sources[0]["content_uri"] += "#page=2"
    answer_with(visit, "Snow is white [1].", sources=sources)
    visit.ask("What is white?")

    page.get_by_role("button", name="1 report.pdf page 2").click()
    facts, original = page.locator("#source .facts"), page.get_by_role("button", name="original")
    expect(facts).to_contain_text("page 2version 3")
    box = original.bounding_box()
    assert box is not None
    assert box["height"] < 60  # the passage has the room, and not the button
    with page.expect_popup() as shown:
        original.click()
    shown.value.wait_for_load_state()
    assert shown.value.url.startswith("blob:")
    assert shown.value.url.endswith("#page=2")
    assert shown.value.evaluate("document.contentType") == "application/pdf"

    page.get_by_role("button", name="Next source").click()
    expect(facts).to_contain_text("team: <b>ice</b>")
    with page.expect_popup() as shown:
        original.click()
    expect(shown.value.locator("body")).to_have_text(f"weiß: {SCRIPT}")
    assert shown.value.title() == ""

    page.get_by_role("button", name="Next source").click()
    expect(page.locator("#source h2")).to_have_text("Winter")
    expect(facts).to_contain_text("sheet Costspage.html")
    with page.expect_download() as saved:
        original.click()
    assert saved.value.suggested_filename == "page.html"
    assert saved.value.path().read_bytes() == ORIGINALS["page.html"]
