"""Reranking over HTTP with a model that counts words: order, bounds, prices, and what is refused.

With real models, and with the clients of others: `tests/integration/test_reranker.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from deployments.bounds import MAX_PAIRS_PER_CALL
from deployments.types import Scores
from serve_app.testing import FakeEmbedder, Fakes
from tests.support.api_keys import ALICE, KEYS, bearer

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("below_a_path")]
DOCUMENTS = ["rain", "snow is white", "the snow", "snow is white"]
RERANK: dict[str, Any] = {"query": "is snow white", "documents": DOCUMENTS}


@pytest.mark.parametrize("path", ["/v1/rerank", "/v2/rerank", "/rerank"])
async def test_documents_come_best_first_and_ties_in_their_order(path: str) -> None:
    async with Fakes().client() as http:
        answer = (await http.post(path, json=RERANK)).json()
    assert [each["index"] for each in answer["results"]] == [1, 3, 2, 0]
    scores = [each["relevance_score"] for each in answer["results"]]
    assert scores == pytest.approx([1, 1, 1 / 3, 0])
    assert [each["document"]["text"] for each in answer["results"]] == [
        DOCUMENTS[index] for index in (1, 3, 2, 0)
    ]
    assert (answer["model"], answer["scored_by"]) == ("d", "embedder")
    assert answer["usage"] == {"prompt_tokens": 12, "total_tokens": 12}
    assert answer["meta"] == {"tokens": {"input_tokens": 12, "output_tokens": 0}}


async def test_top_n_and_max_tokens_per_doc_limit_what_is_returned_and_read() -> None:
    change = {
        "model": "d",
        "documents": [{"text": "rain rain", "id": 7}, {"text": "it is snow white"}],
        "top_n": 1,
        "return_documents": False,
        "max_tokens_per_doc": 2,
    }
    async with Fakes().client() as http:
        answer = (await http.post("/v1/rerank", json=RERANK | change)).json()
        # As Cohere's SDK sends what was not given.
        given = RERANK | {"top_n": None, "max_tokens_per_doc": None, "priority": None}
        assert (await http.post("/v1/rerank", json=given)).status_code == 200
    (best,) = answer["results"]
    assert best == {"index": 1, "relevance_score": pytest.approx(1 / 3), "truncated": True}
    assert answer["meta"]["warnings"] == ["documents of which only the beginning was read: 1"]
    assert answer["usage"]["total_tokens"] == 3 + 2 + 2


async def test_a_configured_reranker_is_the_model() -> None:
    async with Fakes().client(embedder={"model": "a/b", "reranker": "BAAI/judge@main"}) as http:
        models = (await http.get("/v1/models")).json()["data"]
        answer = (await http.post("/v1/rerank", json=RERANK)).json()
        refused = await http.post("/v1/rerank", json=RERANK | {"model": "b"})
    assert {"judge": "reranking", "b": "embedding"}.items() <= {
        model["id"]: model["kind"] for model in models
    }.items()
    assert (answer["model"], answer["scored_by"]) == ("judge", "reranker")
    assert "use `judge`" in refused.json()["error"]["message"]


@pytest.mark.parametrize(
    ("change", "status", "param", "word"),
    [
        ({"model": "rerank-v3.5"}, 404, "model", "use `d`"),
        ({"query": " "}, 400, "query", "must not be blank"),
        ({"query": "x" * 4001}, 400, "query", "at most 4000 characters"),
        ({"query": ["a"]}, 400, "query", "string"),
        ({"documents": []}, 400, "documents", "at least 1 item"),
        ({"documents": "snow"}, 400, "documents", "list"),
        ({"documents": [{"image": "data:"}]}, 400, "documents[0]", "required"),
        ({"documents": ["snow", 7]}, 400, "documents[1]", "valid"),
        ({"documents": [{"text": {"text": "snow"}}]}, 400, "documents[0]", "string"),
        ({"documents": ["a"] * 1001}, 413, "documents", "over the bound of 1000"),
        ({"documents": ["a" * 6000, "b" * 4001]}, 413, "documents", "over the bound of 10000"),
        ({"top_n": -1}, 400, "top_n", "greater than or equal to 0"),
        ({"max_tokens_per_doc": 10**9}, 400, "max_tokens_per_doc", "32768"),
        ({"rank_fields": ["title"]}, 400, "rank_fields", "there is no such field"),
    ],
)
async def test_errors_of_reranking_name_the_field(
    change: dict[str, Any], status: int, param: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.routes.reranking.MAX_CHARS", 10_000)
    async with Fakes().client() as http:
        answer = await http.post("/v1/rerank", json=RERANK | change)
    error = answer.json()["error"]
    assert answer.status_code == status, error
    assert (error["param"] or "").startswith(param)
    assert word in error["message"]


async def test_reranking_counts_against_the_token_limit() -> None:
    async with Fakes(api_keys=KEYS).client(limits={"tokens_per_minute": 12}) as http:
        http.headers.update(bearer(ALICE))
        statuses = [(await http.post("/rerank", json=RERANK)).status_code for _ in range(2)]
    assert statuses == [200, 429]


async def test_many_documents_are_scored_in_parts_and_keep_their_numbers() -> None:
    class Counting(FakeEmbedder):
        parts: list[int] = []  # noqa: RUF012 - of this test

        async def relevance(self, query: str, texts: Sequence[str], max_tokens: int) -> Scores:
            self.parts.append(len(texts))
            return await super().relevance(query, texts, max_tokens)

    documents = ["rain"] * 1000
    documents[2], documents[600], documents[999] = "is snow", "snow is white", "it is snow white"
    change = {"documents": documents, "top_n": 3, "max_tokens_per_doc": 3}
    async with Fakes(embedder=Counting()).client() as http:
        answer = (await http.post("/v1/rerank", json=RERANK | change)).json()
    results = [(each["index"], each["truncated"]) for each in answer["results"]]
    assert results == [(600, False), (2, False), (999, True)]
    assert sum(Counting.parts) == 1000
    assert max(Counting.parts) <= MAX_PAIRS_PER_CALL
