"""What assistive technology finds on the page: landmarks, lists, names."""

from __future__ import annotations

from typing import Literal

from playwright.sync_api import expect

from tests.integration.page.fake_service import FakeService
from tests.support.browser import Visit

# `li` is checked by its parent; a role must not be one that HTML forbids for its element.
FAULTS = """() => {
    const seen = (node) => node.checkVisibility();
    const all = (selector) => [...document.querySelectorAll(selector)].filter(seen);
    const told = (what) => (node) => `${what}: ${node.outerHTML.slice(0, 80)}`;
    const isItem = (node) => node.tagName === "LI" && !node.hasAttribute("role");
    const named = (node) => node.ariaLabel || node.labels?.length || node.textContent.trim();
    return [
        ...all("ul, ol, [role=list]").filter((list) => ![...list.children].every(isItem))
            .map(told("a list with something else in it")),
        // Safari takes the role of a list from one without bullets.
        ...all("ul:not([role=list]), ol:not([role=list])")
            .filter((list) => getComputedStyle(list).listStyleType === "none")
            .map(told("a list that Safari does not announce")),
        ...all("[role=listitem]").map(told("an item that is no li")),
        ...all("li").filter((item) => !item.closest("ul, ol")).map(told("an item without a list")),
        ...all("button, input, select, textarea").filter((field) => !named(field))
            .map(told("a field without a name")),
        ...all("img:not([alt])").map(told("a picture without words")),
    ];
}"""


def check(visit: Visit) -> None:
    """Every landmark once, and no fault that the script above finds."""
    page = visit.page
    roles: tuple[Literal["banner", "main", "navigation"], ...] = ("banner", "main", "navigation")
    for role in roles:
        expect(page.get_by_role(role, include_hidden=True)).to_have_count(1)
    expect(page.get_by_role("contentinfo", include_hidden=True)).to_have_count(0)
    assert visit.evaluate(FAULTS) == []


def test_landmarks_and_lists_are_found(fake: FakeService, visit: Visit) -> None:
    page = visit.page
    check(visit)
    visit.ask("- one\n- two")
    expect(page.get_by_role("button", name="Copy")).to_be_visible()
    check(visit)
    for opener in ("Ready", "Settings"):
        page.get_by_role("button", name=opener).click()
        expect(page.locator("dialog[open]")).to_be_visible()
        check(visit)
        page.keyboard.press("Escape")
    visit.go("Images")
    page.get_by_label("What should the picture show?").fill("a red circle")
    fake.fakes.jobs.runs = True
    page.get_by_role("button", name="Make").click()
    page.get_by_role("button", name="Open picture 2").click()
    expect(page.locator("#viewer")).to_be_visible()
    check(visit)
    page.keyboard.press("Escape")
    fake.fakes.jobs.runs = False
    visit.choose({"a.md": "a text"})
    expect(page.locator(".upload")).to_contain_text("Waiting to be read")
    check(visit)
    visit.go("Jobs")
    expect(page.locator(".job")).to_have_count(2)
    check(visit)
