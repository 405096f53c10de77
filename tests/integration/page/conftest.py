"""What tests of the page share: a real browser, and visitors whose every fault is noticed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser

from serve_app.testing import Fakes
from tests.integration.page.fake_service import FakeService, served
from tests.support.browser import Visit, chromium


@pytest.fixture(scope="module")  # while it runs, nothing else in this thread may use asyncio
def browser() -> Iterator[Browser]:
    with chromium() as running:
        yield running


@pytest.fixture
def visitors(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Open the page at an address in a context of its own; afterwards no fault may be left."""
    visits: list[Visit] = []

    def come(url: str, **options: Any) -> Visit:
        visit = Visit(browser.new_context(**options).new_page(), url)
        visits.append(visit)
        visit.open()
        return visit

    yield come
    problems = [problem for visit in visits for problem in visit.problems]
    for visit in visits:
        visit.page.context.close()
    assert problems == []


@pytest.fixture
def serve() -> Iterator[Callable[..., FakeService]]:
    """Serve the application over fakes, with settings and below a root path as given."""
    with contextlib.ExitStack() as stack:

        def serve(fakes: Fakes | None = None, **options: Any) -> FakeService:
            return stack.enter_context(served(fakes or Fakes(), **options))

        yield serve


@pytest.fixture
def fake(serve: Callable[..., FakeService]) -> FakeService:
    return serve()


@pytest.fixture
def visit(fake: FakeService, visitors: Callable[..., Visit]) -> Visit:
    return visitors(fake.url)
