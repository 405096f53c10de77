"""The chat in a real browser, over a fake service."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, ViewportSize, expect

from serve_app.testing import Fakes
from tests.integration.page.answers import answer, answer_with
from tests.integration.page.fake_service import FakeService
from tests.support.browser import Visit

KEY = "sk-0123456789abcdef0123456789abcdef"
SMALL: ViewportSize = {"width": 640, "height": 400}  # 1280 by 800 at 200 %


@pytest.fixture
def endless(serve: Callable[..., FakeService]) -> FakeService:
    """A service whose answers do not end."""
    fakes = Fakes()
    fakes.llm.endless = True
    return serve(fakes)


def begun(visit: Visit, question: str) -> Locator:
    """An answer that has begun."""
    visit.ask(question)
    last = visit.page.locator(".turn.answer").last
    expect(last.locator(".prose")).not_to_be_empty()
    return last


def test_a_reload_in_the_middle_of_an_answer_stops_it(
    endless: FakeService, visitors: Callable[..., Visit]
) -> None:
    visit = visitors(endless.url)
    begun(visit, "word after word")
    visit.page.reload()
    last = answer(visit)
    expect(last).to_contain_text("Stopped here")
    expect(last.locator(".prose")).to_contain_text("word after word")
    expect(last.get_by_role("alert")).to_have_count(0)
    endless.call(endless.fakes.llm.closed.wait())  # the model stops, too


def test_a_connection_that_breaks_is_a_fault(
    endless: FakeService, visitors: Callable[..., Visit]
) -> None:
    visit = visitors(endless.url)
    begun(visit, "word after word")
    endless.stop()
    expect(answer(visit).get_by_role("alert")).to_contain_text("connection")
    visit.problems.clear()  # Chromium logs it


def test_newest_is_offered_only_where_there_is_something_newer(
    fake: FakeService, visitors: Callable[..., Visit]
) -> None:
    visit = visitors(fake.url, viewport=SMALL)
    newest = visit.page.get_by_role("button", name="Newest")
    scroller = visit.page.locator("#scroller")
    assert scroller.evaluate("s => s.scrollHeight > s.clientHeight + 40")  # the examples
    visit.settle()
    expect(newest).to_be_hidden()
    visit.ask("word " * 400)
    answer(visit)
    scroller.evaluate("s => { s.scrollTop = 0; }")
    expect(newest).to_be_visible()
    visit.page.set_viewport_size({"width": SMALL["width"], "height": 4000})
    expect(newest).to_be_hidden()
    visit.page.set_viewport_size(SMALL)
    visit.page.get_by_role("button", name="New chat").click()
    visit.settle()
    expect(newest).to_be_hidden()


def test_a_question_waits_for_the_key(
    serve: Callable[..., FakeService], visitors: Callable[..., Visit]
) -> None:
    visit = visitors(serve(Fakes(api_keys=f"tests:{KEY}")).url)
    page = visit.page
    note = page.locator("#key-note")
    expect(note).to_contain_text("asks for an API key")
    visit.give_key("wrong")
    expect(note).to_contain_text("not accepted")
    page.keyboard.press("Escape")
    visit.ask("one two three")
    expect(note).to_contain_text("not accepted")
    expect(page.locator(".working")).to_have_text("Waiting for an API key …")
    visit.give_key(KEY)
    expect(page.locator("#settings")).to_be_hidden()
    expect(answer(visit).locator(".prose")).to_have_text("one two three")
    # Kept for the tab, and nowhere else.
    assert KEY not in str(visit.evaluate("JSON.stringify(localStorage)"))
    page.reload()
    page.wait_for_load_state("networkidle")
    expect(page.locator("#settings")).to_be_hidden()


def test_only_what_the_person_chose_is_sent(visit: Visit) -> None:
    requests = answer_with(visit, "Yes.")
    page = visit.page
    for switch in (None, "Web", "Documents"):
        if switch:
            page.get_by_role("button", name=switch, exact=True).click()
        visit.ask("Is it so?")
        answer(visit)
        expect(page.get_by_role("button", name="Stop", exact=True)).to_be_hidden()
    contexts = [request.get("context") for request in requests]
    assert contexts == [None, {"web": False}, {"web": False, "documents": False}]


def test_what_the_operator_switched_off_cannot_be_switched_on(
    serve: Callable[..., FakeService], visitors: Callable[..., Visit]
) -> None:
    visit = visitors(serve(answer={"web": False}).url)
    requests = answer_with(visit, "Yes.")
    page = visit.page
    web = page.get_by_role("button", name="Web", exact=True)
    expect(web).to_be_disabled()
    expect(web).to_have_attribute("aria-pressed", "false")
    expect(web).to_have_attribute("title", "Switched off by the operator of this service")
    expect(page.get_by_role("button", name="Documents", exact=True)).to_be_enabled()
    expect(page.locator("#origins")).to_have_text(
        "Answers come from the model and from your documents,"
        " with numbered sources to check them by."
    )
    expect(page.get_by_role("button", name="Ask your documents")).to_be_visible()
    expect(page.get_by_role("button", name="Ask a web page")).to_be_hidden()
    page.get_by_role("button", name="Settings").click()
    expect(page.get_by_label("Read the web pages")).to_be_disabled()
    page.get_by_role("button", name="Save").click()
    visit.ask("Is it so? https://example.com")
    answer(visit)
    assert "context" not in requests[0]


def test_a_long_answer_is_whole_and_leaves_the_scroll_where_it_is(visit: Visit) -> None:
    text = "".join(f"- item **{number}**\n" for number in range(1500)) + "\n```\nopen\n"
    answer_with(visit, text)
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
    visit.settle()
    assert scroller.evaluate("s => s.scrollTop") == 100


def focus(visit: Visit, identifier: str) -> None:
    """Go somewhere by the Tab key alone."""
    for _ in range(60):
        if visit.evaluate("document.activeElement.id") == identifier:
            return
        visit.page.keyboard.press("Tab")
    pytest.fail(f"the Tab key does not lead to {identifier}")


def test_everything_in_a_chat_can_be_done_by_keyboard(
    endless: FakeService, visitors: Callable[..., Visit]
) -> None:
    visit = visitors(endless.url)
    page = visit.page
    focus(visit, "question")
    page.keyboard.type("One line,")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("and another.")
    page.keyboard.press("Enter")
    expect(page.locator(".question p").last).to_have_text("One line,\nand another.")
    expect(page.locator(".answer .prose").last).not_to_be_empty()
    focus(visit, "stop")
    page.keyboard.press("Enter")
    expect(page.locator(".answer").last).to_contain_text("Stopped here")
    assert visit.evaluate("document.activeElement.id") == "question"
    page.keyboard.type("Once more.")
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
