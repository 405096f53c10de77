"""Markdown of answers in a real browser: maths is kept, and nothing hostile runs or loads."""

from __future__ import annotations

import pytest
from playwright.sync_api import Locator, expect

from tests.integration.page.answers import answer, answer_with
from tests.integration.page.hostile import HOSTILE, HOSTILE_ANSWER, assert_harmless
from tests.support.browser import Visit

SOURCE = {
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
WARNING = {"code": "x", "message": "<i>slow</i>", "url": "javascript:alert(1)"}


def shown(visit: Visit, text: str) -> Locator:
    """The text of an answer, once it is whole."""
    answer_with(visit, text)
    visit.ask("Please.")
    return answer(visit).locator(".prose")


@pytest.mark.parametrize(
    "maths",
    [
        r"\(a_1 \, b_2\)",
        r"\[ \int_0^1 f(x)\,dx \]",
        "$x_1 * y_1 * z$",
        "$$a_{1} * b_{2} * c$$",
        r"$\{1, 2\}$",
    ],
)
def test_maths_in_a_sentence_is_kept_as_it_is(visit: Visit, maths: str) -> None:
    prose = shown(visit, f"Let {maths} be *given* and {maths}.")
    expect(prose.locator("code.maths")).to_have_text([maths, maths])
    expect(prose).to_have_text(f"Let {maths} be given and {maths}.")
    expect(prose.locator("em")).to_have_text("given")


@pytest.mark.parametrize(("opening", "closing"), [("$$", "$$"), (r"\[", r"\]")])
def test_maths_on_lines_of_its_own_is_kept_as_it_is(
    visit: Visit, opening: str, closing: str
) -> None:
    maths = f"{opening}\nx^2 \\,\\!\n- y_1 * z\n- z_1 * *\n# 1\n{closing}"
    prose = shown(
        visit, f"We have\n{maths}\nand then\n\n- an item with\n  {opening}x{closing}\n\nEnd."
    )
    display = prose.locator("pre.maths")
    expect(display).to_have_count(2)
    assert display.first.text_content() == maths
    expect(prose.locator("li pre.maths")).to_have_text(f"{opening}x{closing}")
    expect(prose.locator("ul > li")).to_have_count(1)


@pytest.mark.parametrize(
    "text",
    [
        "It costs $5 and $6 a month.",
        "From $5-$6, US$7 or $8/month to $9.",
        "Either 5$ or 6$.",
        "$HOME/$USER and $PATH$suffix",
        "$20,000, or 30,000$ there",
        "An open $$ mark and a single $ sign",
    ],
)
def test_prices_and_variables_are_no_maths(visit: Visit, text: str) -> None:
    prose = shown(visit, text)
    expect(prose).to_have_text(text)
    expect(prose.locator(".maths")).to_have_count(0)


def test_a_hostile_answer_neither_runs_nor_loads(visit: Visit) -> None:
    answer_with(visit, HOSTILE_ANSWER, sources=[SOURCE], pages=[], warnings=[WARNING])
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
