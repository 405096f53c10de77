"""The README's screenshots: the page of a running service, used as a person would use it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import Browser, Locator, ViewportSize, expect

from tests.support.browser import Visit

COLLECTION = "Lighthouses"
DESKTOP = ViewportSize(width=1200, height=800)
PHONE = ViewportSize(width=390, height=844)
QUESTION = "When was the lighthouse of Arvik first lit, and who was its last keeper?"
PICTURES = ("a large red circle on a blue background", "a small yellow star on a purple background")
DOCUMENTS = {
    "arvik.md": """# The lighthouse of Arvik

The lighthouse of Arvik was lit for the first time in 1847 and stands on a rock of granite in front
of the harbour. The tower is 31 metres high and its light is seen from a distance of eighteen sea
miles. Its lamp was changed to electricity in 1931.

## Keepers

The last keeper, Solveig Brandt, left the island in the autumn of 1979. Since then the light has
been watched from the harbour office.
""",
    "skarholm.md": """# The light of Skarholm

Skarholm has had a fire since 1690, first of coal in an iron basket, then of oil. The present tower
of 1868 is painted white with one red band and shows two flashes every ten seconds.
""",
    "fog-signals.md": """# Fog signals of the coast

Before radio, fog was answered by sound: a bell at Arvik until 1902, a siren driven by compressed
air at Skarholm until 1964. Each station had its own rhythm, by which ships knew it.
""",
}
_TIMEOUT_MS = 240_000


def opened(browser: Browser, url: str, key: str, **options: Any) -> Visit:
    """Open the page in a context of its own and enter the key if it asks for one."""
    visit = Visit(browser.new_context(**options).new_page(), url)
    visit.open()
    asked = visit.page.locator("#settings")
    visit.page.wait_for_load_state("networkidle")
    if asked.is_visible():
        visit.give_key(key)
    visit.without_key = False
    expect(asked).to_be_hidden()
    return visit


def shoot(visit: Visit, folder: Path, name: str) -> None:
    """Save a screenshot in a reduced palette."""
    visit.page.wait_for_timeout(500)  # until animations have ended
    shot = Image.open(io.BytesIO(visit.page.screenshot())).convert("RGB")
    shot.quantize(255, dither=Image.Dither.NONE).save(folder / f"{name}.png", optimize=True)


def answered(visit: Visit, question: str) -> Locator:
    """Ask in the chat and wait for the whole answer."""
    visit.go("Chat")
    visit.ask(question)
    answer = visit.page.locator(".turn.answer").last
    expect(answer).not_to_have_attribute("aria-busy", "true", timeout=_TIMEOUT_MS)
    return answer


def shoot_desktop(browser: Browser, url: str, key: str, folder: Path) -> Visit:
    """Take the screenshots of documents, chat, source and images on a desktop, light scheme."""
    visit = opened(browser, url, key, viewport=DESKTOP, color_scheme="light")
    page = visit.page
    visit.go("Documents")
    page.get_by_role("button", name="New …").click()
    page.get_by_label("Name", exact=True).fill(COLLECTION)
    page.get_by_role("button", name="Create").click()
    expect(page.locator("#show-collection option:checked")).to_have_text(COLLECTION)
    for name, text in DOCUMENTS.items():
        visit.drop(name, text)
        row = page.locator(".upload", has_text=name)
        expect(row).to_contain_text("Searchable", timeout=_TIMEOUT_MS)
        row.get_by_role("button", name="Dismiss").click()
    expect(page.locator("#documents-list .row")).to_have_count(len(DOCUMENTS))
    for button in page.locator(".notice").get_by_role("button", name="Dismiss").all():
        button.click()
    shoot(visit, folder, "documents")
    answer = answered(visit, QUESTION)
    shoot(visit, folder, "chat")
    answer.locator(".source").first.click()
    shoot(visit, folder, "source")
    page.keyboard.press("Escape")
    visit.go("Images")
    for words in PICTURES:
        page.get_by_label("What should the picture show?").fill(words)
        page.get_by_label("Pictures").fill("6")
        page.get_by_role("button", name="Make").click()
        card = page.locator(".pictures", has_text=words).first
        expect(card).to_have_attribute("data-state", "succeeded", timeout=_TIMEOUT_MS)
    shoot(visit, folder, "images")
    return visit


def shoot_phone(browser: Browser, url: str, key: str, folder: Path) -> Visit:
    """Take the screenshot of an answer on a phone, dark scheme."""
    visit = opened(
        browser, url, key, viewport=PHONE, color_scheme="dark", is_mobile=True, has_touch=True
    )
    visit.page.locator("#ask-collection").select_option(label=COLLECTION)
    answered(visit, QUESTION)
    visit.evaluate("document.activeElement.blur()")
    shoot(visit, folder, "phone")
    return visit


def delete_collection(visit: Visit) -> None:
    """Delete the documents that were uploaded."""
    visit.go("Documents")
    visit.page.get_by_role("button", name="Delete collection").click()
    visit.page.locator("#ask").get_by_role("button", name="Delete").click()
    expect(visit.page.locator("#show-collection")).to_have_value("default")
