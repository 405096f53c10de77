"""Answers of all routes that OpenAI has, validated by the types of the `openai` package."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest
from openai.types import file_list_params, vector_store_list_params
from openai.types.chat import ChatCompletionMessageParam
from openai.types.vector_stores import file_batch_list_files_params
from openai.types.vector_stores import file_list_params as files_params
from pydantic import TypeAdapter

from deployments.types import Passage
from serve_app.testing import MODEL, Fakes
from tests.support.openai_fields import single_fields

pytestmark = pytest.mark.anyio
SAY: list[ChatCompletionMessageParam] = [{"role": "user", "content": "snow is white"}]
MODELS = ["genserve", MODEL]


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    fakes = Fakes()
    fakes.jobs.runs = True
    fakes.retriever.passages = [
        Passage("doc_" + "0" * 32, "a.pdf", "A", "", 0, 0, "snow is white", 1, 1, 0.5)
    ]
    async with fakes.client(embedder={"model": "c/d"}) as client:
        yield client


@pytest.fixture
def client(http: httpx.AsyncClient) -> openai.AsyncOpenAI:
    """The SDK, which raises an error for an answer that is not of its type."""
    return openai.AsyncOpenAI(
        base_url="http://127.0.0.1/v1",
        api_key="none",
        http_client=http,  # type: ignore[arg-type]  # used as the SDK's own
        max_retries=0,
        _strict_response_validation=True,
    )


def strict(answer: openai.BaseModel) -> Any:
    """Return an answer that is of its type, without any conversion."""
    TypeAdapter(type(answer)).validate_json(answer.to_json(exclude_unset=True), strict=True)
    return answer


@pytest.mark.parametrize("model", MODELS)
async def test_answers_have_their_types_and_name_the_model_that_was_asked_for(
    client: openai.AsyncOpenAI, model: str
) -> None:
    answer = strict(await client.chat.completions.create(model=model, messages=SAY, n=2))
    assert (answer.model, answer.created) == (model, 1)
    assert [choice.index for choice in answer.choices] == [0, 1]
    texts: defaultdict[int, str] = defaultdict(str)
    stream = await client.chat.completions.create(model=model, messages=SAY, n=2, stream=True)
    async for chunk in stream:
        strict(chunk)
        assert (chunk.model, chunk.created) == (model, 1)
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    whole = [choice.message.content for choice in answer.choices]
    assert [" ".join(text.split()) for text in texts.values()] == [
        " ".join((text or "").split()) for text in whole
    ]


async def test_each_of_several_choices_has_its_own_annotations() -> None:
    fakes = Fakes()
    fact = "The lighthouse of Uldby burns rapeseed oil."
    fakes.retriever.passages = [Passage("doc_" + "0" * 32, "a", "A", "", 0, 0, fact, 1, 1, 0.5)]
    fakes.llm.reply = f"It is made of green cheese and of iron [7]. {fact}"
    body = {"model": "genserve", "messages": SAY, "n": 2}
    async with fakes.client() as http:
        whole = (await http.post("/v1/chat/completions", json=body)).json()
        stream = await http.post("/v1/chat/completions", json=body | {"stream": True})
    messages = [choice["message"] for choice in whole["choices"]]
    for message in messages:
        assert "[7]" not in message["content"]
        (annotation,) = message["annotations"]
        place = annotation["url_citation"]
        assert message["content"][place["start_index"] : place["end_index"]] == fact
    lines = [line for line in stream.text.splitlines() if line.startswith("data: {")]
    streamed = {
        choice["index"]: choice["delta"]["annotations"]
        for line in lines
        for choice in json.loads(line.removeprefix("data: "))["choices"]
        if "annotations" in choice["delta"]
    }
    assert streamed == {index: one["annotations"] for index, one in enumerate(messages)}


async def test_lists_files_stores_and_pictures_have_their_types(
    client: openai.AsyncOpenAI,
) -> None:
    models = await client.models.list()
    assert [strict(model).id for model in models.data][:2] == MODELS
    strict(await client.models.retrieve("genserve"))
    completion = strict(await client.completions.create(model=MODEL, prompt="snow", n=2))
    assert len(completion.choices) == 2
    strict(await client.embeddings.create(model="d", input=["snow"], encoding_format="float"))
    strict(await client.images.generate(prompt="a star", size="256x256"))

    file = strict(await client.files.create(file=("a.txt", b"snow is white"), purpose="user_data"))
    strict(await client.files.retrieve(file.id))
    assert [strict(one).id async for one in client.files.list()] == [file.id]
    store = strict(await client.vector_stores.create(name="s", metadata={"a": "b"}))
    strict(await client.vector_stores.retrieve(store.id))
    strict(await client.vector_stores.update(store.id, name="t"))
    assert store.id in [strict(one).id async for one in client.vector_stores.list()]
    files, batches = client.vector_stores.files, client.vector_stores.file_batches
    strict(await files.create(store.id, file_id=file.id, attributes={"a": 1}))
    strict(await files.retrieve(file.id, vector_store_id=store.id))
    strict(await files.update(file.id, vector_store_id=store.id, attributes={"a": "b"}))
    assert [strict(one) async for one in files.list(store.id)]
    assert [strict(one) async for one in files.content(file.id, vector_store_id=store.id)]
    assert [strict(one) async for one in client.vector_stores.search(store.id, query="snow")]
    batch = strict(await batches.create(store.id, file_ids=[file.id]))
    strict(await batches.retrieve(batch.id, vector_store_id=store.id))
    async for one in batches.list_files(batch.id, vector_store_id=store.id):
        strict(one)
    strict(await batches.cancel(batch.id, vector_store_id=store.id))
    strict(await files.delete(file.id, vector_store_id=store.id))
    strict(await client.vector_stores.delete(store.id))
    strict(await client.files.delete(file.id))


@pytest.mark.parametrize(
    ("path", "parameters"),
    [
        ("/v1/files", file_list_params.FileListParams),
        ("/v1/vector_stores", vector_store_list_params.VectorStoreListParams),
        ("/v1/vector_stores/STORE/files", files_params.FileListParams),
        (
            "/v1/vector_stores/STORE/file_batches/BATCH/files",
            file_batch_list_files_params.FileBatchListFilesParams,
        ),
    ],
)
async def test_every_parameter_of_a_list_is_read(
    http: httpx.AsyncClient, path: str, parameters: type[Any]
) -> None:
    sent, form = {"file": ("a.txt", b"some text")}, {"purpose": "user_data"}
    file = (await http.post("/v1/files", files=sent, data=form)).json()["id"]
    store = (await http.post("/v1/vector_stores", json={})).json()["id"]
    body = {"file_ids": [file]}
    batch = (await http.post(f"/v1/vector_stores/{store}/file_batches", json=body)).json()["id"]
    path = path.replace("STORE", store).replace("BATCH", batch)
    for single in single_fields(parameters):
        if single.field == "vector_store_id" or single.value is None:
            continue
        answer = await http.get(path, params={single.field: single.value})
        unknown = single.value == "auto"  # an id or purpose that does not exist
        assert answer.status_code == 200 or (unknown and answer.status_code == 400), single
