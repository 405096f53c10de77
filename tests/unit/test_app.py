"""The HTTP surface over fakes: statuses, forms, degradation, streams and their end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from deployments.errors import Overloaded, ServiceError, Unavailable
from deployments.types import Document, Page, PageOutcome, Passage
from serve_app.testing import MODEL, Fakes
from tests.support.event_streams import events

pytestmark = pytest.mark.anyio
PASSAGE = Passage("doc_" + "0" * 32, "a.pdf", "A", "", 0, 0, "snow is white", 3, 4, 0.5)
CHAT: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "one two"}]}


async def test_an_answer_comes_with_its_sources_and_timings() -> None:
    fakes = Fakes()
    fakes.retriever.passages = [PASSAGE]
    fakes.scraper.pages = [
        Page("https://a.example", PageOutcome.OK, "https://a.example/", "Title", "page text"),
        Page("https://b.example", PageOutcome.TIMEOUT, detail="it took too long"),
    ]
    async with fakes.client() as http:
        prompt = "Compare https://a.example and https://b.example for snow"
        answer = (await http.post("/generate/text", json={"prompt": prompt})).json()
    assert [s["kind"] for s in answer["sources"]] == ["page", "document"]
    assert answer["sources"][1]["page"] == 3
    assert answer["warnings"] == [
        {"code": "page_timeout", "message": "it took too long", "url": "https://b.example"}
    ]
    assert "page text" in answer["content"]
    assert "it took too long" not in answer["content"]
    assert {"pages_s", "search_s", "total_s"} <= set(answer["timings"])
    assert fakes.retriever.queries == ["Compare and for snow"]


async def test_a_retriever_that_is_down_or_hangs_degrades_the_answer_and_says_so() -> None:
    fakes = Fakes()
    fakes.retriever.search_error = Unavailable("gone")
    async with fakes.client() as http:
        answer = await http.post("/generate/text", json={"prompt": "snow?"})
    assert answer.status_code == 200
    assert [w["code"] for w in answer.json()["warnings"]] == ["search_unavailable"]
    fakes = Fakes()
    fakes.retriever.never_answers = True
    quick = {"context_timeout_s": 0.05}
    async with fakes.client(answer=quick, scraper={"page_timeout_s": 0.05}) as http:
        answer = await http.post("/generate/text", json={"prompt": "snow?"})
    assert [w["code"] for w in answer.json()["warnings"]] == ["search_unavailable"]


async def test_a_stream_sends_sources_then_tokens_then_the_end() -> None:
    fakes = Fakes()
    fakes.retriever.passages = [PASSAGE]
    async with fakes.client() as http:
        answer = await http.post("/generate/text", json={"prompt": "snow?", "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    names = [name for name, _ in events(answer.text)]
    assert names[0] == "sources"
    assert set(names[1:-1]) <= {"token", "attribution"}
    assert names[-1] == "done"


@pytest.mark.parametrize("route", ["/generate/text", "/v1/chat/completions"])
async def test_no_answer_cites_what_is_not_among_its_sources(route: str) -> None:
    fakes = Fakes()
    fakes.retriever.passages = [PASSAGE]
    fakes.scraper.pages = [
        Page("https://a.example", PageOutcome.OK, "https://a.example/", "Title", "page text"),
        Page("https://b.example", PageOutcome.TIMEOUT, detail="it took too long"),
    ]
    text = "Compare https://a.example and https://b.example on snow [7] or [2, 3] snow"
    body: dict[str, Any] = {"prompt": text}
    if route.startswith("/v1"):
        body = {"model": "genserve", "messages": [{"role": "user", "content": text}]}
    async with fakes.client() as http:
        whole = (await http.post(route, json=body)).json()
        stream = await http.post(route, json=body | {"stream": True})
    if route.startswith("/v1"):
        content = whole["choices"][0]["message"]["content"]
        blocks = [b.removeprefix("data: ") for b in stream.text.split("\n\n") if b]
        chunks = [json.loads(block) for block in blocks[:-1]]
        opening, ending = chunks[0], chunks[-1]
        streamed = "".join(c["choices"][0]["delta"]["content"] for c in chunks)
        assert ending["choices"][0]["finish_reason"] == "stop"
    else:
        content = whole["content"]
        (_, opening), *tokens, (_, ending) = events(stream.text)
        streamed = "".join(data["text"] for name, data in tokens if name == "token")
    assert content.endswith("on snow or [2] snow")
    assert streamed == " ".join(content.split()) + " "
    assert [source["cited"] for source in whole["sources"]] == [False, True]
    assert [source["cited"] for source in opening["sources"]] == [None, None]
    assert ending["cited"] == [2]
    outcomes = [(page["url"], page["outcome"], page["source"]) for page in whole["pages"]]
    assert outcomes == [("https://a.example", "ok", 1), ("https://b.example", "timeout", None)]
    assert opening["pages"] == whole["pages"]


async def test_json_is_not_searched_for_citations() -> None:
    fakes = Fakes()
    fakes.retriever.passages = [PASSAGE]
    body = {
        "model": "genserve",
        "messages": [{"role": "user", "content": 'primes: {"primes": [7, 11], "one": [7]}'}],
        "response_format": {"type": "json_object"},
    }
    async with fakes.client() as http:
        whole = (await http.post("/v1/chat/completions", json=body)).json()
    assert whole["choices"][0]["message"]["content"].endswith('{"primes": [7, 11], "one": [7]}')


async def test_the_first_chunk_is_filtered_too() -> None:
    fakes = Fakes()
    fakes.retriever.passages = [PASSAGE]
    fakes.llm.opening = "It is so [7] "
    async with fakes.client() as http:
        stream = await http.post("/generate/text", json={"prompt": "snow?", "stream": True})
    (_, _), *tokens, (_, _) = events(stream.text)
    assert "".join(data["text"] for _, data in tokens).startswith("It is so ")
    assert "[7]" not in stream.text


async def test_an_answer_is_never_wanted_longer_than_there_is_room() -> None:
    fakes = Fakes()
    fakes.llm.window = 400
    body = {
        "model": "genserve",
        "messages": [{"role": "user", "content": "word " * 150}],
        "max_tokens": 350,
        "min_tokens": 340,
    }
    async with fakes.client() as http:
        answer = await http.post("/v1/chat/completions", json=body)
    assert answer.status_code == 200
    (asked,) = fakes.llm.bodies
    assert asked["min_tokens"] == asked["max_tokens"] < 340


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status"), [(Overloaded("full"), 429), (Unavailable("down"), 503)]
)
@pytest.mark.parametrize("route", ["/generate/text", "/v1/chat/completions"])
async def test_a_failure_to_begin_has_its_true_status(
    route: str, error: ServiceError, status: int, *, stream: bool
) -> None:
    fakes = Fakes()
    fakes.llm.fail_at_start = error
    body = {"prompt": "x"} if route.startswith("/generate") else CHAT
    async with fakes.client() as http:
        answer = await http.post(route, json={**body, "stream": stream})
    assert answer.status_code == status
    assert answer.json()["error"]["code"] == error.code
    assert int(answer.headers["retry-after"]) >= 1


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/generate/text", {"prompt": "x"}),
        ("/v1/chat/completions", CHAT | {"model": "genserve"}),
        ("/v1/chat/completions", CHAT),
        ("/v1/completions", {"model": MODEL, "prompt": "x"}),
    ],
)
async def test_an_engine_whose_stream_ends_before_its_first_chunk_is_unavailable(
    route: str, body: dict[str, Any]
) -> None:
    fakes = Fakes()
    fakes.llm.silent = True
    async with fakes.client() as http:
        answer = await http.post(route, json=body | {"stream": True})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert "language model" in answer.json()["error"]["message"]


async def test_a_failure_midway_is_an_event() -> None:
    fakes = Fakes()
    fakes.llm.fail_midway = Unavailable("the model stopped")
    async with fakes.client() as http:
        ours = await http.post("/generate/text", json={"prompt": "x", "stream": True})
        bare = await http.post("/v1/chat/completions", json={**CHAT, "stream": True})
    name, data = events(ours.text)[-1]
    assert (name, data["error"]["message"]) == ("error", "the model stopped")
    assert '"message":"the model stopped"' in bare.text.rsplit("data: ", 1)[-1]


async def test_the_bare_model_passes_through_and_genserve_adds_to_openais_form() -> None:
    fakes = Fakes()
    fakes.retriever.passages = [PASSAGE]
    async with fakes.client() as http:
        bare = (await http.post("/v1/chat/completions", json=CHAT)).json()
        ours = (await http.post("/v1/chat/completions", json={**CHAT, "model": "genserve"})).json()
        stream = await http.post(
            "/v1/chat/completions", json={**CHAT, "model": "genserve", "stream": True}
        )
    assert "sources" not in bare
    assert bare["choices"][0]["message"]["content"] == "one two"
    assert ours["sources"][0]["text"] == "snow is white"
    chunks = [line.removeprefix("data: ") for line in stream.text.split("\n\n") if line]
    assert chunks.pop() == "[DONE]"
    parsed = [json.loads(chunk) for chunk in chunks]
    assert parsed[0]["sources"][0]["page"] == 3
    assert all(chunk["choices"] for chunk in parsed)
    assert "timings" in parsed[-1]


async def test_an_answer_of_ours_can_be_sent_back_as_it_came() -> None:
    fakes = Fakes()
    nothing = dict.fromkeys(("refusal", "annotations", "audio", "function_call", "reasoning"))
    answered = {"role": "assistant", "content": "one two"} | nothing
    body = CHAT | {"messages": [*CHAT["messages"], answered, *CHAT["messages"]], "store": False}
    async with fakes.client() as http:
        for model in (MODEL, "genserve"):
            again = await http.post("/v1/chat/completions", json=body | {"model": model})
            assert again.status_code == 200, again.text
    assert all(
        set(message) == {"role", "content"}
        for sent in fakes.llm.bodies
        for message in sent["messages"]
    )
    assert not any("store" in sent for sent in fakes.llm.bodies)


async def test_context_can_be_switched_off_for_a_request() -> None:
    fakes = Fakes()
    async with fakes.client() as http:
        body = {**CHAT, "model": "genserve", "context": {"web": False, "documents": False}}
        body["messages"] = [{"role": "user", "content": "see https://a.example"}]
        await http.post("/v1/chat/completions", json=body)
    assert fakes.scraper.asked == []
    assert fakes.retriever.queries == []


@pytest.mark.parametrize(
    ("route", "body", "status", "param"),
    [
        ("/generate/text", {"prompt": ""}, 400, "prompt"),
        ("/generate/text", {"prompt": "x", "temperature": "hot"}, 400, "temperature"),
        ("/generate/text", {"prompt": "x", "temperature": 3}, 400, "temperature"),
        ("/generate/text", {"prompt": "x", "max_tokens": 5000}, 400, "max_tokens"),
        ("/generate/text", {"prompt": "x", "colour": 1}, 400, "colour"),
        ("/generate/text", {"prompt": "x", "collection": "../x"}, 400, "collection"),
        ("/generate/text", {"prompt": "x", "collection": "unknown"}, 404, "collection"),
        ("/generate/text", {"prompt": "x" * 100_001}, 413, "prompt"),
        ("/generate/text", {"prompt": "x" * 1_000_000}, 413, None),
        ("/v1/chat/completions", {**CHAT, "model": "gpt-9"}, 404, "model"),
        ("/v1/chat/completions", {**CHAT, "chat_template": "x"}, 400, "chat_template"),
        ("/v1/chat/completions", {**CHAT, "messages": []}, 400, "messages"),
        ("/v1/chat/completions", {**CHAT, "n": 1000}, 400, "n"),
    ],
)
async def test_bad_input_is_refused_at_once_in_the_one_form(
    route: str, body: dict[str, Any], status: int, param: str | None
) -> None:
    fakes = Fakes()
    async with fakes.client() as http:
        answer = await http.post(route, json=body)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}
    assert answer.json()["error"]["param"] == param
    assert fakes.llm.bodies == []


async def test_a_chunked_body_is_cut_off_at_the_bound() -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b"x" * 100_000

    async with Fakes().client() as http:
        answer = await http.post("/generate/text", content=endless())
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_large")


async def test_unknown_routes_and_methods_have_the_one_form() -> None:
    async with Fakes().client() as http:
        assert "no route GET /nowhere" in (await http.get("/nowhere")).json()["error"]["message"]
        assert (await http.get("/generate/text")).json()["error"]["code"] == "method_not_allowed"


async def test_a_document_is_listed_and_forgotten() -> None:
    fakes = Fakes()
    document = Document("doc_" + "0" * 32, "default", "a.pdf", "A", "application/pdf", 4, 1, 3, 1.5)
    await fakes.retriever.add(document, [])
    await fakes.retriever.publish(document)
    await fakes.catalogue.versions.import_completed([document])
    async with fakes.client() as http:
        listed = (await http.get("/v1/documents")).json()
        gone = await http.delete(f"/v1/documents/{document.id}")
        again = await http.delete(f"/v1/documents/{document.id}")
    assert [(d["chunks"], d["created_at"]) for d in listed["data"]] == [(3, 1)]
    assert (gone.status_code, again.status_code) == (204, 404)


async def test_leaving_a_stream_stops_the_generation() -> None:
    fakes = Fakes()
    fakes.llm.endless = True
    app = fakes.app()
    sent: list[dict[str, Any]] = []
    body = json.dumps({**CHAT, "stream": True}).encode()
    requests = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if requests:
            return requests.pop(0)
        while len(sent) < 4:
            await asyncio.sleep(0.005)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/chat/completions",
        "raw_path": b"",
        "query_string": b"",
        "client": ("127.0.0.1", 1),
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json")],
    }
    async with asyncio.timeout(5):
        await app(scope, receive, send)
        await fakes.llm.closed.wait()


async def test_readiness_names_the_one_that_is_down() -> None:
    fakes = Fakes()
    async with fakes.client() as http:
        ready = await http.get("/readyz")
    assert (ready.status_code, ready.json()["deployments"]["llm"]["running_requests"]) == (200, 1)
    assert {"images", "jobs"} <= set(ready.json()["deployments"])

    async def down() -> None:
        msg = "the embedder is not available"
        raise Unavailable(msg)

    fakes.embedder.check_health = down  # type: ignore[method-assign]
    async with fakes.client() as http:
        answer = await http.get("/readyz")
        alive = await http.get("/healthz")
    assert (answer.status_code, alive.status_code) == (503, 200)
    states = answer.json()["deployments"]
    assert [name for name, state in states.items() if not state["ready"]] == ["embedder"]
