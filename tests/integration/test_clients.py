"""Other people's clients, unmodified: only the address and the key are ours."""

from __future__ import annotations

import asyncio
import base64
import io
import ipaddress
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import anthropic
import numpy as np
import openai
import pytest
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from openai.types.chat import ChatCompletionToolParam
from PIL import Image
from pydantic import BaseModel
from pypdf import PdfWriter

from tests.support.clients import DOCUMENTS, EMBEDDER, NODE, Clients, Store
from tests.support.service import Service
from tests.support.tiktoken_files import put_cl100k_base

QUESTION: list[Any] = [{"role": "user", "content": "Name the capital of France."}]
ASKED: list[Any] = [{"role": "user", "content": "What does the lighthouse of Skarn burn?"}]


class Place(BaseModel):
    """Small enough that the smallest model fills it in."""

    city: Literal["Paris", "Oslo"]
    is_capital: bool


WEATHER: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather in a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "enum": ["Paris", "Oslo"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


@pytest.fixture(autouse=True)
def loopback_only(service: Service, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No client looks up or dials anything but this machine: the test fails if one tries."""
    strayed: list[str] = []
    connect, getaddrinfo = socket.socket.connect, socket.getaddrinfo

    def check(host: object) -> None:
        name = host.decode() if isinstance(host, bytes) else str(host)
        try:
            inside = ipaddress.ip_address(name).is_loopback
        except ValueError:
            inside = name == "localhost"
        if not inside:
            strayed.append(name)
            message = f"a client wants to reach {name}"
            raise OSError(message)

    def checked_connect(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple):
            check(address[0])
        connect(self, address)

    def checked_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        check(host)
        return getaddrinfo(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", checked_connect)
    monkeypatch.setattr(socket, "getaddrinfo", checked_getaddrinfo)
    for name in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"):
        monkeypatch.setenv(name, "false")
    yield
    assert strayed == []


@pytest.fixture
def client(service: Service) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{service.url}/v1", api_key=service.key, max_retries=0, timeout=120
    ) as client:
        yield client


# --- OpenAI's Python SDK ---------------------------------------------------------------------


def test_a_vector_store_finds_the_right_file(client: openai.OpenAI, store: Store) -> None:
    shown = client.vector_stores.retrieve(store.id)
    assert (shown.name, shown.metadata) == ("facts", {"made": "by a test"})
    assert (shown.file_counts.completed, shown.file_counts.total) == (2, 2)
    assert store.id in [each.id for each in client.vector_stores.list()]
    assert {each.id for each in client.vector_stores.files.list(store.id)} == {
        *store.files.values()
    }
    for question, name, word in (
        ("What does the lighthouse burn?", "lighthouse.md", "walrus oil"),
        ("When is the plum loaf sold?", "bakery.txt", "Thursdays"),
    ):
        best = next(iter(client.vector_stores.search(store.id, query=question)))
        assert (best.filename, best.file_id) == (name, store.files[name])
        assert word in best.content[0].text
        assert 0 < best.score <= 1


def test_files_are_found_by_their_attributes(client: openai.OpenAI, store: Store) -> None:
    question = "What does the lighthouse burn?"

    def found(filters: Any) -> set[str]:
        page = client.vector_stores.search(store.id, query=question, filters=filters)
        return {each.filename for each in page}

    is_bakery: Any = {"type": "eq", "key": "name", "value": "bakery.txt"}
    is_odd: Any = {"type": "eq", "key": "odd", "value": True}
    assert found(is_bakery) == {"bakery.txt"}
    assert found(is_bakery | {"type": "ne"}) == {"lighthouse.md"}
    assert found({"type": "and", "filters": [is_bakery, is_odd]}) == set()
    assert found({"type": "gt", "key": "words", "value": 0}) == set(store.files)
    file_id = store.files["bakery.txt"]
    shown = client.vector_stores.files.retrieve(file_id, vector_store_id=store.id)
    assert shown.attributes is not None
    client.vector_stores.files.update(
        file_id, vector_store_id=store.id, attributes=shown.attributes | {"odd": True}
    )
    assert found({"type": "and", "filters": [is_bakery, is_odd]}) == {"bakery.txt"}
    context = {"web": False, "collections": ["default", store.id], "filters": is_odd}
    answer = client.chat.completions.create(
        model="genserve",
        messages=[{"role": "user", "content": "When is the loaf of the bakery sold?"}],
        max_tokens=8,
        extra_body={"context": context},
    )
    assert answer.model_extra is not None
    assert {each["filename"] for each in answer.model_extra["sources"]} == {"bakery.txt"}


def test_a_file_that_cannot_be_read_says_why(client: openai.OpenAI, store: Store) -> None:
    writer, blank = PdfWriter(), io.BytesIO()
    writer.add_blank_page(100, 100)
    writer.write(blank)
    file = client.files.create(file=("blank.pdf", blank.getvalue()), purpose="assistants")
    other = client.vector_stores.create()
    # Two chunks, of which the embedding model reads less than half at once.
    text = "The harbour was rebuilt. " * 100 + "The ferry of Orrin runs at noon."
    sound = io.BytesIO(text.encode())
    sound.name = "ferry.txt"
    # A file that fails does not fail its batch.
    batch = client.vector_stores.file_batches.upload_and_poll(
        other.id,
        files=[sound],
        file_ids=[file.id],
        chunking_strategy={
            "type": "static",
            "static": {"max_chunk_size_tokens": 800, "chunk_overlap_tokens": 400},
        },
        poll_interval_ms=100,
    )
    assert (batch.status, batch.file_counts.completed, batch.file_counts.failed) == (
        "completed",
        1,
        1,
    )
    (done,) = client.vector_stores.file_batches.list_files(
        batch.id, vector_store_id=other.id, filter="completed"
    )
    found = next(iter(client.vector_stores.search(other.id, query="When does the ferry run?")))
    assert found.file_id == done.id
    assert "runs at noon" in found.content[0].text
    content = client.vector_stores.files.content(done.id, vector_store_id=other.id)
    assert "".join(item.text or "" for item in content) == text
    assert done.chunking_strategy is not None
    assert done.chunking_strategy.type == "static"
    attached = client.vector_stores.files.retrieve(file.id, vector_store_id=other.id)
    assert attached.status == "failed"
    assert attached.last_error is not None
    assert "text" in attached.last_error.message
    assert client.vector_stores.retrieve(other.id).file_counts.failed == 1
    client.vector_stores.delete(other.id)
    client.files.delete(file.id)
    client.files.delete(done.id)


def test_a_detached_file_is_found_no_more_but_kept(client: openai.OpenAI) -> None:
    fact = b"The mill of Orrin grinds acorns by moonlight."
    file = client.files.create(file=("mill.txt", fact), purpose="assistants")
    store = client.vector_stores.create(file_ids=[file.id])
    attached = client.vector_stores.files.poll(
        file.id, vector_store_id=store.id, poll_interval_ms=100, max_wait_seconds=120
    )
    assert attached.status == "completed"
    query = "What does the mill grind?"
    assert [each.file_id for each in client.vector_stores.search(store.id, query=query)] == [
        file.id
    ]
    assert client.vector_stores.files.delete(file.id, vector_store_id=store.id).deleted
    assert list(client.vector_stores.search(store.id, query=query)) == []
    assert client.files.content(file.id).read() == fact
    client.vector_stores.delete(store.id)
    client.files.delete(file.id)


def nulls(answer: openai.BaseModel) -> set[str]:
    """Return the names of the null fields of an answer or chunk, its choices and messages."""
    sent = answer.to_dict()
    choices: Any = sent["choices"]
    inner = [choice.get(name, {}) for choice in choices for name in ("message", "delta")]
    levels = [sent, *choices, *inner]
    return {name for level in levels for name, value in level.items() if value is None}


def test_a_stream_begins_with_sources_and_ends_with_usage(
    client: openai.OpenAI, store: Store
) -> None:
    chunks = list(
        client.chat.completions.create(
            model="genserve",
            messages=ASKED,
            temperature=0,
            max_tokens=40,
            stream=True,
            stream_options={"include_usage": True},
            extra_body=store.context,
        )
    )
    assert {chunk.model for chunk in chunks} == {"genserve"}
    assert set().union(*map(nulls, chunks)) <= {"logprobs", "finish_reason"}
    sources = (chunks[0].model_extra or {})["sources"]
    assert "walrus oil" in sources[0]["text"]
    assert [source["id"] for source in sources] == list(range(1, len(sources) + 1))
    assert len(chunks) > 2
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert text.strip()
    attributions = [
        one for chunk in chunks for one in (chunk.model_extra or {}).get("attributions", ())
    ]
    assert attributions  # each sentence has been compared with the sources
    annotations = [
        one
        for chunk in chunks
        for choice in chunk.choices
        for one in (choice.delta.model_extra or {}).get("annotations", ())
    ]
    supported = [one for one in attributions if one["source"]]
    places = [(one["start"], one["end"]) for one in supported]
    assert places == [
        (one["url_citation"]["start_index"], one["url_citation"]["end_index"])
        for one in annotations
    ]
    for one in supported:
        quote, source = one["quote"], sources[one["source"] - 1]["text"]
        assert source[quote["start"] : quote["end"]] == quote["text"]
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    usage = chunks[-1].usage
    assert usage is not None
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert 1 < usage.completion_tokens <= 40


def test_a_whole_answer_has_sources_and_usage(client: openai.OpenAI, store: Store) -> None:
    answer = client.chat.completions.create(
        model="genserve",
        messages=ASKED,
        temperature=0,
        max_completion_tokens=40,
        extra_body=store.context,
    )
    assert (answer.model, nulls(answer)) == ("genserve", {"refusal", "logprobs"})
    assert "walrus oil" in (answer.model_extra or {})["sources"][0]["text"]
    assert (answer.choices[0].message.content or "").strip()
    assert answer.usage is not None
    assert answer.usage.prompt_tokens > 50  # the sources were read, not only named
    assert 1 < answer.usage.completion_tokens <= 40


@pytest.mark.parametrize("choice", ["named", "required"])
def test_a_tool_is_called_with_arguments_that_can_be_read(
    client: openai.OpenAI, service: Service, choice: str
) -> None:
    answer = client.chat.completions.create(
        model=service.model,
        messages=[{"role": "user", "content": "How is the weather in Paris?"}],
        tools=[WEATHER],
        tool_choice="required"
        if choice == "required"
        else {"type": "function", "function": {"name": "weather"}},
        temperature=0,
        max_tokens=200,
    )
    calls = answer.choices[0].message.tool_calls
    assert calls
    assert calls[0].type == "function"
    assert calls[0].function.name == "weather"
    assert json.loads(calls[0].function.arguments)["city"] in {"Paris", "Oslo"}


@pytest.mark.parametrize("model", ["bare", "genserve"])
def test_structured_answers_have_the_structure(
    client: openai.OpenAI, service: Service, model: str
) -> None:
    name = service.model if model == "bare" else model
    parsed = client.chat.completions.parse(
        model=name, messages=QUESTION, response_format=Place, temperature=0, max_tokens=200
    )
    assert isinstance(parsed.choices[0].message.parsed, Place)
    schema: dict[str, Any] = {"type": "object", "properties": {"year": {"enum": [1789, 1790]}}}
    schema |= {"required": ["year"], "additionalProperties": False}
    plain = client.chat.completions.create(
        model=name,
        messages=QUESTION,
        response_format={
            "type": "json_schema",
            "json_schema": {"name": "year", "schema": schema, "strict": True},
        },
        temperature=0,
        max_tokens=200,
    )
    assert json.loads(plain.choices[0].message.content or "")["year"] in {1789, 1790}


def test_responses_come_whole_and_streamed_with_documents_tools_and_structure(
    client: openai.OpenAI, service: Service, store: Store
) -> None:
    asked: dict[str, Any] = {
        "model": service.model,
        "input": ASKED[0]["content"],
        "instructions": "Answer in one sentence.",
        "tools": [{"type": "file_search", "vector_store_ids": [store.id]}],
        "include": ["file_search_call.results"],
        "temperature": 0,
        "max_output_tokens": 40,
    }
    whole = client.responses.create(**asked)
    search, message = whole.output
    assert search.type == "file_search_call"
    assert search.results
    assert search.results[0].file_id == store.files["lighthouse.md"]
    assert message.type == "message"
    text = message.content[0]
    assert text.type == "output_text"
    for each in text.annotations:
        assert each.type == "file_citation"
        assert each.file_id in store.files.values()
    supported = [one for one in (whole.model_extra or {})["attributions"] if one["source"]]
    assert len(text.annotations) == len(supported)
    assert whole.usage
    assert 1 < whole.usage.output_tokens <= 40
    with client.responses.stream(**asked) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert "response.file_search_call.searching" in kinds
    assert kinds.count("response.output_text.delta") > 1
    assert final.output_text.strip()
    assert final.usage
    assert final.usage.input_tokens == whole.usage.input_tokens

    function = {"type": "function", "strict": True, **WEATHER["function"]}
    weather: dict[str, Any] = {
        "model": service.model,
        "input": "How is the weather in Paris?",
        "tools": [function],
        "tool_choice": "required",
        "temperature": 0,
        "max_output_tokens": 200,
    }
    with client.responses.stream(**weather) as stream:
        arguments = [
            one.delta for one in stream if one.type == "response.function_call_arguments.delta"
        ]
        call = stream.get_final_response().output[0]
    assert call.type == "function_call"
    assert call.name == "weather"
    assert "".join(arguments) == call.arguments
    assert json.loads(call.arguments)["city"] in {"Paris", "Oslo"}
    output = {"type": "function_call_output", "call_id": call.call_id, "output": "It rains."}
    said = [{"role": "user", "content": weather["input"]}, call, output]
    goes_on: dict[str, Any] = {"input": said, "tool_choice": "none", "max_output_tokens": 20}
    again = client.responses.create(**weather | goes_on)
    assert again.output_text.strip()

    parsed = client.responses.parse(
        model="genserve", input=QUESTION, text_format=Place, temperature=0, max_output_tokens=200
    )
    assert isinstance(parsed.output_parsed, Place)


def test_sampling_options_do_what_they_say(client: openai.OpenAI, service: Service) -> None:
    def ask(**options: Any) -> Any:
        given = {"temperature": 0, "max_tokens": 24} | options
        return client.chat.completions.create(model=service.model, messages=QUESTION, **given)

    whole = ask(logprobs=True, top_logprobs=3).choices[0]
    entries = whole.logprobs.content
    assert "Paris" in "".join(entry.token for entry in entries)
    for entry in entries:
        assert len(entry.top_logprobs) == 3
        assert entry.logprob == max(other.logprob for other in entry.top_logprobs) <= 0
    cut = ask(stop=["Paris"]).choices[0]
    assert cut.finish_reason == "stop"
    assert cut.message.content == whole.message.content.split("Paris")[0]
    several = ask(n=2, temperature=1)
    assert [each.index for each in several.choices] == [0, 1]
    assert nulls(several) == {"refusal", "logprobs"}
    short = ask(max_tokens=3)
    assert (short.choices[0].finish_reason, short.usage.completion_tokens) == ("length", 3)
    texts = [
        ask(seed=seed, temperature=1).choices[0].message.content for seed in (1, 2, 3, 1, 2, 3)
    ]
    assert texts[:3] == texts[3:]
    assert len(set(texts)) > 1


def test_a_text_is_continued(client: openai.OpenAI, service: Service) -> None:
    def go_on(*, stream: bool) -> Any:
        return client.completions.create(
            model=service.model,
            prompt="The capital of France is",
            temperature=0,
            max_tokens=12,
            stream=stream,
        )

    plain = go_on(stream=False)
    assert plain.choices[0].text.strip()
    assert nulls(plain) == {"logprobs"}
    assert 1 < plain.usage.completion_tokens <= 12
    chunks = list(go_on(stream=True))
    assert len(chunks) > 1
    assert set().union(*map(nulls, chunks)) <= {"logprobs", "finish_reason"}
    assert "".join(chunk.choices[0].text for chunk in chunks) == plain.choices[0].text


def test_embeddings_are_the_same_in_both_forms(client: openai.OpenAI) -> None:
    texts = ["Snow is white.", "The bakery sells plum loaf.", "Where can I buy bread?"]
    default = client.embeddings.create(model=EMBEDDER, input=texts)  # base64, under the hood
    plain = client.embeddings.create(model=EMBEDDER, input=texts, encoding_format="float")
    vectors = np.array([each.embedding for each in default.data])
    assert vectors.shape == (3, 384)
    assert [each.index for each in default.data] == [0, 1, 2]
    assert np.abs(vectors - np.array([each.embedding for each in plain.data])).max() < 1e-6
    assert np.abs(np.linalg.norm(vectors, axis=1) - 1).max() < 1e-5
    assert vectors[2] @ vectors[1] > vectors[2] @ vectors[0]
    assert default.usage.prompt_tokens > 10
    single = client.embeddings.create(model=EMBEDDER, input=texts[1], dimensions=384)
    assert np.array(single.data[0].embedding) @ vectors[1] > 0.9999


def test_a_picture_comes_as_base64(client: openai.OpenAI) -> None:
    made = client.images.generate(
        prompt="a small red circle on a blue background", response_format="b64_json"
    )
    assert made.data
    picture = Image.open(io.BytesIO(base64.b64decode(made.data[0].b64_json or "")))
    assert picture.format == "PNG"
    assert len(picture.convert("RGB").getcolors(2**24) or []) > 1


def test_models_are_listed_and_shown(client: openai.OpenAI, service: Service) -> None:
    listed = [model.id for model in client.models.list()]
    assert {"genserve", service.model, EMBEDDER} <= set(listed)
    for model_id in listed:
        assert client.models.retrieve(model_id).id == model_id


def test_files_are_listed_page_by_page_and_come_back_whole(client: openai.OpenAI) -> None:
    contents = [f"Fact number {number} is ü.".encode() for number in range(5)]
    kept = [
        client.files.create(file=(f"fact {number}.txt", content), purpose="evals")
        for number, content in enumerate(contents)
    ]
    try:
        page = client.files.list(limit=2, order="asc", purpose="evals")
        assert [file.id for file in page.data] == [file.id for file in kept[:2]]
        assert [file.id for file in page] == [file.id for file in kept]  # asks for the rest
        newest = client.files.list(limit=1, purpose="evals").data
        assert [file.id for file in newest] == [kept[-1].id]
        assert [client.files.content(file.id).read() for file in kept] == contents
        shown = client.files.retrieve(kept[3].id)
        assert (shown.filename, shown.bytes, shown.purpose) == (
            "fact 3.txt",
            len(contents[3]),
            "evals",
        )
    finally:
        for file in kept:
            assert client.files.delete(file.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(kept[0].id)
    assert client.files.list(purpose="evals").data == []


NOBODY = "0" * 32
WRONG: dict[str, tuple[Callable[[openai.OpenAI, str], object], type[openai.APIStatusError]]] = {
    "model-in-chat": (
        lambda client, _: client.chat.completions.create(model="gpt-9", messages=QUESTION),
        openai.NotFoundError,
    ),
    "model": (lambda client, _: client.models.retrieve("gpt-9"), openai.NotFoundError),
    "model-in-embeddings": (
        lambda client, _: client.embeddings.create(model="gpt-9", input="x"),
        openai.NotFoundError,
    ),
    "file": (lambda client, _: client.files.retrieve(f"file-{NOBODY}"), openai.NotFoundError),
    "file-id": (lambda client, _: client.files.content("file-x"), openai.NotFoundError),
    "store": (
        lambda client, _: client.vector_stores.retrieve(f"vs_{NOBODY}"),
        openai.NotFoundError,
    ),
    "file-of-store": (
        lambda client, _: client.vector_stores.create(file_ids=[f"file-{NOBODY}"]),
        openai.NotFoundError,
    ),
    "collection": (
        lambda client, _: client.chat.completions.create(
            model="genserve",
            messages=QUESTION,
            extra_body={"context": {"collection": "nowhere", "web": False}},
        ),
        openai.NotFoundError,
    ),
    "temperature": (
        lambda client, model: client.chat.completions.create(
            model=model, messages=QUESTION, temperature=9
        ),
        openai.BadRequestError,
    ),
    "dimensions": (
        lambda client, _: client.embeddings.create(model=EMBEDDER, input="x", dimensions=12),
        openai.BadRequestError,
    ),
    "purpose": (
        lambda client, _: client.files.create(
            file=("a.txt", b"a"),
            purpose="party",  # type: ignore[arg-type]
        ),
        openai.BadRequestError,
    ),
    "nothing": (
        lambda client, _: client.files.create(file=("a.txt", b""), purpose="assistants"),
        openai.UnprocessableEntityError,
    ),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_errors_come_as_the_types_of_the_sdk(
    client: openai.OpenAI, service: Service, wrong: str
) -> None:
    call, kind = WRONG[wrong]
    with pytest.raises(kind) as raised:
        call(client, service.model)
    assert isinstance(raised.value.body, dict)
    assert len(raised.value.body["message"]) > 10
    assert raised.value.type == "invalid_request_error"


def test_a_wrong_key_is_refused(service: Service) -> None:
    with openai.OpenAI(
        base_url=f"{service.url}/v1", api_key="not-one-of-the-keys", max_retries=0
    ) as stranger:
        with pytest.raises(openai.AuthenticationError):
            stranger.models.list()
        with pytest.raises(openai.AuthenticationError) as raised:
            stranger.chat.completions.create(model="genserve", messages=QUESTION)
    assert "not-one-of-the-keys" not in str(raised.value)


@pytest.fixture
def claude(service: Service) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=service.url, api_key=service.key, max_retries=0, timeout=120
    ) as client:
        yield client


def test_anthropics_sdk_converses(
    claude: anthropic.Anthropic, service: Service, store: Store
) -> None:
    question: Any = {"role": "user", "content": "Name the capital of France."}
    asked: Any = {"model": service.model, "messages": [question]}
    bounded = asked | {"max_tokens": 24, "extra_body": {"temperature": 0}}
    whole = claude.messages.create(**bounded, system="You are a geographer.")
    assert "Paris" in str(whole.content[0].to_dict()["text"])
    assert whole.stop_reason in {"end_turn", "max_tokens"}
    counted = claude.messages.count_tokens(**asked, system="You are a geographer.")
    cached = whole.usage.cache_read_input_tokens or 0
    assert counted.input_tokens == whole.usage.input_tokens + cached > 8
    with claude.messages.stream(**bounded, system="You are a geographer.") as stream:
        streamed = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert streamed == whole.content[0].to_dict()["text"]
    assert final.usage.to_dict() == whole.usage.to_dict()
    stopped = claude.messages.create(**bounded, stop_sequences=["Paris"])
    assert (stopped.stop_reason, stopped.stop_sequence) == ("stop_sequence", "Paris")
    begun: Any = {"role": "assistant", "content": "The capital of France is the city of"}
    went_on = claude.messages.create(**bounded | {"messages": [question, begun]})
    assert str(went_on.content[0].to_dict()["text"]).startswith(" Paris")
    # The bound that clients of large models send is lowered to what there is room for.
    many = claude.messages.create(**bounded | {"max_tokens": 64_000, "stop_sequences": [","]})
    assert (many.model_extra or {})["warnings"][0]["code"] == "answer_limited"
    with pytest.raises(anthropic.NotFoundError) as raised:
        claude.messages.create(**bounded | {"model": "claude-none"})
    assert raised.value.type == "not_found_error"
    assert raised.value.request_id


def test_anthropics_sdk_calls_tools_and_gets_structured_answers(
    claude: anthropic.Anthropic, service: Service
) -> None:
    tool: Any = {
        "name": "weather",
        "description": "The weather in a city.",
        "input_schema": WEATHER["function"]["parameters"],
    }
    asked: Any = [{"role": "user", "content": "How is the weather in Paris?"}]
    options: Any = {"model": service.model, "tools": [tool], "max_tokens": 200}
    with claude.messages.stream(
        **options, messages=asked, tool_choice={"type": "any"}, extra_body={"temperature": 0}
    ) as stream:
        called = stream.get_final_message()
    use = next(block for block in called.content if block.type == "tool_use")
    assert called.stop_reason == "tool_use"
    assert (use.name, use.input["city"] in {"Paris", "Oslo"}) == ("weather", True)
    result: Any = {"type": "tool_result", "tool_use_id": use.id, "content": "It rains."}
    asked += [{"role": "assistant", "content": called.content}]
    asked += [{"role": "user", "content": [result]}]
    told = claude.messages.create(**options, messages=asked, tool_choice={"type": "none"})
    assert told.content[0].type == "text"
    parsed = claude.messages.parse(
        model=service.model, max_tokens=200, messages=ASKED, output_format=Place
    )
    assert isinstance(parsed.parsed_output, Place)


def test_anthropics_sdk_gets_citations(claude: anthropic.Anthropic, store: Store) -> None:
    asked: Any = {"model": "genserve", "messages": ASKED, "max_tokens": 40}
    grounded: Any = asked | {"extra_body": store.context | {"temperature": 0}}
    with claude.messages.stream(**grounded) as stream:
        final = stream.get_final_message()
    whole = claude.messages.create(**grounded)
    text: Any = whole.content[0].to_dict()
    streamed: Any = final.content[0].to_dict()
    assert (streamed["text"], streamed["citations"]) == (text["text"], text["citations"])
    sources = (whole.model_extra or {})["sources"]
    assert "walrus oil" in sources[0]["text"]
    assert text["citations"]
    for citation in text["citations"]:
        source = sources[citation["source_number"] - 1]
        assert citation["cited_text"] in source["text"]
        assert citation["url"] == source["content_uri"]
    assert whole.usage.input_tokens + (whole.usage.cache_read_input_tokens or 0) > 50


def test_the_async_client_converses_too(service: Service) -> None:
    async def converse() -> tuple[str, str]:
        async with openai.AsyncOpenAI(
            base_url=f"{service.url}/v1", api_key=service.key, max_retries=0
        ) as client:
            fact = b"The tram of Uldby is drawn by four elks."
            file = await client.files.create(file=("tram.txt", fact), purpose="assistants")
            store = await client.vector_stores.create(name="trams")
            attached = await client.vector_stores.files.create_and_poll(
                file.id, vector_store_id=store.id, poll_interval_ms=100, max_wait_seconds=120
            )
            assert attached.status == "completed"
            chunks = await client.chat.completions.create(
                model="genserve",
                messages=[{"role": "user", "content": "What draws the tram of Uldby?"}],
                temperature=0,
                max_tokens=30,
                stream=True,
                extra_body={"context": {"collection": store.id, "web": False}},
            )
            text, source = "", ""
            async for chunk in chunks:
                for found in (chunk.model_extra or {}).get("sources", [])[:1]:
                    source = found["text"]
                text += "".join(choice.delta.content or "" for choice in chunk.choices)
            await client.vector_stores.delete(store.id)
            await client.files.delete(file.id)
            return text, source

    text, source = asyncio.run(converse())
    assert text.strip()
    assert "four elks" in source


# --- OpenAI's Node SDK -----------------------------------------------------------------------


def test_the_node_sdk_converses(clients: Clients, tmp_path: Path) -> None:
    document = tmp_path / "tower.md"
    document.write_text("# Vesk\n\nThe clock tower of Vesk strikes thirteen on Sundays.")
    told = clients.converse("openai.mjs", str(document))
    assert told["version"] == NODE["openai"].partition("@")[2]
    assert (told["status"], told["lastError"]) == ("completed", None)
    assert told["found"] == "tower.md"
    assert "thirteen" in told["sources"][0]["text"]
    assert told["text"].strip()
    assert told["usage"]["completion_tokens"] > 1
    assert told["searched"][0]["filename"] == "tower.md"
    assert "".join(told["deltas"]) == told["responseText"]
    assert len(told["deltas"]) > 1
    assert (told["dimensions"], round(told["norm"], 4)) == (384, 1.0)
    assert told["difference"] < 1e-6
    assert told["unknown"] == "NotFoundError"
    assert told["deleted"] is True


# --- LangChain -------------------------------------------------------------------------------


def test_langchain_chats_and_streams(service: Service, store: Store) -> None:
    def model(extra: dict[str, Any]) -> ChatOpenAI:
        return ChatOpenAI(
            model="genserve",
            base_url=f"{service.url}/v1",
            api_key=service.key,
            temperature=0,
            max_tokens=40,
            stream_usage=True,
            extra_body=extra,
        )

    question = ASKED[0]["content"]
    grounded = model(store.context).invoke(question)
    alone = model({"context": {"web": False, "documents": False}}).invoke(question)
    assert grounded.text.strip()
    assert grounded.usage_metadata is not None
    assert alone.usage_metadata is not None
    # What the documents say went into the prompt, and nothing else makes it longer.
    grown = grounded.usage_metadata["input_tokens"] - alone.usage_metadata["input_tokens"]
    assert grown > 20
    chunks = list(model(store.context).stream(question))
    assert len(chunks) > 2
    assert "".join(chunk.text for chunk in chunks) == grounded.text
    usage = [chunk.usage_metadata for chunk in chunks if chunk.usage_metadata]
    assert [each["input_tokens"] for each in usage] == [grounded.usage_metadata["input_tokens"]]


def test_langchain_gets_structured_output(service: Service) -> None:
    model = ChatOpenAI(
        model=service.model,
        base_url=f"{service.url}/v1",
        api_key=service.key,
        temperature=0,
        max_tokens=200,
    )
    structured = model.with_structured_output(Place, method="json_schema")
    assert isinstance(structured.invoke(QUESTION[0]["content"]), Place)


def test_langchain_embeds(
    service: Service, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in put_cl100k_base(tmp_path).items():
        monkeypatch.setenv(name, value)
    embeddings = OpenAIEmbeddings(
        model=EMBEDDER,
        base_url=f"{service.url}/v1",  # type: ignore[call-arg]
        api_key=service.key,
    )
    documents = np.array(embeddings.embed_documents([*DOCUMENTS.values()]))
    assert documents.shape == (2, 384)
    for number, question in enumerate(("What burns in the lighthouse?", "When is loaf sold?")):
        scores = documents @ np.array(embeddings.embed_query(question))
        assert int(scores.argmax()) == number


# --- LlamaIndex ------------------------------------------------------------------------------


def test_llama_index_chats_streams_and_completes(clients: Clients) -> None:
    # In an environment of its own: it wants openai<3 and a setuptools that vLLM refuses.
    told = clients.converse("llama_index_client.py", packages="llama_index")
    assert "Paris" in told["bare"]
    assert told["chat"].strip()
    assert "walrus oil" in told["sources"][0]["text"]
    assert told["pieces"] > 2
    assert told["streamed"] == told["chat"]
    assert told["completed"].strip()
