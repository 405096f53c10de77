"""The page around its views: navigation, readiness, themes, phones, root paths."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from tests.integration.page.answers import answer, answer_with
from tests.integration.page.fake_service import FakeService
from tests.integration.page.hostile import HOSTILE_ANSWER
from tests.support.browser import Visit
from tests.unit.fakes import Fakes

PHONE = {"width": 360, "height": 740}


def test_back_leads_to_the_view_before(visit: Visit) -> None:
    page = visit.page
    page.goto(f"{visit.url}/")  # no view is named
    visit.go("Documents")
    visit.go("Jobs")
    for name in ("Documents", "Chat"):
        page.go_back()
        expect(page.get_by_role("heading", level=1)).to_have_text(name)
        expect(page.locator("[aria-current=page]")).to_have_text(name)
    page.go_forward()
    expect(page.get_by_role("heading", level=1)).to_have_text("Documents")


def test_the_readiness_never_contradicts_a_failed_request(visit: Visit) -> None:
    state = visit.page.locator("#readiness")
    expect(state).to_have_attribute("data-state", "ready")
    visit.page.route("**/readyz", lambda _: None)  # a service that hangs
    visit.page.route("**/v1/chat/completions", lambda route: route.abort())
    visit.ask("Are you there?")
    expect(visit.page.locator(".answer")).to_contain_text("cannot be reached")
    assert state.get_attribute("data-state") != "ready"
    visit.page.unroute("**/readyz")
    visit.page.get_by_role("button", name="Checking").click()
    expect(state).to_have_attribute("data-state", "ready")
    visit.problems.clear()  # Chromium logs it


@pytest.mark.parametrize("root_path", ["", "/genserve"])
def test_everything_works_below_a_root_path(
    serve: Callable[..., FakeService], visitors: Callable[..., Visit], root_path: str
) -> None:
    fakes = Fakes()
    fakes.jobs.draws = True
    service = serve(fakes, root_path=root_path)
    visit = visitors(service.url)
    page = visit.page
    answered = page.locator(".turn.answer .prose")
    visit.ask("one two three")
    expect(answered).to_have_text("one two three")
    visit.choose({"a.md": "a text"})
    expect(page.locator(".upload")).to_contain_text("Waiting to be read")
    visit.go("Jobs")
    expect(page.locator(".job")).to_contain_text("a.md")
    page.get_by_role("button", name="Cancel a.md").click()
    expect(page.locator(".job .badge")).to_have_text("cancelled")
    visit.go("Images")
    page.get_by_label("What should the picture show?").fill("a red circle")
    page.get_by_label("Pictures").fill("2")
    page.get_by_role("button", name="Make").click()
    expect(page.locator(".pictures img[src^='blob:']")).to_have_count(2)
    page.get_by_role("button", name="Open picture 2").click()
    viewer = page.locator("#viewer")
    with page.expect_download():
        viewer.get_by_role("link", name="Download").click()
    page.keyboard.press("Escape")
    visit.go("Documents")
    page.get_by_role("button", name="New …").click()
    page.get_by_label("Name", exact=True).fill("engines")
    page.get_by_role("button", name="Create").click()
    expect(page.locator("#show-collection option:checked")).to_have_text("engines")
    expect(page.locator("#readiness")).to_have_attribute("data-state", "ready")
    docs = page.get_by_role("link", name="API reference").evaluate("link => link.href")
    assert docs == f"{service.url}/docs"


def test_a_phone_is_wide_enough(fake: FakeService, visitors: Callable[..., Visit]) -> None:
    visit = visitors(fake.url, viewport=PHONE, is_mobile=True, has_touch=True)
    answer_with(
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
def test_it_can_be_read_by_day_and_by_night(
    fake: FakeService, visitors: Callable[..., Visit], scheme: str
) -> None:
    visit = visitors(fake.url, color_scheme=scheme)
    answer_with(visit, HOSTILE_ANSWER)
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
