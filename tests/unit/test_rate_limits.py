"""What a key may ask for in a minute: requests and tokens, each key by itself."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from deployments.answer_events import Piece
from deployments.errors import InvalidRequest, Overloaded
from serve_app.testing import MODEL, Fakes
from tests.support.api_keys import ALICE, BOB, KEYS, bearer

pytestmark = pytest.mark.anyio
CHAT: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "one two three"}]}


def client(fakes: Fakes, **limits: int) -> httpx.AsyncClient:
    return fakes.client(limits=limits)


async def test_one_request_too_many_is_refused_and_only_of_that_key() -> None:
    async with client(Fakes(api_keys=KEYS), requests_per_minute=3) as http:
        statuses = [
            (await http.get("/v1/models", headers=bearer(ALICE))).status_code for _ in range(4)
        ]
        refused = await http.get("/v1/jobs", headers=bearer(ALICE))
        others = await http.get("/v1/models", headers=bearer(BOB))
        public = await http.get("/healthz", headers=bearer(ALICE))
    assert statuses == [200, 200, 200, 429]
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert refused.json()["error"]["type"] == "rate_limit_error"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert "3 requests a minute" in refused.json()["error"]["message"]
    assert (others.status_code, public.status_code) == (200, 200)


async def test_uploads_are_bounded_by_quotas_and_not_by_the_minute() -> None:
    fakes = Fakes(api_keys=KEYS)
    async with client(fakes, requests_per_minute=2, max_documents=3) as http:
        http.headers.update(bearer(ALICE))
        uploads = [
            await http.post("/upload", files={"file": (f"{n}.txt", f"text {n}".encode())})
            for n in range(4)
        ]
        kept = [
            await http.post(
                "/v1/files",
                files={"file": (f"{n}.txt", f"text {n}".encode())},
                data={"purpose": "assistants"},
            )
            for n in range(4)
        ]
        store = (await http.post("/v1/vector_stores", json={"name": "of the minute"})).json()["id"]
        attach = f"/v1/vector_stores/{store}/files"
        attached = await http.post(attach, json={"file_id": kept[0].json()["id"]})
        listed = [await http.get(attach) for _ in range(2)]
        # One request for many files counts as any other.
        batch = await http.post(
            f"/v1/vector_stores/{store}/file_batches", json={"file_ids": [kept[1].json()["id"]]}
        )
    assert [answer.status_code for answer in uploads] == [202] * 4
    assert [answer.status_code for answer in kept] == [200, 200, 200, 400]
    assert kept[3].json()["error"]["code"] == "quota_exceeded"
    assert attached.status_code == 200
    assert [answer.status_code for answer in listed] == [200, 429]
    assert batch.status_code == 429


@pytest.mark.parametrize("model", [MODEL, "genserve"])
@pytest.mark.parametrize("stream", [True, False])
async def test_tokens_are_paid_afterwards_and_refused_when_used_up(
    model: str, *, stream: bool
) -> None:
    fakes = Fakes(api_keys=KEYS)
    fakes.llm.usage = {"prompt_tokens": 60, "completion_tokens": 50, "total_tokens": 110}
    body = CHAT | {"model": model, "stream": stream}
    async with client(fakes, tokens_per_minute=100) as http:
        first = await http.post("/v1/chat/completions", json=body, headers=bearer(ALICE))
        second = await http.post("/v1/chat/completions", json=body, headers=bearer(ALICE))
        models = await http.get("/v1/models", headers=bearer(ALICE))
        others = await http.post("/v1/chat/completions", json=body, headers=bearer(BOB))
    assert (first.status_code, second.status_code) == (200, 429)
    assert "100 tokens a minute" in second.json()["error"]["message"]
    assert "retry-after" in second.headers
    assert (models.status_code, others.status_code) == (200, 200)


@pytest.mark.parametrize("model", [MODEL, "genserve"])
@pytest.mark.parametrize("asked", [True, False])
async def test_a_stream_shows_its_usage_only_to_who_asked(model: str, *, asked: bool) -> None:
    fakes = Fakes(api_keys=KEYS)
    fakes.llm.usage = {"prompt_tokens": 60, "completion_tokens": 50, "total_tokens": 110}
    body = CHAT | {"model": model, "stream": True, "stream_options": {"include_usage": asked}}
    async with client(fakes) as http:
        answer = await http.post("/v1/chat/completions", json=body, headers=bearer(ALICE))
    datas = [line[6:] for line in answer.text.splitlines() if line.startswith("data: {")]
    chunks = [json.loads(data) for data in datas]
    assert fakes.llm.bodies[0]["stream_options"] == {"include_usage": True}
    assert any(chunk.get("usage") for chunk in chunks) == asked
    text = "".join(
        choice["delta"].get("content", "") for chunk in chunks for choice in chunk["choices"]
    )
    assert text.split() == ["one", "two", "three"]
    assert answer.text.rstrip().endswith("data: [DONE]")


async def test_a_stream_left_early_is_paid_too() -> None:
    fakes = Fakes(api_keys=KEYS)
    fakes.llm.endless = True
    body = CHAT | {"stream": True}
    account = fakes.app(limits={"tokens_per_minute": 100}).state.accounts["alice"]
    stream = account.services.llm.stream_chat(body)
    received = 0
    async for events in stream:
        received += len(events)
        if received > 200:
            break
    await stream.aclose()
    with pytest.raises(Exception, match="100 tokens a minute"):
        await account.services.llm.chat(body)


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_left_before_its_first_word_is_paid_too(*, stream: bool) -> None:
    fakes = Fakes(api_keys=KEYS)

    async def never(body: Any) -> Any:
        await asyncio.Event().wait()

    async def never_stream(body: Any) -> Any:
        await asyncio.Event().wait()
        yield ""

    fakes.llm.chat = never  # type: ignore[method-assign]
    fakes.llm.stream_chat = never_stream  # type: ignore[method-assign]
    llm = fakes.app(limits={"tokens_per_minute": 100}).state.accounts["alice"].services.llm
    body = CHAT | {"messages": [{"role": "user", "content": "word " * 200}]}
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await (anext(llm.stream_chat(body)) if stream else llm.chat(body))
    with pytest.raises(Overloaded, match="100 tokens a minute"):
        await llm.chat(body)


@pytest.mark.parametrize("stream", [True, False])
async def test_an_answer_that_was_refused_costs_nothing(*, stream: bool) -> None:
    fakes = Fakes(api_keys=KEYS)
    fakes.llm.fail_at_start = InvalidRequest("too long")
    body = CHAT | {"stream": stream, "messages": [{"role": "user", "content": "word " * 200}]}
    async with client(fakes, tokens_per_minute=100) as http:
        statuses = [
            (await http.post("/v1/chat/completions", json=body, headers=bearer(ALICE))).status_code
            for _ in range(3)
        ]
    assert statuses == [400, 400, 400]


async def test_embeddings_that_cannot_be_had_cost_nothing() -> None:
    body = {"model": "d", "input": ["a b c", "d e"], "dimensions": 7}
    async with client(Fakes(api_keys=KEYS), tokens_per_minute=5) as http:
        for _ in range(3):
            answer = await http.post("/v1/embeddings", json=body, headers=bearer(ALICE))
            assert answer.status_code == 400


async def test_embeddings_are_paid() -> None:
    body = {"model": "d", "input": ["a b c", "d e"]}
    async with client(Fakes(api_keys=KEYS), tokens_per_minute=5) as http:
        first = await http.post("/v1/embeddings", json=body, headers=bearer(ALICE))
        second = await http.post("/v1/embeddings", json=body, headers=bearer(ALICE))
    assert (first.status_code, second.status_code) == (200, 429)
    assert first.json()["usage"] == {"prompt_tokens": 5, "total_tokens": 5}


async def test_tokens_that_a_piece_reports_are_paid() -> None:
    fakes = Fakes(api_keys=KEYS)

    async def reported(body: Any) -> Any:
        yield [Piece("snow", chunk={"usage": {"total_tokens": 100}})]

    fakes.llm.stream_chat = reported  # type: ignore[method-assign]
    llm = fakes.app(limits={"tokens_per_minute": 100}).state.accounts["alice"].services.llm
    _ = [events async for events in llm.stream_chat(CHAT)]
    with pytest.raises(Overloaded, match="100 tokens a minute"):
        await llm.chat(CHAT)
