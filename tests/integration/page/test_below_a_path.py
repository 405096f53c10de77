"""The real service behind a reverse proxy, at https://HOST/genserve/: its page and its API."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from http import HTTPStatus
from urllib.parse import urljoin

import httpx
import pytest
from openai import OpenAI
from playwright.sync_api import expect

from tests.integration.page.answers import answer
from tests.integration.page.test_real_service import searchable
from tests.support.browser import Visit
from tests.support.jobs import job_ended
from tests.support.reverse_proxy import proxied
from tests.support.service import SecondService

PATH = "/genserve"
REPORT = "# Lighthouse\n\nThe lighthouse of Brenna was painted orange in 1987.\n"


@pytest.fixture(scope="module")
def url(second_service: SecondService) -> Iterator[str]:
    with proxied(second_service.url, PATH) as url:
        yield url


def test_the_page_uploads_asks_and_draws(url: str, visitors: Callable[..., Visit]) -> None:
    visit = visitors(url)
    visit.go("Documents")
    searchable(visit, "lighthouse.md", REPORT)
    visit.go("Chat")
    visit.ask("What colour is the lighthouse of Brenna?")
    last = answer(visit)
    last.locator(".source").first.click()
    expect(visit.page.locator("#source .passage")).to_contain_text("painted orange")
    visit.page.keyboard.press("Escape")
    visit.go("Images")
    visit.page.get_by_label("What should the picture show?").fill("a red circle")
    visit.page.keyboard.press("Enter")
    expect(visit.page.locator(".pictures img[src^='blob:']").first).to_be_visible(timeout=120_000)
    visit.go("Documents")
    visit.page.get_by_role("button", name="Delete lighthouse.md").click()
    visit.page.locator("#ask").get_by_role("button", name="Delete").click()


def test_every_url_in_an_answer_leads_back_through_the_proxy(url: str) -> None:
    origin = url.removesuffix(PATH)
    client = OpenAI(base_url=f"{url}/v1", api_key="none")
    assert client.models.list().data
    spoken = client.chat.completions.create(
        model="genserve", messages=[{"role": "user", "content": "Hello"}], max_tokens=8
    )
    assert spoken.choices[0].message.content
    made = client.images.generate(prompt="a red circle", response_format="url").data
    assert made
    with httpx.Client(base_url=url, timeout=120) as http:
        accepted = http.post("/generate/image/background", json={"prompt": "a red circle"})
        assert accepted.headers["location"].startswith(f"{PATH}/v1/jobs/")
        job = job_ended(http, accepted.json()["job_id"])
        for image in (made[0].url, job["result"]["images"][0]["url"]):
            png = httpx.get(urljoin(origin, str(image)), timeout=60)
            assert png.content.startswith(b"\x89PNG")
        followed = httpx.get(f"{url}/docs/", follow_redirects=True)
        assert followed.status_code == HTTPStatus.OK
        assert str(followed.url) == f"{url}/docs"
