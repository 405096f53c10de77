"""Searching a collection over HTTP: OpenAI's shape, its client, and what is refused."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from deployments.errors import Overloaded
from deployments.types import Passage
from serve_app.testing import Fakes
from tests.support.openai_client import openai_client

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("below_a_path")]
URL = "/v1/vector_stores/default/search"
ASKED = {"query": "Is snow white?"}


def passage(number: int, text: str, score: float, **changes: Any) -> Passage:
    fields: dict[str, Any] = {
        "document_id": f"doc_{number:032x}",
        "filename": f"{number}.pdf",
        "title": f"Title {number}",
        "section": "Winter > Snow",
        "first": 0,
        "last": 1,
        "text": text,
        "page_start": 3,
        "page_end": 4,
        "score": score,
    }
    return Passage(**fields | changes)


EQUAL = {"type": "eq", "key": "a", "value": "b"}


def nested(depth: int) -> dict[str, Any]:
    filters: dict[str, Any] = EQUAL
    for _ in range(depth):
        filters = {"type": "and", "filters": [filters]}
    return filters


async def test_filters_reach_the_retriever_up_to_their_bounds() -> None:
    fakes = Fakes()
    many = {
        "type": "or",
        "filters": [EQUAL] * 62 + [{"type": "in", "key": "a", "value": [1] * 100}],
    }
    async with fakes.client() as http:
        for filters in (nested(5), many, None):
            answer = await http.post(URL, json=ASKED | {"filters": filters})
            assert answer.status_code == 200, answer.text
    assert len(fakes.retriever.queries) == 3


async def test_passages_come_in_openais_shape_in_the_order_they_were_found() -> None:
    fakes = Fakes()
    fakes.retriever.passages = [
        passage(1, "Snow is white.", 0.4),
        passage(2, "Ice is clear.", 0.9, section="", page_start=None, page_end=None),
    ]
    async with fakes.client() as http:
        answer = await http.post(URL, json=ASKED)
    assert answer.status_code == 200
    assert answer.json() == {
        "object": "vector_store.search_results.page",
        "search_query": ["Is snow white?"],
        "data": [
            {
                "file_id": "file-" + "0" * 31 + "1",
                "filename": "1.pdf",
                "score": 0.4,
                "attributes": {
                    "document_id": "doc_" + "0" * 31 + "1",
                    "version": 1,
                    "content_uri": f"/v1/documents/doc_{'0' * 31}1/content?version=1",
                    "title": "Title 1",
                    "place": "page",
                    "section": "Winter > Snow",
                    "page": 3,
                    "page_end": 4,
                },
                "content": [{"type": "text", "text": "Snow is white."}],
            },
            {
                "file_id": "file-" + "0" * 31 + "2",
                "filename": "2.pdf",
                "score": 0.9,
                "attributes": {
                    "document_id": "doc_" + "0" * 31 + "2",
                    "version": 1,
                    "content_uri": f"/v1/documents/doc_{'0' * 31}2/content?version=1",
                    "title": "Title 2",
                },
                "content": [{"type": "text", "text": "Ice is clear."}],
            },
        ],
        "has_more": False,
        "next_page": None,
    }


async def test_a_document_is_one_result_with_all_its_passages() -> None:
    fakes = Fakes()
    fakes.retriever.passages = [
        passage(1, "Snow is white.", 0.4),
        passage(1, "Snow is cold.", 0.6),
        passage(2, "Ice is clear.", 0.5),
    ]
    async with fakes.client() as http:
        first, second = (await http.post(URL, json=ASKED)).json()["data"]
    assert [each["text"] for each in first["content"]] == ["Snow is white.", "Snow is cold."]
    assert (first["score"], second["score"]) == (0.6, 0.5)


async def test_bounds_and_phrasings_reach_the_retriever() -> None:
    fakes = Fakes()
    async with fakes.client() as http:
        await http.post(URL, json=ASKED)
        body = {"query": ["a", "b"], "max_num_results": 3, "max_characters": 1500}
        answer = await http.post(URL, json=body)
    assert fakes.retriever.bounds == [(10, 12_000), (3, 1500)]
    assert fakes.retriever.queries == ["Is snow white?", "a", "b"]
    assert answer.json()["search_query"] == ["a", "b"]
    assert answer.json()["data"] == []


async def test_a_threshold_leaves_out_what_is_less_similar_and_scores_stay_between_0_and_1() -> (
    None
):
    fakes = Fakes()
    fakes.retriever.passages = [
        passage(1, "far", 0.2),
        passage(2, "near", 0.7),
        passage(3, "opposite", -0.1),
    ]
    async with fakes.client() as http:
        everything = (await http.post(URL, json=ASKED)).json()["data"]
        limited = ASKED | {"ranking_options": {"score_threshold": 0.7}}
        near = (await http.post(URL, json=limited)).json()["data"]
    assert [result["score"] for result in everything] == [0.2, 0.7, 0.0]
    assert [result["content"][0]["text"] for result in near] == ["near"]


async def test_openais_client_reads_the_results() -> None:
    fakes = Fakes()
    fakes.retriever.passages = [passage(1, "Snow is white.", 0.4)]
    async with openai_client(fakes.app()) as (client, _):
        page = await client.vector_stores.search(
            "default",
            query=["Is snow white?", "colour of snow"],
            max_num_results=5,
            ranking_options={"ranker": "auto", "score_threshold": 0.1},
            rewrite_query=False,
            extra_body={"max_characters": 800},
        )
        results = [result async for result in page]
        with pytest.raises(openai.NotFoundError, match="nowhere"):
            await client.vector_stores.search("nowhere", query="x")
    (result,) = results
    assert (result.filename, result.score) == ("1.pdf", 0.4)
    assert [content.text for content in result.content] == ["Snow is white."]
    assert result.attributes is not None
    assert result.attributes["page"] == 3
    assert fakes.retriever.bounds == [(5, 800)]


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"query": ""}, "query"),
        ({"query": " \n"}, "query"),
        ({"query": []}, "query"),
        ({"query": ["x"] * 9}, "query"),
        ({"query": "x" * 4001}, "query"),
        ({"max_num_results": 0}, "max_num_results"),
        ({"max_num_results": 51}, "max_num_results"),
        ({"max_characters": 0}, "max_characters"),
        ({"max_characters": 100_001}, "max_characters"),
        ({"filters": {"type": "eq", "key": "a"}}, "filters.value"),
        ({"filters": {"type": "eq", "key": "a", "value": None}}, "filters"),
        ({"filters": {"type": "eq", "key": "a", "value": ["b"]}}, "filters"),
        ({"filters": {"type": "eq", "key": "a", "value": 2**53 + 1}}, "filters"),
        ({"filters": {"type": "eq", "key": "a", "value": 2**300 + 1}}, "filters"),
        ({"filters": {"type": "eq", "key": "a", "value": "b" * 513}}, "filters"),
        ({"filters": {"type": "eq", "key": "", "value": "b"}}, "filters"),
        ({"filters": {"type": "eq", "key": "k" * 65, "value": "b"}}, "filters"),
        ({"filters": {"type": "like", "key": "a", "value": "b"}}, "filters"),
        ({"filters": {"type": ["eq"], "key": "a", "value": "b"}}, "filters"),
        ({"filters": {"type": "eq", "key": "a", "value": "b", "boost": 2}}, "filters"),
        ({"filters": {"type": "gt", "key": "a", "value": "2026-01-01"}}, "filters"),
        ({"filters": {"type": "gt", "key": "a", "value": True}}, "filters"),
        ({"filters": {"type": "in", "key": "a", "value": "b"}}, "filters"),
        ({"filters": {"type": "in", "key": "a", "value": []}}, "filters"),
        ({"filters": {"type": "nin", "key": "a", "value": ["b"] * 101}}, "filters"),
        ({"filters": {"type": "and", "filters": []}}, "filters"),
        ({"filters": {"type": "and", "filters": "x"}}, "filters"),
        ({"filters": {"type": "or", "filters": [EQUAL] * 64}}, "filters"),
        ({"filters": nested(6)}, "filters"),
        ({"filters": nested(40)}, "filters"),
        ({"filters": [EQUAL]}, "filters"),
        ({"filters": "a = 1"}, "filters"),
        ({"rewrite_query": True}, "rewrite_query"),
        ({"ranking_options": {"ranker": "best"}}, "ranking_options.ranker"),
        ({"ranking_options": {"score_threshold": 1.1}}, "ranking_options.score_threshold"),
        ({"ranking_options": {"weights": 1}}, "ranking_options.weights"),
        ({"collection": "default"}, "collection"),
    ],
)
async def test_what_is_out_of_bounds_or_not_supported_is_refused_by_name(
    change: dict[str, Any], param: str
) -> None:
    fakes = Fakes()
    async with fakes.client() as http:
        answer = await http.post(URL, json=ASKED | change)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith(param)
    assert fakes.retriever.queries == []


async def test_infinity_is_no_number() -> None:
    filters = '{"type": "lt", "key": "a", "value": 1e400}'
    async with Fakes().client() as http:
        body = f'{{"query": "x", "filters": {filters}}}'
        answer = await http.post(URL, content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400


async def test_a_list_too_long_is_told_so() -> None:
    async with Fakes().client() as http:
        answer = await http.post(URL, json={"query": ["x"] * 9})
    assert "at most 8" in answer.json()["error"]["message"]


async def test_reranking_is_not_done_behind_the_back_of_who_declined_it() -> None:
    body = ASKED | {"ranking_options": {"ranker": "none"}}
    reranking = {
        "embedder": {"model": "c/d", "reranker": "e/f"},
        "retriever": {"rerank": 10},
    }
    async with Fakes().client() as http:
        plain = await http.post(URL, json=body)
    async with Fakes().client(**reranking) as http:
        refused = await http.post(URL, json=body)
        usual = await http.post(URL, json=ASKED)
    assert (plain.status_code, refused.status_code, usual.status_code) == (200, 400, 200)
    assert refused.json()["error"]["param"] == "ranking_options.ranker"


@pytest.mark.parametrize("name", ["nowhere", "No Such", "..", "x" * 64])
async def test_an_unknown_collection_is_404(name: str) -> None:
    fakes = Fakes()
    async with fakes.client() as http:
        answer = await http.post(f"/v1/vector_stores/{name}/search", json=ASKED)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")


async def test_a_retriever_that_is_full_or_hangs_is_429_or_504() -> None:
    fakes = Fakes()
    fakes.retriever.search_error = Overloaded("full")
    async with fakes.client() as http:
        full = await http.post(URL, json=ASKED)
    fakes = Fakes()
    fakes.retriever.never_answers = True
    quick = {"context_timeout_s": 0.05}
    async with fakes.client(answer=quick, scraper={"page_timeout_s": 0.05}) as http:
        late = await http.post(URL, json=ASKED)
    assert (full.status_code, late.status_code) == (429, 504)
    assert int(full.headers["retry-after"]) >= 1
    assert late.json()["error"]["code"] == "deadline_exceeded"
