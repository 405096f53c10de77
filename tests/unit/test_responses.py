"""The Responses API over fakes: items, events and their order, by OpenAI's own types."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest
from openai.types.responses import InputTokenCountResponse, Response, ResponseStreamEvent
from pydantic import TypeAdapter

from deployments.answer_events import Piece
from deployments.errors import NotFound, Overloaded, TooLarge, Unavailable
from deployments.types import Page, PageOutcome, Passage
from serve_app.answering.answer import Answering
from serve_app.http.named_events import named_event
from serve_app.responses.event_writer import EventWriter
from serve_app.responses.interfaces import Item
from serve_app.responses.items import stored_item
from serve_app.responses.output import Event
from serve_app.responses.responding import Responding
from serve_app.schemas.responses.items import Message
from serve_app.schemas.responses.request import ResponseRequest
from serve_app.testing import MODEL, FakeModel, Fakes, fake_settings
from tests.support.event_streams import events

pytestmark = pytest.mark.anyio
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)
PASSAGE = Passage("doc_" + "0" * 32, "a.pdf", "", "", 0, 0, "Snow is white.", 3, 3, 0.5)
PAGE = Page("https://a.example", PageOutcome.OK, "https://a.example/", "Grass", "Grass is green.")
WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "Tell the weather.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}
SUMMARY = {"type": "summary_text", "text": "I think."}
CALLS = [
    {"id": f"call_{n}", "type": "function", "function": {"name": "weather", "arguments": each}}
    for n, each in enumerate(('{"city": "Rome"}', '{"city": "Oslo"}'))
]


async def streamed(http: Any, body: dict[str, Any]) -> list[Event]:
    answer = await http.post("/v1/responses", json=body | {"stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream"), answer.text
    found = events(answer.text)
    for name, event in found:
        assert name == event["type"]
        EVENT.validate_python(event)
    numbers = [event["sequence_number"] for _, event in found]
    assert numbers == list(range(len(found)))
    return [event for _, event in found]


def without_identity(response: dict[str, Any]) -> dict[str, Any]:
    """Return what two answers to one request have in common."""
    varying = ("id", "created_at", "completed_at", "timings")
    items = [
        {name: each for name, each in item.items() if name != "id"} for item in response["output"]
    ]
    return {name: each for name, each in response.items() if name not in varying} | {
        "output": items
    }


async def test_a_grounded_response_is_the_same_whole_and_streamed() -> None:
    fakes = Fakes()
    fakes.retriever.passages = [PASSAGE]
    fakes.scraper.pages = [PAGE]
    fakes.llm.reply = "Snow is white. Grass is green. Is it so? "
    fakes.llm.usage = {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}
    body = {
        "model": "genserve",
        "input": "Is snow white, and what says https://a.example of grass?",
        "instructions": "Be brief.",
        "tools": [
            {"type": "file_search", "vector_store_ids": ["default"], "max_num_results": 50},
            {"type": "web_search", "search_context_size": "low"},
        ],
        "include": ["file_search_call.results"],
        "metadata": {"a": "b"},
        "store": False,
    }
    async with fakes.client() as http:
        answer = await http.post("/v1/responses", json=body)
        found = await streamed(http, body)
    whole = answer.json()
    response = Response.model_validate(whole)
    assert response.output_text == fakes.llm.reply
    assert (response.status, response.instructions, response.metadata) == (
        "completed",
        "Be brief.",
        {"a": "b"},
    )
    assert response.usage
    assert (response.usage.input_tokens, response.usage.total_tokens) == (9, 16)
    search, page, message = whole["output"]
    assert search["queries"] == ["Is snow white, and what says of grass?"]
    assert search["results"][0]["filename"] == "a.pdf"
    assert page["action"] == {"type": "open_page", "url": "https://a.example"}
    by_page, by_file = sorted(
        message["content"][0]["annotations"], key=lambda each: each["type"], reverse=True
    )
    assert (by_file["type"], by_file["file_id"]) == ("file_citation", "file-" + "0" * 32)
    assert by_file["quote"] == "Snow is white."
    assert (by_page["title"], by_page["url"]) == ("Grass", "https://a.example/")
    assert response.output_text[by_page["start_index"] : by_page["end_index"]] == "Grass is green."
    assert {source["kind"] for source in whole["sources"]} == {"page", "document"}

    kinds = [event["type"].removeprefix("response.") for event in found]
    assert kinds[:2] == ["created", "in_progress"]
    assert kinds[2:12] == [
        *("output_item.added", "file_search_call.in_progress", "file_search_call.searching"),
        *("file_search_call.completed", "output_item.done"),
        *("output_item.added", "web_search_call.in_progress", "web_search_call.searching"),
        *("web_search_call.completed", "output_item.done"),
    ]
    assert kinds[12:14] == ["output_item.added", "content_part.added"]
    assert set(kinds[14:-4]) == {"output_text.delta", "output_text.annotation.added"}
    assert kinds[-4:] == ["output_text.done", "content_part.done", "output_item.done", "completed"]
    ended = found[-1]["response"]
    assert without_identity(ended) == without_identity(whole)
    deltas = [event["delta"] for event in found if event["type"].endswith("text.delta")]
    assert "".join(deltas) == ended["output"][2]["content"][0]["text"]
    asked = fakes.llm.bodies[-1]
    assert asked["messages"][0]["content"].startswith("Be brief.")


@pytest.mark.parametrize("model", [MODEL, "genserve"])
async def test_functions_are_called_and_their_output_goes_back(model: str) -> None:
    fakes = Fakes()
    fakes.llm.reasoning, fakes.llm.reply = "I need it.", "Let me look. "
    fakes.llm.tool_calls, fakes.llm.finish_reason = CALLS, "tool_calls"
    fakes.llm.usage = {"prompt_tokens": 9, "completion_tokens": 7, "total_tokens": 16}
    body: dict[str, Any] = {
        "model": model,
        "input": [{"role": "user", "content": [{"type": "input_text", "text": "The weather?"}]}],
        "tools": [WEATHER],
        "tool_choice": {"type": "function", "name": "weather"},
        "text": {"format": {"type": "json_object"}},
        "ignore_eos": True,
        "store": False,
    }
    async with fakes.client() as http:
        whole = (await http.post("/v1/responses", json=body)).json()
        found = await streamed(http, body)
        asked = fakes.llm.bodies[-1]
        fakes.llm.tool_calls, fakes.llm.reasoning = [], ""
        outputs = [
            {"type": "function_call_output", "call_id": each["id"], "output": f"rain {n}"}
            for n, each in enumerate(CALLS)
        ]
        body["input"] += [*whole["output"], *outputs]
        body["input"].append(whole["output"][2] | {"call_id": "cut", "arguments": '{"ci'})
        again = await http.post("/v1/responses", json=body | {"tool_choice": "auto"})
    Response.model_validate(whole)
    assert without_identity(found[-1]["response"]) == without_identity(whole)
    assert [item["type"] for item in whole["output"]] == [
        *("reasoning", "message", "function_call", "function_call"),
    ]
    first, second = whole["output"][2:]
    assert (first["call_id"], first["name"]) == ("call_0", "weather")
    assert second["arguments"] == '{"city": "Oslo"}'
    done = [event["output_index"] for event in found if event["type"].endswith("item.done")]
    assert done == [0, 1, 2, 3]
    assert asked["tools"][0]["function"]["parameters"] == WEATHER["parameters"]
    assert asked["tool_choice"] == {"type": "function", "function": {"name": "weather"}}
    assert asked["response_format"] == {"type": "json_object"}
    assert asked["ignore_eos"] is True
    assert again.status_code == 200, again.text
    _, called, *results, cut = fakes.llm.bodies[-1]["messages"]
    arguments = cut["tool_calls"][0]["function"]["arguments"]
    assert json.loads(arguments) == {"arguments": '{"ci'}  # templates take only objects
    assert (called["role"], called["tool_calls"]) == ("assistant", CALLS)
    assert [(each["tool_call_id"], each["content"]) for each in results] == [
        ("call_0", "rain 0"),
        ("call_1", "rain 1"),
    ]


# Of openresponses/openresponses: the cases of its compliance suite that need text alone, and the
# fields that its schema of a response requires; None where it allows null.
CASES: dict[str, list[tuple[str, str]]] = {
    "basic": [("user", "Say hello in exactly 3 words.")],
    "system": [("system", "You are a pirate."), ("user", "Say hello.")],
    "turns": [("user", "I am Alice."), ("assistant", "Hello!"), ("user", "What is my name?")],
}
REQUIRED: dict[str, type | None] = {
    **dict.fromkeys(("id", "object", "status", "model", "truncation", "service_tier"), str),
    **dict.fromkeys(("top_p", "temperature", "presence_penalty", "frequency_penalty"), float),
    **dict.fromkeys(("parallel_tool_calls", "store", "background"), bool),
    **dict.fromkeys(("created_at", "top_logprobs"), int),
    **dict.fromkeys(("output", "tools"), list),
    **dict.fromkeys(("text", "metadata"), dict),
    "tool_choice": str,
    **dict.fromkeys(
        (
            *("completed_at", "incomplete_details", "previous_response_id", "instructions"),
            *("error", "reasoning", "usage", "max_output_tokens", "max_tool_calls"),
            *("safety_identifier", "prompt_cache_key"),
        )
    ),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("model", [MODEL, "genserve"])
async def test_cases_of_open_responses(model: str, case: str) -> None:
    said = [{"type": "message", "role": role, "content": text} for role, text in CASES[case]]
    body = {"model": model, "input": said}
    async with Fakes().client() as http:
        answer = await http.post("/v1/responses", json=body)
        found = await streamed(http, body)
    for response in (answer.json(), found[-1]["response"], found[0]["response"]):
        Response.model_validate(response)
        missing = {
            name
            for name, kind in REQUIRED.items()
            if name not in response or (kind and not isinstance(response[name], kind))
        }
        assert missing == set()
    assert answer.json()["status"] == "completed"
    assert answer.json()["output"][-1]["content"][0]["text"]


class Stored:
    """A storage with one earlier turn."""

    def __init__(self, *texts: str) -> None:
        roles = ("user", "assistant")
        self.earlier = [
            stored_item(
                Message.model_validate({"type": "message", "role": roles[n % 2], "content": text}),
                "resp_1",
            )
            for n, text in enumerate(texts)
        ]
        self.saved: list[tuple[Any, Any]] = []
        self.error: Exception | None = None

    async def history(self, previous: str | None, conversation: str | None) -> list[Item]:
        if previous not in {None, "resp_1"}:
            msg = "there is no such response"
            raise NotFound(msg, param="previous_response_id")
        return self.earlier if previous or conversation else []

    async def items(self, item_ids: Sequence[str]) -> list[Item]:
        return [next(item for item in self.earlier if item["id"] == each) for each in item_ids]

    async def save(self, response: Any, input_items: Any) -> None:
        if self.error:
            raise self.error
        self.saved.append((dict(response), input_items))


def responding(fakes: Fakes, storage: Stored) -> Responding:
    settings = fake_settings(limits={"max_prompt_chars": 100})
    return Responding(Answering(fakes.services(), settings), fakes.llm, settings, storage)


def request(**fields: Any) -> ResponseRequest:
    return ResponseRequest.model_validate({"model": MODEL, "input": "And now?"} | fields)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_conversation_goes_on_and_is_stored_before_its_end_is_sent(*, stream: bool) -> None:
    fakes, storage = Fakes(), Stored("My name is Ann.", "Hello Ann!")
    made = responding(fakes, storage)
    asked = request(previous_response_id="resp_1", instructions="Be kind.", stream=stream)
    turn = await made.turn(asked)
    if stream:
        seen = [(some, len(storage.saved)) async for some in made.stream(turn)]
        assert [saved for _, saved in seen] == [0] * (len(seen) - 1) + [1]
        assert seen[-1][0][-1]["type"] == "response.completed"
    else:
        assert (await made.whole(turn))["status"] == "completed"
    assert fakes.llm.bodies[0]["messages"] == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "My name is Ann."},
        {"role": "assistant", "content": "Hello Ann!"},
        {"role": "user", "content": "And now?"},
    ]
    ((response, items),) = storage.saved
    assert response["previous_response_id"] == "resp_1"
    assert response["output"][0]["content"][0]["text"].strip() == "And now?"
    assert [item["content"] for item in items] == [[{"type": "input_text", "text": "And now?"}]]
    await made.whole(await made.turn(request(store=False)))
    assert len(storage.saved) == 1
    storage.error = Unavailable("the database is away")
    stream_events = [event async for some in made.stream(turn) for event in some]
    assert [event["sequence_number"] for event in stream_events] == list(range(len(stream_events)))
    assert [event["type"] for event in stream_events][-2:] == [
        "response.output_item.done",
        "response.failed",
    ]
    with pytest.raises(NotFound, match="no such response"):
        await made.turn(request(previous_response_id="resp_2"))


async def test_of_a_long_history_the_latest_turns_are_kept_or_it_is_refused() -> None:
    fakes = Fakes()
    storage = Stored("a" * 60, "b" * 10, "c" * 20, "d" * 30)
    made = responding(fakes, storage)
    more = {"model": "genserve", "previous_response_id": "resp_1"}
    await made.whole(await made.turn(request(**more)))
    texts = [message["content"] for message in fakes.llm.bodies[0]["messages"]]
    assert texts == ["c" * 20, "d" * 30, "And now?"]
    with pytest.raises(Exception, match="128 characters are over the bound of 100") as refused:
        await made.turn(request(**more, truncation="disabled"))
    assert refused.value.param == "input"  # type: ignore[attr-defined]
    thought = {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "h" * 99}]}
    with pytest.raises(TooLarge, match="over the bound of 100"):
        await made.turn(request(input=[thought, {"role": "user", "content": "Why?"}]))
    reference = [{"id": storage.earlier[2]["id"]}, {"role": "user", "content": "Why?"}]
    turn = await made.turn(request(input=reference))
    assert turn.body
    assert [message["content"] for message in turn.body["messages"]] == ["c" * 20, "Why?"]


async def test_failures_before_the_start_keep_their_status_and_later_ones_are_events() -> None:
    fakes = Fakes()
    body = {"model": MODEL, "input": "one two", "store": False}
    async with fakes.client() as http:
        fakes.llm.fail_midway = Unavailable("the model stopped")
        found = await streamed(http, body)
        fakes.llm.fail_midway, fakes.llm.finish_reason = None, "length"
        cut = (await http.post("/v1/responses", json=body | {"max_output_tokens": 2})).json()
        fakes.llm.fail_at_start = Overloaded("full")
        busy = [
            await http.post("/v1/responses", json=body | {"stream": each}) for each in (True, False)
        ]
    kinds = [event["type"] for event in found]
    assert kinds[-2:] == ["response.output_item.done", "response.failed"]
    assert found[-1]["response"]["error"] == {
        "code": "server_error",
        "message": "the model stopped",
    }
    assert found[-1]["response"]["output"][0]["content"][0]["text"] == "one two "
    assert (cut["status"], cut["incomplete_details"]) == (
        "incomplete",
        {"reason": "max_output_tokens"},
    )
    assert cut["output"][0]["status"] == "incomplete"
    Response.model_validate(cut)
    assert [answer.status_code for answer in busy] == [429, 429]


@pytest.mark.parametrize("model", [MODEL, "genserve"])
async def test_a_stream_that_is_left_stops_the_engine_and_is_stored_as_cancelled(
    model: str,
) -> None:
    fakes, storage = Fakes(), Stored()
    fakes.llm.endless = True
    made = responding(fakes, storage)
    stream = made.stream(await made.turn(request(model=model)))
    async for some in stream:
        if some[-1]["type"].endswith("delta"):
            break
    await stream.aclose()
    assert fakes.llm.closed.is_set()
    ((left, _),) = storage.saved
    assert left["status"] == "cancelled"


@pytest.mark.parametrize("model", [MODEL, "genserve"])
async def test_a_whole_response_whose_client_leaves_stops_the_engine(model: str) -> None:
    """Ray Serve cancels the request of a client that leaves."""
    fakes = Fakes()
    begun, stopped = asyncio.Event(), asyncio.Event()

    async def chat(body: Any) -> Any:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            stopped.set()

    fakes.llm.chat = chat  # type: ignore[method-assign]
    async with fakes.client() as http:
        body = {"model": model, "input": "x"}
        asked = asyncio.create_task(http.post("/v1/responses", json=body))
        await begun.wait()
        asked.cancel()
        await asyncio.wait({asked})
    assert asked.cancelled()
    assert stopped.is_set()


async def test_functions_of_a_namespace_are_called_by_their_own_names() -> None:
    named = {"type": "namespace", "name": "weather"}
    grouped = {"description": "Tells about the sky.", "tools": [WEATHER | {"name": "now"}]}
    tools = [WEATHER, named | grouped]
    made = {"function": {"name": "weather__now", "arguments": '{"city": "Rome"}'}}
    fakes = Fakes(llm=FakeModel(tool_calls=[CALLS[0] | made]))
    body = {"model": MODEL, "input": "Rome?", "tools": tools, "store": False}
    async with fakes.client() as http:
        whole = (await http.post("/v1/responses", json=body)).json()
        found = await streamed(http, body | {"client_metadata": {"thread": "1"}})
        (call,) = [item for item in whole["output"] if item["type"] == "function_call"]
        done = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
        asked = {"role": "user", "content": "Rome?"}
        again = body | {"input": [asked, call, done]}
        await http.post("/v1/responses", json=again)
        chosen = {"type": "allowed_tools", "mode": "auto", "tools": [named]}
        allowed = await http.post("/v1/responses", json=body | {"tool_choice": chosen})
    response = Response.model_validate(whole)
    shown = [event["item"] for event in found if "namespace" in event.get("item", ())]
    ended = found[-1]["response"]["output"][-1]
    for item in (call, *shown, ended):
        assert (item["namespace"], item["name"]) == ("weather", "now")
    assert len(shown) == 2
    assert response.tools[1].type == "namespace"
    plain, own = (each["function"] for each in fakes.llm.bodies[0]["tools"])
    assert (plain["name"], own["name"]) == ("weather", "weather__now")
    assert own["description"].endswith("Tells about the sky.")
    (sent,) = fakes.llm.bodies[2]["messages"][1]["tool_calls"]
    assert sent["function"]["name"] == "weather__now"
    assert allowed.status_code == 200
    assert [each["function"]["name"] for each in fakes.llm.bodies[3]["tools"]] == ["weather__now"]


async def test_an_answer_of_the_bare_model_with_tools_may_fill_the_window() -> None:
    fakes = Fakes()
    body = {"model": MODEL, "input": "one two", "tools": [{"type": "web_search"}]}
    async with fakes.client() as http:
        for more in ({}, {"max_output_tokens": 7}, {"model": "genserve"}):
            await http.post("/v1/responses", json=body | more)
    window = fakes.llm.window
    tokens = [each["max_tokens"] for each in fakes.llm.bodies]
    assert window - 200 < tokens[0] < window
    assert tokens[1:] == [7, fake_settings().answer.max_answer_tokens]


@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        (
            {"tools": [{"type": "namespace", "name": "a", "tools": [{"type": "custom"}]}]},
            "tools[0].tools[0]",
            "no tool `custom`",
        ),
        (
            {
                "tools": [
                    WEATHER | {"name": "a__weather"},
                    {"type": "namespace", "name": "a", "tools": [WEATHER]},
                ]
            },
            None,
            "must be different",
        ),
        (
            {"tools": [{"type": "namespace", "name": n, "tools": [WEATHER] * 65} for n in "ab"]},
            None,
            "at most 128 functions",
        ),
        ({"input": [{"role": "user", "contnt": "x"}]}, "input[0].contnt", "`content`"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
            "input[0].content[0]",
            "this model reads text only",
        ),
        ({"tools": [{"type": "mcp"}]}, "tools[0]", "no tool `mcp`"),
        ({"tool_choice": {"type": "function", "name": "f"}}, "tool_choice", "not among the tools"),
        ({"previous_response_id": "a", "conversation": "b"}, None, "exclude each other"),
        ({"max_output_tokens": 999_999}, "max_output_tokens", "over the bound"),
        ({"input": [{"role": "user", "content": "x"}] * 1001}, "input", "at most 1000"),
        (
            {"input": [{"type": "reasoning", "summary": [SUMMARY] * 501}] * 2},
            "input",
            "1002 content parts are over the bound",
        ),
        ({"text": {"format": {"type": "json_schema", "name": "a"}}}, "text.format", "required"),
        (
            {
                "text": {
                    "format": {
                        "type": "json_schema",
                        "name": "a",
                        "schema": {"enum": list(range(2000))},
                    }
                }
            },
            "text.format",
            "text.format: 2000 enum entries are over the bound",
        ),
        ({"model": "gpt"}, "model", "there is no model `gpt`"),
    ],
)
async def test_errors_name_the_field_as_the_request_calls_it(
    fields: dict[str, Any], param: str | None, message: str
) -> None:
    async with Fakes().client() as http:
        answer = await http.post("/v1/responses", json={"model": MODEL, "input": "x"} | fields)
    error = answer.json()["error"]
    assert answer.status_code in {400, 404}
    assert message in error["message"]
    assert (error["param"] or "").startswith(param or "")


@pytest.mark.parametrize(
    ("effort", "summary", "shown"),
    [("colossal", "long", (None, None)), ("low", "auto", ("low", "auto"))],
)
async def test_unknown_kinds_of_reasoning_are_not_echoed(
    effort: str, summary: str, shown: tuple[str | None, str | None]
) -> None:
    reasoning = {"effort": effort, "summary": summary}
    async with Fakes().client() as http:
        body = {"model": MODEL, "input": "x", "reasoning": reasoning}
        answer = (await http.post("/v1/responses", json=body)).json()
    echoed = Response.model_validate(answer, strict=True).reasoning
    assert echoed is not None
    assert (echoed.effort, echoed.summary) == shown


@pytest.mark.parametrize("model", [MODEL, "genserve"])
async def test_the_tokens_of_a_prompt_are_counted_with_its_history_and_functions(
    model: str,
) -> None:
    fakes = Fakes()
    counted: list[Any] = []
    count = fakes.llm.prompt_tokens

    async def prompt_tokens(body: Any) -> int:
        counted.append(body)
        return await count(body)

    fakes.llm.prompt_tokens = prompt_tokens  # type: ignore[method-assign]
    async with fakes.client() as http:
        first = await http.post("/v1/responses", json={"model": model, "input": "one two"})
        form = {"type": "json_schema", "name": "a", "schema": {"type": "object"}}
        body = {
            "model": model,
            "instructions": "Be brief.",
            "input": "three four five",
            "tools": [WEATHER],
            "text": {"format": form},
            "previous_response_id": first.json()["id"],
            "context": {"documents": False, "web": False},
        }
        answer = await http.post("/v1/responses/input_tokens", json=body)
        asked = await http.post("/v1/responses", json=body)
        empty = await http.post("/v1/responses/input_tokens", json={"model": model})
    assert InputTokenCountResponse.model_validate(answer.json()).input_tokens == 9
    assert answer.json()["object"] == "response.input_tokens"
    assert asked.status_code == 200
    sent, names = fakes.llm.bodies[-1], ("tools", "tool_choice", "response_format")
    assert [counted[0][name] for name in names] == [sent[name] for name in names]
    assert counted[0]["messages"][1:] == sent["messages"][1:]
    assert empty.json()["error"]["message"].startswith("`input` is required")


async def test_calls_come_one_after_the_other_and_alone_if_the_model_says_nothing() -> None:
    fakes = Fakes()

    async def stream_chat(body: Any) -> Any:
        for number, call in enumerate(CALLS):
            yield [Piece(None, delta={"tool_calls": [{"index": number, **call}]})]
        yield [Piece(None, finish_reason="tool_calls")]

    fakes.llm.stream_chat = stream_chat  # type: ignore[method-assign]
    body = {"model": MODEL, "input": "x", "tools": [WEATHER], "store": False}
    async with fakes.client() as http:
        found = await streamed(http, body)
    steps = [event["type"].removeprefix("response.") for event in found[2:-1]]
    arguments = ("function_call_arguments.delta", "function_call_arguments.done")
    assert steps == ["output_item.added", *arguments, "output_item.done"] * 2
    assert [item["type"] for item in found[-1]["response"]["output"]] == ["function_call"] * 2


async def test_a_tool_that_the_operator_switched_off_is_refused() -> None:
    body = {
        "model": MODEL,
        "input": "x",
        "tools": [{"type": "web_search"}, {"type": "file_search", "vector_store_ids": ["default"]}],
    }
    async with Fakes().client(answer={"web": False}) as http:
        refused = await http.post("/v1/responses", json=body)
        without = await http.post("/v1/responses", json=body | {"tool_choice": "none"})
    assert (refused.status_code, without.status_code) == (400, 200)
    assert "`web_search` is switched off" in refused.json()["error"]["message"]


async def test_log_probabilities_come_where_they_are_asked_for() -> None:
    fakes = Fakes()
    token = {"token": "Hi", "logprob": -0.1, "bytes": [72, 105], "top_logprobs": []}

    async def stream_chat(body: Any) -> Any:
        fakes.llm.bodies.append(body)
        yield [Piece("Hi", 0, "stop", choice={"logprobs": {"content": [token]}})]

    fakes.llm.stream_chat = stream_chat  # type: ignore[method-assign]
    body = {"model": MODEL, "input": "x", "include": ["message.output_text.logprobs"]}
    async with fakes.client() as http:
        found = await streamed(http, body)
    assert (fakes.llm.bodies[0]["logprobs"], fakes.llm.bodies[0]["top_logprobs"]) == (True, 0)
    (delta,) = [event for event in found if event["type"] == "response.output_text.delta"]
    assert delta["logprobs"] == [{"token": "Hi", "logprob": -0.1, "top_logprobs": []}]
    assert found[-1]["response"]["output"][0]["content"][0]["logprobs"] == [token]


@pytest.mark.parametrize(
    ("kind", "fixed"),
    [
        ("output_text", {"content_index": 0, "logprobs": []}),
        ("reasoning_text", {"content_index": 0}),
        ("function_call_arguments", {}),
    ],
)
def test_text_is_written_as_any_other_event(kind: str, fixed: dict[str, Any]) -> None:
    writer = EventWriter()
    for number, text in enumerate(('a"\\\n', "\u2028é\x00", "ü😀")):
        event = {
            "type": f"response.{kind}.delta",
            "item_id": "msg_1",
            "output_index": 2,
            **fixed,
            "delta": text,
            "sequence_number": number,
        }
        assert writer.blocks([event]) == named_event(event)
