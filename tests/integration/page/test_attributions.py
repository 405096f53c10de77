"""Sentences of an answer show the source that supports them."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import Route, expect

from tests.integration.page.answers import answer
from tests.support.browser import Visit

PUMP = "In May the pump was overhauled 🔧, which cost 4711 euros. The council pays."
SOURCES = [
    {"id": 1, "kind": "document", "title": "Pumps", "uri": "/v1/documents/doc_1", "text": PUMP},
    {"id": 2, "kind": "document", "title": "Books", "uri": "/v1/documents/doc_2", "text": "None."},
]
# Emphasis, a link, an emoji and code between and inside the sentences.
TEXT = (
    "Well 🙂. The **pump was overhauled** in May [2]. It cost 4712 euros.\n\n"
    "- The [council](https://example.com/a) pays [1].\n- The end.\n\n```\ncode\n```\n"
    "More comes here."
)


def attribution(sentence: str, source: int | None, quote: str = "", **more: Any) -> dict[str, Any]:
    start = TEXT.index(sentence)  # in code points, as the service counts
    at = PUMP.find(quote)
    return {
        "choice": 0,
        "start": start,
        "end": start + len(sentence),
        "source": source,
        "strength": 0.9 if source else 0,
        "quote": {"text": quote, "start": at, "end": at + len(quote)} if source else None,
        "cited": [],
        "corrected": False,
    } | more


ATTRIBUTIONS = [
    attribution(
        "The **pump was overhauled** in May [2].",
        1,
        "In May the pump was overhauled 🔧, which cost 4711 euros.",
        cited=[2],
        corrected=True,
    ),
    attribution("It cost 4712 euros.", None),
    attribution(
        "The [council](https://example.com/a) pays [1].", 1, "The council pays.", cited=[1]
    ),
    attribution("More comes here.", 1, "The council pays."),
]


def answer_with(visit: Visit) -> None:
    """Stream the text in small pieces, each attribution well behind its sentence or long after."""
    chunks: list[dict[str, Any]] = [
        {"choices": [{"delta": {"content": ""}}], "sources": SOURCES, "warnings": [], "pages": []}
    ]
    waiting = list(ATTRIBUTIONS)
    for at in range(0, len(TEXT), 5):
        chunks.append({"choices": [{"delta": {"content": TEXT[at : at + 5]}}]})
        if waiting and at > waiting[0]["end"] + 5:
            chunks.append({"choices": [{"delta": {}}], "attributions": [waiting.pop(0)]})
    chunks.append({"choices": [{"delta": {}}], "attributions": waiting})
    end = {"choices": [{"delta": {}, "finish_reason": "stop"}], "cited": [1, 2], "timings": {}}
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in [*chunks, end])

    def fulfil(route: Route) -> None:
        route.fulfill(content_type="text/event-stream", body=body + "data: [DONE]\n\n")

    visit.page.route("**/v1/chat/completions", fulfil)


def test_a_sentence_shows_its_source_and_the_supporting_span(visit: Visit) -> None:
    answer_with(visit)
    visit.ask("What does it cost?")
    last, page = answer(visit), visit.page
    said = last.locator(".said:not(.unsupported)")
    assert said.all_inner_texts() == [
        *("The ", "pump was overhauled", " in May"),
        *("The ", "council", " pays"),
        "More comes here.",
    ]
    unsupported = last.locator(".said.unsupported")
    expect(unsupported).to_have_text("It cost 4712 euros. (No source supports this sentence)")
    # The chip that the model wrote is wrong, and the right one stands behind it.
    expect(last.locator(".prose .chip")).to_have_text(["2", "1", "1", "1"])
    expect(last.locator(".prose .chip.wrong")).to_have_text(["2"])
    first = last.locator(".sources li").first.locator("button")
    said.nth(1).hover()
    expect(first).to_have_class("source used lit")
    expect(last.locator(".said.lit")).to_have_count(3)
    unsupported.hover()
    expect(first).to_have_class("source used")
    expect(last.locator(".said.lit")).to_have_count(0)
    chip = last.locator(".prose .chip").nth(1)
    chip.focus()
    expect(first).to_have_class("source used lit")
    expect(chip).to_have_attribute("aria-label", f"Source 1: Pumps: {PUMP[:56]}")
    page.keyboard.press("Enter")
    expect(page.locator("#source mark")).to_have_text(PUMP[:56])
    expect(page.locator("#source blockquote")).to_have_text(PUMP)
    page.keyboard.press("Escape")
    last.locator(".prose .chip").nth(2).click()  # the model's own, which was right
    expect(page.locator("#source mark")).to_have_text("The council pays.")
    page.keyboard.press("Escape")
    # All of it is kept with the conversation.
    page.reload()
    expect(answer(visit).locator(".prose .chip")).to_have_text(["2", "1", "1", "1"])
    expect(answer(visit).locator(".said.unsupported")).to_have_count(1)
