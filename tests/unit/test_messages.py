"""Anthropic's Messages API by its own Python SDK, over fakes; every answer fits the SDK's types."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from anthropic.types import Message, MessageTokensCount, RawMessageStreamEvent
from anthropic.types.shared import ErrorResponse
from pydantic import TypeAdapter

from deployments.answer_events import AnswerEvent, Opening, Piece, TokenUsage
from deployments.errors import CONTEXT_LENGTH_EXCEEDED, InvalidRequest, Overloaded, Unavailable
from deployments.types import Page, PageOutcome, Passage
from serve_app.testing import MODEL, Fakes
from serve_app.testing.llm import FakeModel
from tests.support.event_streams import events

pytestmark = pytest.mark.anyio
ASKED: list[Any] = [{"role": "user", "content": "What colour is snow?"}]
BODY: dict[str, Any] = {"model": MODEL, "max_tokens": 50, "messages": ASKED}
PASSAGE = Passage("doc_" + "0" * 32, "a.pdf", "Snow", "", 0, 0, "Snow is white.", 3, 4, 0.5)
PAGE = Page(
    "https://a.example", PageOutcome.OK, "https://a.example/", "Ice", "Ice is blue in Oslo."
)
EVENT: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)
WEATHER: Any = {
    "name": "weather",
    "description": "The weather in a city.",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
}
KEYS = f"alice:{'k' * 24},bob:{'b' * 24}"


@dataclass
class ScriptedModel(FakeModel):
    """Writes these events, whole or streamed."""

    script: Sequence[AnswerEvent] = ()

    async def chat(self, body: Mapping[str, Any]) -> dict[str, Any]:
        self.bodies.append(body)
        message: dict[str, Any] = {"role": "assistant", "content": None}
        calls: dict[int, dict[str, Any]] = {}
        choice: dict[str, Any] = {"index": 0, "message": message}
        completion: dict[str, Any] = {"id": "1", "model": MODEL, "choices": [choice]}
        for event in self.script:
            if isinstance(event, TokenUsage):
                completion["usage"] = event.tokens
                continue
            assert isinstance(event, Piece)
            message["content"] = (message["content"] or "") + (event.text or "") or None
            for name, value in (event.delta or {}).items():
                if name == "tool_calls":
                    for call in value:
                        known = calls.setdefault(call["index"], {"function": {"arguments": ""}})
                        arguments = known["function"]["arguments"] + call["function"]["arguments"]
                        known.update(call)
                        known["function"] = {**known["function"], "arguments": arguments}
                        known["function"].setdefault("name", "weather")
                else:
                    message[name] = message.get(name, "") + value
            choice["finish_reason"] = event.finish_reason
            choice.update(event.choice or {})
        if calls:
            message["tool_calls"] = list(calls.values())
        return completion

    async def stream_chat(
        self, body: Mapping[str, Any]
    ) -> AsyncGenerator[Sequence[AnswerEvent], None]:
        self.bodies.append(body)
        yield [Opening({"id": "1"}), Piece("", delta={"role": "assistant"})]
        for event in self.script:
            yield [event]


def call(arguments: str, **named: Any) -> Piece:
    function = {"arguments": arguments, **({"name": "weather"} if named else {})}
    return Piece(None, delta={"tool_calls": [{"index": 0, "function": function, **named}]})


USAGE = TokenUsage(
    {
        "prompt_tokens": 30,
        "completion_tokens": 9,
        "total_tokens": 39,
        "prompt_tokens_details": {"cached_tokens": 16},
        "completion_tokens_details": {"reasoning_tokens": 4},
    }
)
CALLS = (
    Piece(None, delta={"reasoning": "Where "}),
    Piece(None, delta={"reasoning": "is it?"}),
    Piece("\n\n"),
    Piece("I look."),
    call("", id="call-1", type="function"),
    call('{"city": "Pa'),
    call('ris"}'),
    Piece(None, finish_reason="tool_calls"),
    USAGE,
)


@asynccontextmanager
async def client_of(fakes: Fakes, **changes: Any) -> AsyncIterator[anthropic.AsyncAnthropic]:
    transport = httpx2.ASGITransport(fakes.app(**changes), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport) as http:
        yield anthropic.AsyncAnthropic(
            base_url="http://127.0.0.1", api_key="k" * 24, max_retries=0, http_client=http
        )


async def answered(fakes: Fakes, body: dict[str, Any] | None = None, **more: Any) -> Message:
    """Whole and streamed, which must be the same; each part must fit the SDK's types."""
    asked = (body or BODY) | more
    async with fakes.client() as http:
        whole = await http.post("/v1/messages", json=asked)
        stream = await http.post("/v1/messages", json=asked | {"stream": True})
    assert whole.status_code == stream.status_code == 200, whole.text
    for _, data in events(stream.text):
        EVENT.validate_python(data)
    async with client_of(fakes) as client:
        streamed = client.messages.stream(
            **{name: value for name, value in asked.items() if name != "context"},
            extra_body={"context": asked["context"]} if "context" in asked else None,
        )
        async with streamed as given:
            final = await given.get_final_message()
    message = Message.model_validate(whole.json())
    said = [block.to_dict() for block in message.content]
    assert [block.to_dict() for block in final.content] == said
    for name in ("stop_reason", "stop_sequence", "role", "model"):
        assert getattr(final, name) == getattr(message, name)
    assert final.usage.to_dict() == message.usage.to_dict()
    return message


async def test_reasoning_text_and_tool_calls_become_blocks() -> None:
    fakes = Fakes(llm=ScriptedModel(script=CALLS))
    message = await answered(fakes, tools=[WEATHER], tool_choice={"type": "any"})
    assert [block.type for block in message.content] == ["thinking", "text", "tool_use"]
    thinking, text, use = (block.to_dict() for block in message.content)
    assert thinking["thinking"] == "Where is it?"
    assert text["text"] == "\n\nI look."
    assert (use["id"], use["name"], use["input"]) == ("call-1", "weather", {"city": "Paris"})
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.cache_read_input_tokens) == (14, 16)
    assert message.usage.output_tokens == 9
    assert message.usage.output_tokens_details
    assert message.usage.output_tokens_details.thinking_tokens == 4
    assert fakes.llm.bodies[0]["tool_choice"] == "required"
    hidden = await answered(fakes, thinking={"type": "disabled"})
    assert [block.type for block in hidden.content] == ["text", "tool_use"]


@pytest.mark.parametrize(
    ("finish", "stop_reason", "expected"),
    [
        ("stop", None, ("end_turn", None)),
        ("stop", "END", ("stop_sequence", "END")),
        ("length", None, ("max_tokens", None)),
        ("content_filter", None, ("refusal", None)),
    ],
)
async def test_an_answer_says_why_it_ended(
    finish: str, stop_reason: str | None, expected: tuple[str, str | None]
) -> None:
    end = Piece("White", finish_reason=finish, choice={"stop_reason": stop_reason})
    message = await answered(Fakes(llm=ScriptedModel(script=[end])), stop_sequences=["END"])
    assert (message.stop_reason, message.stop_sequence) == expected
    cut = [
        call('{"city": "Oslo", "day": "to', id="1", type="function"),
        Piece(None, finish_reason="length"),
    ]
    message = await answered(Fakes(llm=ScriptedModel(script=cut)), tools=[WEATHER])
    assert message.content[0].to_dict()["input"] == {"city": "Oslo"}
    assert message.stop_reason == "max_tokens"


async def test_a_conversation_becomes_that_of_a_chat() -> None:
    fakes = Fakes()
    thought = {"type": "thinking", "thinking": "?", "signature": ""}
    use = {"type": "tool_use", "id": "call-1", "name": "weather", "input": {"city": "Oslo"}}
    found = {
        "type": "search_result",
        "source": "https://a.example",
        "title": "Ice",
        "content": [{"type": "text", "text": "It is cold."}],
    }
    document = {
        "type": "document",
        "title": "Snow",
        "source": {"type": "text", "media_type": "text/plain", "data": "Snow is white."},
    }
    result = {"type": "tool_result", "tool_use_id": "call-1", "content": [found], "is_error": True}
    body = {
        "model": MODEL,
        "max_tokens": 9000,
        "system": [{"type": "text", "text": "Be short.", "cache_control": {"type": "ephemeral"}}],
        "messages": [
            {"role": "user", "content": "one"},
            {"role": "user", "content": [document, {"type": "text", "text": "two"}]},
            {"role": "assistant", "content": [thought, {"type": "text", "text": "Well"}, use]},
            {"role": "user", "content": [result, {"type": "text", "text": "three"}]},
            {"role": "system", "content": "Be kind."},
            {"role": "assistant", "content": "It is"},
        ],
        "tools": [WEATHER | {"cache_control": None}],
        "tool_choice": {"type": "tool", "name": "weather", "disable_parallel_tool_use": True},
        "output_config": {"format": {"type": "json_schema", "schema": {"type": "boolean"}}},
        "stop_sequences": ["END"],
        "top_k": 3,
        "temperature": 0.5,
        "metadata": {"user_id": "u"},
        "context_management": {"edits": [{"type": "clear_thinking_20251015"}]},
    }
    async with fakes.client() as http:
        answer = (await http.post("/v1/messages", json=body)).json()
    (asked,) = fakes.llm.bodies
    assert [each["role"] for each in asked["messages"]] == [
        *("system", "user", "assistant", "tool", "user", "assistant")
    ]
    contents = [each["content"] for each in asked["messages"]]
    assert contents == [
        "Be short.\n\nBe kind.",
        "one\n\nSnow\nSnow is white.\ntwo",
        "Well",
        "Error: Ice\nhttps://a.example\nIt is cold.",
        "three",
        "It is",
    ]
    (called,) = asked["messages"][2]["tool_calls"]
    assert json.loads(called["function"]["arguments"]) == {"city": "Oslo"}
    assert asked["messages"][3]["tool_call_id"] == called["id"] == "call-1"
    assert asked["continue_final_message"] is True
    assert asked["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert asked["parallel_tool_calls"] is False
    assert asked["response_format"]["json_schema"]["schema"] == {"type": "boolean"}
    assert (asked["stop"], asked["top_k"], asked["temperature"]) == (["END"], 3, 0.5)
    # The bound of a large model is lowered to what this one has room for, and it is said.
    assert asked["max_tokens"] == 4096 - 20
    assert answer["warnings"][0]["code"] == "answer_limited"
    assert answer["context_management"] == {"applied_edits": []}


async def test_a_grounded_answer_has_citations_sources_and_its_models_name() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 8, "total_tokens": 17}
    reply = "Snow is white [2]. Ice is blue in Oslo. Tin is soft. "
    fakes = Fakes(llm=FakeModel(reply=reply, usage=usage))
    fakes.retriever.passages, fakes.scraper.pages = [PASSAGE], [PAGE]
    asked = [{"role": "user", "content": "Snow or ice? https://a.example"}]
    message = await answered(fakes, BODY | {"model": "genserve", "messages": asked})
    (text,) = (block.to_dict() for block in message.content)
    citations: Any = text["citations"]
    assert [each["cited_text"] for each in citations] == ["Snow is white.", "Ice is blue in Oslo."]
    assert [each["type"] for each in citations] == ["web_search_result_location"] * 2
    assert [each["title"] for each in citations] == ["Snow", "Ice"]
    assert citations[0]["url"] == f"/v1/documents/{PASSAGE.document_id}/content?version=1"
    assert citations[1]["url"] == "https://a.example/"
    for each in citations:
        sentence = str(text["text"])[each["start_index"] : each["end_index"]]
        assert sentence[:4] == each["cited_text"][:4]
    extra = message.model_extra or {}
    assert [source["kind"] for source in extra["sources"]] == ["page", "document"]
    assert extra["cited"] == [2]
    assert [one["source"] for one in extra["attributions"]] == [2, 1, None]
    # What was cited can be sent back.
    again = [*asked, {"role": "assistant", "content": [text]}, *asked]
    assert (await answered(fakes, BODY | {"model": "genserve", "messages": again})).content
    assert fakes.llm.bodies[-1]["messages"][-2]["content"].startswith("Snow is white.")
    begun = [*asked, {"role": "assistant", "content": "It is"}]
    assert (await answered(fakes, BODY | {"model": "genserve", "messages": begun})).content
    assert fakes.llm.bodies[-1]["continue_final_message"] is True
    assert fakes.llm.bodies[-1]["messages"][-1] == begun[-1]
    limited = await answered(fakes, BODY | {"model": "genserve", "max_tokens": 64_000})
    warnings = (limited.model_extra or {})["warnings"]
    assert [warning["code"] for warning in warnings] == ["answer_limited"]
    plain = await answered(
        fakes,
        BODY | {"model": "genserve", "context": {"web": False, "documents": False}},
    )
    assert "citations" not in plain.content[0].to_dict()


async def test_a_hosted_web_tool_lets_the_bare_model_read_the_pages_of_a_prompt() -> None:
    piece = Piece("Ice is blue in Oslo.", finish_reason="stop")
    fakes = Fakes(llm=ScriptedModel(script=[piece, USAGE]))
    fakes.retriever.passages, fakes.scraper.pages = [PASSAGE], [PAGE]
    asked = BODY | {"messages": [{"role": "user", "content": "What is https://a.example?"}]}
    tool = {"type": "web_search_20250305", "name": "web_search", "max_uses": 2}
    message = await answered(fakes, asked, tools=[tool])
    assert message.model == MODEL
    citations: Any = message.content[0].to_dict()["citations"]
    assert [each["url"] for each in citations] == ["https://a.example/"]
    prompt = str(fakes.llm.bodies[0]["messages"])
    assert "Ice is blue" in prompt
    assert "Snow is white" not in prompt
    assert "tools" not in fakes.llm.bodies[0]


async def test_the_tool_runner_of_the_sdk_calls_a_function() -> None:
    asked: list[str] = []

    @anthropic.beta_async_tool
    async def weather(city: str) -> str:
        """The weather in a city.

        Args:
            city: Its name.
        """
        asked.append(city)
        model.script = [Piece("It rains.", finish_reason="stop"), USAGE]
        return "rain"

    model = ScriptedModel(script=CALLS)
    async with client_of(Fakes(llm=model)) as client:
        runner = client.beta.messages.tool_runner(
            model=MODEL, max_tokens=50, messages=ASKED, tools=[weather]
        )
        final = await runner.until_done()
    assert asked == ["Paris"]
    assert final.content[0].to_dict()["text"] == "It rains."
    assert model.bodies[1]["messages"][-1] == {
        "role": "tool",
        "tool_call_id": "call-1",
        "content": "rain",
    }


async def test_tokens_are_counted_by_the_engine() -> None:
    async with Fakes().client() as http:
        counted = await http.post(
            "/v1/messages/count_tokens",
            json={"model": "genserve", "system": "one two", "messages": ASKED},
        )
    assert MessageTokensCount.model_validate(counted.json()).input_tokens == 6


FAULTS: list[tuple[dict[str, Any], dict[str, Any], int, str, type[anthropic.APIStatusError]]] = [
    ({}, {"model": "none"}, 404, "not_found_error", anthropic.NotFoundError),
    ({}, {"max_tokens": 0}, 400, "invalid_request_error", anthropic.BadRequestError),
    ({}, {"temprature": 1}, 400, "invalid_request_error", anthropic.BadRequestError),
    (
        {},
        {"messages": [{"role": "user", "content": "x" * 101_000}]},
        413,
        "request_too_large",
        anthropic.APIStatusError,
    ),
    (
        {"fail_at_start": Overloaded("full", retry_after_s=7)},
        {},
        429,
        "rate_limit_error",
        anthropic.RateLimitError,
    ),
    (
        {"fail_at_start": Unavailable("down")},
        {},
        503,
        "overloaded_error",
        anthropic.ServiceUnavailableError,
    ),
    ({"fail_at_start": RuntimeError("?")}, {}, 500, "api_error", anthropic.InternalServerError),
]


@pytest.mark.parametrize(("model", "changes", "status", "kind", "raised"), FAULTS)
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_have_anthropics_form(  # noqa: PLR0917
    model: dict[str, Any],
    changes: dict[str, Any],
    status: int,
    kind: str,
    raised: type[anthropic.APIStatusError],
    stream: bool,  # noqa: FBT001
) -> None:
    fakes = Fakes(llm=FakeModel(**model))
    async with fakes.client() as http:
        answer = await http.post("/v1/messages", json=BODY | changes | {"stream": stream})
    error = ErrorResponse.construct(**answer.json())  # the types lack `request_too_large`
    assert (answer.status_code, error.error.type) == (status, kind)
    assert error.request_id == answer.headers["request-id"]
    if status in {429, 503}:
        assert answer.headers["retry-after"] == ("7" if status == 429 else "2")
    async with client_of(fakes) as client:
        with pytest.raises(raised) as caught:
            await client.messages.create(**BODY, stream=stream, extra_body=changes)
    assert caught.value.request_id


async def test_a_prompt_that_is_too_long_is_refused_in_anthropics_words() -> None:
    too_long = InvalidRequest("9000 tokens are over 4096", code=CONTEXT_LENGTH_EXCEEDED)
    async with client_of(Fakes(llm=FakeModel(fail_at_start=too_long))) as client:
        with pytest.raises(anthropic.BadRequestError) as caught:
            await client.messages.create(**BODY)
    # By these words Claude Code, LangChain and LiteLLM know that they must shorten.
    assert "prompt is too long: 9000 tokens are over 4096" in caught.value.message


async def test_errors_before_the_route_have_anthropics_form_too() -> None:
    fakes = Fakes(api_keys=KEYS)
    async with fakes.client(limits={"requests_per_minute": 2, "max_prompt_chars": 100}) as http:
        stranger = await http.post("/v1/messages", json=BODY)
        key = {"x-api-key": "k" * 24}
        large = await http.post("/v1/messages", json=BODY | {"system": "x" * 2000}, headers=key)
        nothing = await http.get("/v1/messages", headers=key)
        often = await http.post("/v1/messages", json=BODY, headers=key)
        others = await http.post(
            "/v1/messages", json=BODY, headers={"authorization": f"Bearer {'b' * 24}"} | key
        )
        empty = {"authorization": "Bearer ", "x-api-key": "b" * 24}
        plain = await http.get("/v1/files/none", headers=empty)
    expected = {
        401: (stranger, "authentication_error"),
        413: (large, "request_too_large"),
        405: (nothing, "invalid_request_error"),
        429: (often, "rate_limit_error"),
    }
    for status, (answer, kind) in expected.items():
        error = ErrorResponse.construct(**answer.json())
        assert (answer.status_code, error.error.type) == (status, kind)
        assert error.request_id == answer.headers["request-id"]
    assert "x-api-key" in stranger.json()["error"]["message"]
    assert int(often.headers["retry-after"]) > 0
    assert others.status_code == 200  # the owner of the Bearer key
    assert plain.status_code == 404
    assert plain.json()["error"]["code"] == "not_found"


async def test_an_error_in_a_stream_is_an_event() -> None:
    fakes = Fakes(llm=FakeModel(fail_midway=Unavailable("the model is down")))
    async with client_of(fakes) as client:
        with pytest.raises(anthropic.APIStatusError) as caught:
            async for _ in await client.messages.create(**BODY, stream=True):
                pass
    assert "the model is down" in str(caught.value.body)


async def test_a_stream_that_is_left_stops_the_model() -> None:
    fakes = Fakes(llm=FakeModel(endless=True))

    async def receive() -> dict[str, Any]:
        if not sent.is_set():
            sent.set()
            return {"type": "http.request", "body": json.dumps(BODY | {"stream": True}).encode()}
        await begun.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if b"text_delta" in message.get("body", b""):
            begun.set()

    sent, begun = asyncio.Event(), asyncio.Event()
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/messages",
        "headers": [(b"content-type", b"application/json"), (b"host", b"127.0.0.1")],
        "query_string": b"",
        "client": ("127.0.0.1", 1),
        "scheme": "http",
    }
    async with asyncio.timeout(10):
        await fakes.app()(scope, receive, send)
        await fakes.llm.closed.wait()


async def test_both_sdks_list_and_show_the_models() -> None:
    fakes = Fakes()
    async with client_of(fakes) as client:
        listed = [model async for model in client.models.list(limit=1)]
        first, last = listed[0].id, listed[-1].id
        before = await client.models.list(before_id=last, limit=len(listed) - 2)
        retired = await client.models.list(lifecycle=["deprecated", "retired"])
        shown = await client.models.retrieve("genserve")
        with pytest.raises(anthropic.NotFoundError) as caught:
            await client.models.retrieve("none")
    assert {model.id for model in listed} >= {"genserve", MODEL}
    assert ([model.id for model in before.data], before.has_more) == (
        [model.id for model in listed[1:-1]],
        True,
    )
    assert first not in [model.id for model in retired.data]
    assert (shown.type, shown.display_name, shown.created_at.year) == ("model", "genserve", 1970)
    assert caught.value.type == "not_found_error"
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(fakes.app())) as http:
        other = openai.AsyncOpenAI(
            base_url="http://127.0.0.1/v1", api_key="k", max_retries=0, http_client=http
        )
        assert [model.id async for model in other.models.list()] == [m.id for m in listed]
        assert (await other.models.retrieve("genserve")).owned_by == "genserve"


@pytest.mark.parametrize("arguments", ['{"city": NaN}', '{"city": 1e999}'])
async def test_arguments_that_are_not_json_are_left_out(arguments: str) -> None:
    script = (call(arguments, id="call-1"), Piece(None, finish_reason="tool_calls"))
    async with Fakes(llm=ScriptedModel(script=script)).client() as http:
        answer = await http.post("/v1/messages", json=BODY | {"tools": [WEATHER]})
    assert [block["input"] for block in answer.json()["content"]] == [{}]


TEXT = {"type": "text", "text": ""}
DOCUMENT = {"type": "document", "source": {"type": "content", "content": [TEXT] * 1001}}
FOUND = {"type": "search_result", "source": "a", "title": "b", "content": [TEXT] * 1001}


@pytest.mark.parametrize(
    "block", [DOCUMENT, {"type": "tool_result", "tool_use_id": "1", "content": [FOUND]}]
)
async def test_content_blocks_are_bounded_at_every_depth(block: dict[str, Any]) -> None:
    asked = [{"role": "user", "content": [block]}]
    async with Fakes().client() as http:
        answer = await http.post("/v1/messages", json=BODY | {"messages": asked})
    assert "over the bound of 1000" in ErrorResponse.model_validate(answer.json()).error.message


async def test_instructions_alone_are_a_conversation() -> None:
    given = {"role": "system", "content": "Rhyme.", "clear_at": "next_user_message"}
    fakes = Fakes()
    async with fakes.client() as http:
        answer = await http.post("/v1/messages", json=BODY | {"messages": [given]})
    assert answer.status_code == 200
    assert fakes.llm.bodies[0]["messages"] == [{"role": "system", "content": "Rhyme."}]
