"""Completions, embeddings and models over HTTP: OpenAI's shapes and what is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest

from serve_app.testing import MODEL, Fakes

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("below_a_path")]
EMBED = {"model": "d", "input": ["a b", "c"]}
COMPLETE = {"model": MODEL, "prompt": "Snow is white"}


async def test_every_model_is_listed_with_what_it_is_for() -> None:
    async with Fakes().client(images={"served_name": "painter"}) as http:
        models = (await http.get("/v1/models")).json()["data"]
        assert {model["id"]: model["kind"] for model in models} == {
            "genserve": "answering",
            MODEL: "chat",
            "d": "embedding",
            "painter": "image",
        }
        assert (await http.get("/v1/models/painter")).json()["kind"] == "image"
        unknown = await http.get("/v1/models/gpt-9")
    assert unknown.json()["error"]["code"] == "model_not_found"
    assert "`painter`" in unknown.json()["error"]["message"]


@pytest.mark.parametrize("encoding", ["float", "base64", None])
async def test_vectors_come_in_order_as_numbers_or_as_base64(encoding: str | None) -> None:
    body = EMBED | ({"encoding_format": encoding} if encoding else {})
    async with Fakes().client() as http:
        answer = (await http.post("/v1/embeddings", json=body)).json()
    assert [each["index"] for each in answer["data"]] == [0, 1]
    assert (answer["object"], answer["model"]) == ("list", "d")
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    given = answer["data"][0]["embedding"]
    if encoding == "base64":
        given = np.frombuffer(base64.b64decode(given), dtype="<f4").tolist()
    assert given == [1.0]


@pytest.mark.parametrize(
    ("change", "status", "param", "word"),
    [
        ({"model": "gpt-9"}, 404, "model", "use `d`"),
        ({"dimensions": 2}, 400, "dimensions", "vectors of 1 numbers"),
        ({"input": [[1]] * 9}, 413, "input", "over the bound of 8"),
        ({"input": []}, 400, "input", "at least 1 item"),
        ({"input": ""}, 400, "input", "at least 1 character"),
        ({"input": ["a"] * 9}, 413, "input", "over the bound of 8"),
        ({"encoding_format": "hex"}, 400, "encoding_format", "'float' or 'base64'"),
        ({"anything": 1}, 400, "anything", "there is no such field"),
    ],
)
async def test_embeddings_that_cannot_be_made_name_their_field(
    change: dict[str, Any],
    status: int,
    param: str,
    word: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("serve_app.routes.embeddings.MAX_TEXTS_PER_CALL", 8)
    async with Fakes().client(embedder={"model": "c/d"}) as http:
        answer = await http.post("/v1/embeddings", json=EMBED | change)
    error = answer.json()["error"]
    assert answer.status_code == status, error
    assert error["param"].startswith(param)
    assert word in error["message"]


async def test_wrong_dimensions_are_refused_before_anything_is_embedded() -> None:
    fakes = Fakes()
    async with fakes.client() as http:
        answer = await http.post("/v1/embeddings", json=EMBED | {"dimensions": 2})
    assert answer.status_code == 400
    assert fakes.embedder.embedded == []


async def test_as_many_dimensions_as_there_are_may_be_asked_for() -> None:
    async with Fakes().client() as http:
        answer = await http.post("/v1/embeddings", json=EMBED | {"dimensions": 1})
    assert answer.status_code == 200


async def test_a_completion_goes_to_the_bare_model_with_what_was_given_only() -> None:
    fakes = Fakes()
    async with fakes.client() as http:
        whole = await http.post("/v1/completions", json=COMPLETE | {"user": "me", "seed": 3})
        stream = await http.post("/v1/completions", json=COMPLETE | {"stream": True})
    assert whole.json()["choices"][0]["text"] == "Snow is white"
    assert fakes.llm.bodies[0] == COMPLETE | {"seed": 3}
    datas = [line[6:] for line in stream.text.splitlines() if line.startswith("data: ")]
    assert datas.pop() == "[DONE]"
    assert [json.loads(data)["choices"][0]["text"] for data in datas] == ["Snow", "is", "white"]


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"model": "genserve"}, 400, "model"),
        ({"model": "gpt-9"}, 404, "model"),
        ({"stream": 1}, 400, "stream"),
        ({"stream": "true"}, 400, "stream"),
        ({"max_tokens": 8.0}, 400, "max_tokens"),
        ({"temperature": "0.5"}, 400, "temperature"),
        ({"prompt": []}, 400, "prompt"),
        ({"prompt": ["x"] * 17}, 400, "prompt"),
        ({"prompt": "x" * 100_001}, 413, "prompt"),
        ({"max_tokens": 5000}, 400, "max_tokens"),
        ({"best_of": 2}, 400, "best_of"),
        ({"suffix": "x"}, 400, "suffix"),
        ({"guided_json": {}}, 400, "guided_json"),
    ],
)
async def test_completions_that_cannot_be_made_name_their_field(
    change: dict[str, Any], status: int, param: str
) -> None:
    async with Fakes().client() as http:
        answer = await http.post("/v1/completions", json=COMPLETE | change)
    assert answer.status_code == status
    assert answer.json()["error"]["param"].startswith(param)
