"""What an answer may draw on: a request narrows what the operator allows and never widens it."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from deployments.types import Page, PageOutcome, Passage
from serve_app.testing import Fakes

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("below_a_path")]
URL = "https://a.example/page"
QUESTION = f"What does {URL} say about snow?"
GENERATE, CHAT = "/generate/text", "/v1/chat/completions"
OPENAI: dict[str, Any] = {"model": "genserve", "messages": [{"role": "user", "content": QUESTION}]}
TOOL = {"type": "function", "function": {"name": "fetch", "parameters": {"type": "object"}}}

ASKING_FOR_BOTH: list[tuple[str, dict[str, Any]]] = [
    (GENERATE, {"prompt": QUESTION}),
    (GENERATE, {"prompt": QUESTION, "collection": "default", "top_k": 3}),
    (CHAT, OPENAI),
    (CHAT, OPENAI | {"context": None}),
    (CHAT, OPENAI | {"context": {}}),
    (CHAT, OPENAI | {"context": {"web": True}}),
    (CHAT, OPENAI | {"context": {"documents": True}}),
    (CHAT, OPENAI | {"context": {"web": True, "documents": True}}),  # as the page sends it
    (CHAT, OPENAI | {"context": {"collection": "default", "top_k": 3}}),
    (
        CHAT,
        OPENAI | {"messages": [{"role": "user", "content": [{"type": "text", "text": QUESTION}]}]},
    ),
    (CHAT, OPENAI | {"messages": [*OPENAI["messages"], {"role": "assistant", "content": URL}]}),
    (CHAT, OPENAI | {"tools": [TOOL], "tool_choice": "auto"}),
    (CHAT, OPENAI | {"tools": [{"type": "file_search", "vector_store_ids": ["default"]}]}),
    (CHAT, OPENAI | {"metadata": {"web": "true"}, "store": True}),
    (CHAT, OPENAI | {"max_completion_tokens": 9, "context": {"web": True}}),
    (CHAT, OPENAI | {"context": {"web": None}}),
]
"""Requests that read the page and search the documents where the operator allows both."""

REFUSED: list[tuple[str, dict[str, Any]]] = [
    (GENERATE, {"prompt": QUESTION, "context": {"web": True}}),
    (GENERATE, {"prompt": QUESTION, "web": True}),
    (GENERATE, {"prompt": QUESTION, "urls": [URL]}),
    (CHAT, OPENAI | {"context": {"urls": [URL]}}),
    (CHAT, OPENAI | {"context": [URL]}),
    (CHAT, OPENAI | {"context": True}),
    (CHAT, OPENAI | {"context": {"web": "1"}}),
    (CHAT, OPENAI | {"context": {"documents": "true"}}),
    (CHAT, OPENAI | {"web": True, "documents": True}),
    (CHAT, OPENAI | {"extra_body": {"context": {"web": True}}}),
    (CHAT, OPENAI | {"web_search_options": {}}),
    (CHAT, OPENAI | {"vector_store_ids": ["default"]}),
    (CHAT, OPENAI | {"context": {"vector_store_ids": ["default"]}}),
    (CHAT, OPENAI | {"tool_resources": {"file_search": {"vector_store_ids": ["default"]}}}),
]
"""Requests with a field or type that does not exist: refused before anything is done."""


def fakes() -> Fakes:
    made = Fakes()
    made.scraper.pages = [Page(URL, PageOutcome.OK, URL, "Title", "page text")]
    made.retriever.passages = [
        Passage("doc_" + "0" * 32, "a.pdf", "A", "", 0, 0, "snow is white", 1, 1, 0.5)
    ]
    return made


async def ask(
    http: httpx.AsyncClient, route: str, body: dict[str, Any], *, stream: bool
) -> httpx.Response:
    return await http.post(route, json=body | {"stream": stream})


@pytest.mark.parametrize("stream", [False, True])
async def test_what_the_operator_switched_off_no_request_switches_on(*, stream: bool) -> None:
    for web, documents in ((False, False), (False, True), (True, False)):
        given = fakes()
        async with given.client(answer={"web": web, "documents": documents}) as http:
            for route, body in [*ASKING_FOR_BOTH, *REFUSED]:
                answer = await ask(http, route, body, stream=stream)
                case = (web, documents, route, body)
                assert answer.status_code == (400 if (route, body) in REFUSED else 200), case
                assert web or not given.scraper.asked, case
                assert documents or not given.retriever.queries, case
                assert web or "page text" not in answer.text, case
                assert documents or "snow is white" not in answer.text, case


async def test_the_same_requests_read_and_search_where_the_operator_allows_it() -> None:
    given = fakes()
    async with given.client() as http:
        for route, body in ASKING_FOR_BOTH:
            given.scraper.asked.clear()
            given.retriever.queries.clear()
            await ask(http, route, body, stream=False)
            assert given.scraper.asked == [URL], body
            assert given.retriever.queries, body


@pytest.mark.parametrize(
    ("context", "read", "searched"),
    [({"web": False}, False, True), ({"documents": False}, True, False)],
)
async def test_a_request_may_do_without_either(
    context: dict[str, bool], *, read: bool, searched: bool
) -> None:
    given = fakes()
    async with given.client() as http:
        await ask(http, CHAT, OPENAI | {"context": context}, stream=False)
    assert (bool(given.scraper.asked), bool(given.retriever.queries)) == (read, searched)


async def test_an_answer_draws_on_several_collections_and_on_what_a_filter_selects() -> None:
    given = Fakes()
    given.jobs.runs = True
    async with given.client() as http:
        for collection, year in (
            ("papers", 2024),
            ("papers", 2026),
            ("notes", 2026),
            ("old", 2026),
        ):
            upload: dict[str, Any] = {
                "files": {"file": (f"{year}.txt", f"snow of {year} in {collection}".encode())},
                "data": {"collection": collection, "attributes": f'{{"year": {year}}}'},
            }
            assert (await http.post("/upload", **upload)).status_code == 202
        body = OPENAI | {"messages": [{"role": "user", "content": "snow?"}]}

        async def sources(**context: Any) -> set[tuple[str, str]]:
            answer = await ask(http, CHAT, body | {"context": context}, stream=False)
            assert answer.status_code == 200, answer.text
            found = answer.json()["sources"]
            return {(each["text"], each["uri"].partition("?")[2]) for each in found}

        recent = {"type": "gte", "key": "year", "value": 2025}
        both = ["papers", "notes"]
        papers, notes = "snow of 2026 in papers", "snow of 2026 in notes"
        assert await sources(collections=both, filters=recent) == {
            (papers, "collection=papers"),
            (notes, "collection=notes"),
        }
        assert await sources(collection="papers", filters=recent) == {(papers, "collection=papers")}
        assert len(await sources(collections=both)) == 3
        assert await sources(filters=recent) == set()  # of the default collection
        refused: list[dict[str, Any]] = [
            {"collections": both, "collection": "papers"},
            {"collections": []},
            {"collections": [f"c{n}" for n in range(9)]},
            {"collections": ["../x"]},
            {"collections": "papers"},
            {"filters": recent | {"value": "2025"}},
        ]
        for wrong in refused:
            answer = await ask(http, CHAT, body | {"context": wrong}, stream=False)
            assert answer.status_code == 400, wrong
        unknown = await ask(
            http, CHAT, body | {"context": {"collections": ["papers", "nowhere"]}}, stream=False
        )
        assert (unknown.status_code, unknown.json()["error"]["param"]) == (404, "collection")
