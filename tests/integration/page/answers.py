"""Answers for the page: streamed as the service does, from exactly the text that a test needs."""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import Locator, Route, expect

from tests.support.browser import Visit

ANSWER_TIMEOUT_MS = 120_000


def answer(visit: Visit) -> Locator:
    """The last answer, once it is whole."""
    last = visit.page.locator(".turn.answer").last
    expect(last).not_to_have_attribute("aria-busy", "true", timeout=ANSWER_TIMEOUT_MS)
    return last


def stream(*texts: str, **first: Any) -> str:
    """A body of server-sent events as the service sends it."""
    chunks: list[dict[str, Any]] = [{"choices": [{"delta": {"content": ""}}], **first}]
    chunks += [{"choices": [{"delta": {"content": text}}]} for text in texts]
    chunks += [{"choices": [{"delta": {}, "finish_reason": "stop"}], "cited": [1], "timings": {}}]
    return "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"


def answer_with(visit: Visit, text: str, **first: Any) -> list[dict[str, Any]]:
    """Answer every question with a text in small pieces; return the requests as they come."""
    requests: list[dict[str, Any]] = []
    pieces = [text[at : at + 7] for at in range(0, len(text), 7)]
    body = stream(*pieces, **first)

    def fulfil(route: Route) -> None:
        requests.append(route.request.post_data_json)
        route.fulfill(content_type="text/event-stream", body=body)

    visit.page.route("**/v1/chat/completions", fulfil)
    return requests
