"""The forwarding engine against a real HTTP server that misbehaves on purpose."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from deployments.answer_events import AnswerEvent, Opening, Piece
from deployments.errors import InvalidRequest, Overloaded, ServiceError, Unavailable
from deployments.llm.openai_engine import OpenAIEngine
from deployments.llm.usage import EngineUsage
from deployments.settings import LLMSettings

pytestmark = pytest.mark.anyio
BODY = {
    "model": "ours",
    "messages": [{"role": "user", "content": "hi"}],
    "top_k": 5,
    "max_tokens": 9,
    "cache_salt": "alice",
}


@dataclass
class Endpoint:
    """Gives the listed statuses in turn, then answers."""

    statuses: list[int] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    break_after_first: bool = False
    hang_after_first: bool = False
    ends_at_once: bytes | None = None
    choices: bool = True
    left: asyncio.Event = field(default_factory=asyncio.Event)
    usage: dict[str, int] | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.bodies.append(await request.json())
        self.keys.append(request.headers.get("authorization"))
        if self.statuses:
            error = {"error": {"message": "as told", "param": "top_k"}}
            headers = {"retry-after": "0"}
            return web.json_response(error, status=self.statuses.pop(0), headers=headers)
        if not self.bodies[-1].get("stream"):
            answer = completion("hello") | {"usage": self.usage}
            return web.json_response(answer if self.choices else answer | {"choices": []})
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        if self.ends_at_once is not None:
            await response.write(self.ends_at_once)
            return response
        await response.write(event("hel"))
        if self.break_after_first:
            request.transport.abort()  # type: ignore[union-attr]
            return response
        try:
            while self.hang_after_first:
                await response.write(event("."))
                await asyncio.sleep(0.02)
        except ConnectionResetError:
            self.left.set()
        await response.write(event("lo", self.usage) + b"data: [DONE]\n\n")
        return response

    @contextlib.asynccontextmanager
    async def engine(self, attempts: int = 4) -> AsyncIterator[OpenAIEngine]:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.handle)
        runner = web.AppRunner(app)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        settings = LLMSettings(
            engine="openai",
            model="theirs",
            served_name="ours",
            base_url=f"http://127.0.0.1:{port}/v1",
        )
        engine = OpenAIEngine(settings, SecretStr("a-key"), attempts=attempts)
        try:
            yield engine
        finally:
            await engine.close()
            await runner.cleanup()


def completion(text: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    return {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}


def event(text: str, usage: dict[str, int] | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    chunk = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    chunk |= {"choices": [choice], **({"usage": usage} if usage else {})}
    return f"data: {json.dumps(chunk)}\n\n".encode()


def texts(events: Sequence[AnswerEvent]) -> list[str | None]:
    return [event.text for event in events if isinstance(event, Piece)]


async def test_the_request_is_forwarded_under_the_endpoints_model_id() -> None:
    endpoint = Endpoint()
    async with endpoint.engine() as engine:
        answer = await engine.chat(BODY)
    assert answer["choices"][0]["message"]["content"] == "hello"
    assert (endpoint.bodies[0]["model"], answer["model"]) == ("theirs", "ours")
    assert endpoint.bodies[0]["top_k"] == 5
    assert "cache_salt" not in endpoint.bodies[0]
    assert endpoint.keys == ["Bearer a-key"]


async def test_tokens_that_the_endpoint_tells_of_are_counted() -> None:
    endpoint = Endpoint(usage={"prompt_tokens": 7, "completion_tokens": 2, "total_tokens": 9})
    async with endpoint.engine() as engine:
        assert engine.usage() == EngineUsage(running=None, waiting=None)  # the endpoint's matter
        await engine.chat(BODY)
        _ = [event async for events in engine.chat_events(BODY) for event in events]
        assert engine.usage() == EngineUsage(prompt_tokens=14, completion_tokens=4)
        endpoint.usage = None
        await engine.chat(BODY)
        assert engine.usage().prompt_tokens == 14


async def test_a_count_that_the_endpoint_leaves_out_breaks_no_answer() -> None:
    endpoint = Endpoint(usage={"prompt_tokens": 3, "total_tokens": 5})
    async with endpoint.engine() as engine:
        await engine.chat(BODY)
        events = [event async for events in engine.chat_events(BODY) for event in events]
        assert texts(events) == ["hel", "lo"]
        assert engine.usage() == EngineUsage(prompt_tokens=6)


async def test_events_stream_through() -> None:
    async with Endpoint().engine() as engine:
        opening, *events = [event async for events in engine.chat_events(BODY) for event in events]
    fields = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": "ours"}
    assert opening == Opening(fields)
    assert events == [Piece("hel"), Piece("lo")]


@pytest.mark.parametrize("stream", [False, True])
async def test_it_backs_off_on_429_and_5xx_before_the_first_token(*, stream: bool) -> None:
    endpoint = Endpoint([429, 503, 500])
    async with endpoint.engine() as engine:
        if stream:
            assert (
                len([event async for events in engine.chat_events(BODY) for event in events]) == 3
            )
        else:
            await engine.chat(BODY)
    assert len(endpoint.bodies) == 4


async def test_it_gives_up_after_the_last_attempt_with_the_kind_of_error() -> None:
    for status, kind in ((429, Overloaded), (503, Unavailable)):
        endpoint = Endpoint([status] * 9)
        async with endpoint.engine(attempts=2) as engine:
            with pytest.raises(kind):
                await engine.chat(BODY)
        assert len(endpoint.bodies) == 2


async def test_a_refused_request_is_not_repeated_and_names_the_field() -> None:
    endpoint = Endpoint([400])
    async with endpoint.engine() as engine:
        with pytest.raises(InvalidRequest, match="as told") as caught:
            await engine.chat(BODY)
    assert caught.value.param == "top_k"
    assert len(endpoint.bodies) == 1


async def test_a_wrong_key_is_the_services_trouble_not_the_callers() -> None:
    async with Endpoint([401]).engine() as engine:
        with pytest.raises(Unavailable, match="key"):
            await engine.chat(BODY)


@pytest.mark.parametrize("body", [b"", b"data: [DONE]\n\n"])
async def test_a_stream_that_ends_before_its_first_chunk_is_unavailable(body: bytes) -> None:
    async with Endpoint(ends_at_once=body).engine() as engine:
        with pytest.raises(Unavailable, match="before it began"):
            await anext(engine.chat_events(BODY))


async def test_an_answer_without_choices_is_unavailable() -> None:
    async with Endpoint(choices=False).engine() as engine:
        with pytest.raises(Unavailable, match="without"):
            await engine.chat(BODY)


async def test_after_the_first_token_nothing_is_repeated() -> None:
    endpoint = Endpoint(break_after_first=True)
    async with endpoint.engine() as engine:
        events = engine.chat_events(BODY)
        assert texts(await anext(events)) == ["hel"]
        with pytest.raises(ServiceError):
            await anext(events)
    assert len(endpoint.bodies) == 1


async def test_closing_the_stream_closes_the_connection() -> None:
    endpoint = Endpoint(hang_after_first=True)
    async with endpoint.engine() as engine:
        events = engine.chat_events(BODY)
        await anext(events)
        await events.aclose()
        async with asyncio.timeout(5):
            await endpoint.left.wait()


async def test_an_endpoint_that_is_not_there_is_unavailable() -> None:
    settings = LLMSettings(
        engine="openai",
        model="m",
        served_name="ours",
        base_url="http://127.0.0.1:9/v1",
    )
    engine = OpenAIEngine(settings, None, attempts=1)
    with pytest.raises(Unavailable) as caught:
        await engine.chat(BODY)
    assert "127.0.0.1" not in caught.value.message
    await engine.close()


async def test_tokens_are_estimated_high_rather_than_low() -> None:
    async with Endpoint().engine() as engine:
        counts = await engine.count_tokens(["", "four char words", "日本語", "1984", '{"a": []}'])
    # Spaces are counted for themselves; models of today have each digit for itself.
    assert counts == [0, 8, 3, 4, 9]
