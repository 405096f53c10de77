"""Every field of OpenAI's request types: accepted, or refused with 400 and a true sentence."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from openai.types import (
    completion_create_params,
    embedding_create_params,
    image_generate_params,
    vector_store_create_params,
    vector_store_search_params,
    vector_store_update_params,
)
from openai.types.chat import completion_create_params as chat_create_params
from openai.types.conversations import conversation_create_params
from openai.types.responses import (
    ResponseItem,
    ResponseOutputItem,
    input_token_count_params,
    response_create_params,
)
from openai.types.vector_stores import (
    file_batch_create_params,
    file_create_params,
    file_update_params,
)
from pydantic import BaseModel

from serve_app.testing import MODEL, Fakes
from tests.support.openai_fields import model_objects, single_fields

pytestmark = pytest.mark.anyio
_NO_TEXT, _EMPTY, _ID = "text only", "at least 1 item", "does not have the form"
_SIZES = "greater than or equal to 100"
Refusals = dict[str, tuple[str, ...]]
SAY = [{"role": "user", "content": "x"}]
CHAT: Refusals = {
    "messages": (_EMPTY, _NO_TEXT, "role `user`", "messages[0].role"),
    "audio": (_NO_TEXT,),
    "modalities": (_NO_TEXT,),
    "functions": ("`tools`",),
    "function_call": ("`tool_choice`",),
    "moderation": ("does not moderate",),
    "web_search_options": ("not the web",),
}
UNKNOWN = "there is no such"
RESPONSE: Refusals = {
    "context_management": ("not compacted",),
    "conversation": (UNKNOWN,),
    "input": (
        *(_EMPTY, _NO_TEXT, UNKNOWN, "those that are: message", "`input` is required"),
        *("at least one message", "call_id"),
    ),
    "moderation": ("does not moderate",),
    "previous_response_id": (UNKNOWN,),
    "prompt": ("stores no prompts",),
    "prompt_cache_options": ("cannot be filled without",),
    "tool_choice": ("use function, file_search or web_search", "the tools", "at least one tool"),
    "tools": (
        *("use function, file_search or web_search", _EMPTY, "not asynchronous"),
        *("by meaning and words", "whatever their domain"),
    ),
}
FILES: Refusals = {"chunking_strategy": (_SIZES,), "file_id": (_ID,)}
ROUTES: list[tuple[str, dict[str, Any], type[Any], Refusals]] = [
    (
        "/v1/chat/completions",
        {"model": "genserve", "messages": SAY},
        chat_create_params.CompletionCreateParamsNonStreaming,
        CHAT,
    ),
    (
        "/v1/chat/completions",
        {"model": MODEL, "messages": SAY},
        chat_create_params.CompletionCreateParamsNonStreaming,
        CHAT,
    ),
    (
        "/v1/responses",
        {"model": MODEL, "input": "x"},
        response_create_params.ResponseCreateParamsNonStreaming,
        RESPONSE,
    ),
    (
        "/v1/responses/input_tokens",
        {"model": MODEL, "input": "x"},
        input_token_count_params.InputTokenCountParams,
        RESPONSE,
    ),
    (
        "/v1/conversations",
        {},
        conversation_create_params.ConversationCreateParams,
        {"items": RESPONSE["input"]},
    ),
    (
        "/v1/completions",
        {"model": MODEL, "prompt": "x"},
        completion_create_params.CompletionCreateParamsNonStreaming,
        {"prompt": (_EMPTY, "valid string"), "suffix": ("before a suffix",)},
    ),
    (
        "/v1/embeddings",
        {"model": "d", "input": "x"},
        embedding_create_params.EmbeddingCreateParams,
        {"input": (_EMPTY,)},
    ),
    (
        "/v1/vector_stores",
        {},
        vector_store_create_params.VectorStoreCreateParams,
        {"chunking_strategy": (_SIZES,), "description": ("`metadata`",), "file_ids": (_ID,)},
    ),
    ("/v1/vector_stores/STORE", {}, vector_store_update_params.VectorStoreUpdateParams, {}),
    (
        "/v1/vector_stores/STORE/search",
        {"query": "x"},
        vector_store_search_params.VectorStoreSearchParams,
        {"query": (_EMPTY,), "filters": (_EMPTY,), "rewrite_query": ("further phrasings",)},
    ),
    (
        "/v1/vector_stores/STORE/files",
        {"file_id": "FILE"},
        file_create_params.FileCreateParams,
        FILES,
    ),
    (
        "/v1/vector_stores/STORE/files/FILE",
        {"attributes": {}},
        file_update_params.FileUpdateParams,
        {},
    ),
    (
        "/v1/vector_stores/STORE/file_batches",
        {"file_ids": ["FILE"]},
        file_batch_create_params.FileBatchCreateParams,
        FILES | {"file_ids": (_EMPTY, _ID, "either"), "files": (_EMPTY, _ID, _SIZES)},
    ),
    (
        "/v1/images/generations",
        {"prompt": "a red circle"},
        image_generate_params.ImageGenerateParamsNonStreaming,
        {
            "background": ("no transparent background",),
            "frame_duration_ms": ("single pictures",),
            "frame_count": ("single pictures",),
            "output_format": ("'png', 'jpeg' or 'webp'",),
            "partial_images": ("no partial ones",),
            "size": ("multiple of 8",),
            "svg": ("no SVG",),
        },
    ),
]
ELSEWHERE = {"vector_store_id", "model"}  # a part of the path; the names of OpenAI's models


def kind_of(value: Any) -> str | None:
    """Return the `type` of the only item of a list."""
    item = value[0] if isinstance(value, list) and value else None
    return item.get("type") if isinstance(item, dict) else None


@pytest.mark.parametrize(("path", "body", "request_type", "refusals"), ROUTES)
async def test_every_openai_field_is_accepted_or_refused_with_a_reason(
    path: str, body: dict[str, Any], request_type: type[Any], refusals: Refusals
) -> None:
    fakes = Fakes()
    fakes.jobs.runs = True
    asked = accepted = 0
    refused_kinds: set[str] = set()
    async with fakes.client(embedder={"model": "c/d"}) as http:
        store = (await http.post("/v1/vector_stores", json={})).json()["id"]
        sent, form = {"file": ("a.txt", b"some text")}, {"purpose": "user_data"}
        file = (await http.post("/v1/files", files=sent, data=form)).json()["id"]
        await http.post(f"/v1/vector_stores/{store}/files", json={"file_id": file})
        path = path.replace("STORE", store).replace("FILE", file)
        named = {"file_id": file} if "file_id" in body else {}
        named |= {"file_ids": [file]} if "file_ids" in body else {}
        for single in single_fields(request_type):
            kind = kind_of(single.value)
            if single.field in ELSEWHERE or kind in refused_kinds:
                continue
            asked += 1
            answer = await http.post(path, json=body | named | {single.field: single.value})
            if answer.is_success:
                accepted += 1
                continue
            error = answer.json()["error"]
            if kind and f"`{kind}`" in error["message"]:
                refused_kinds.add(kind)  # with whatever fields: there are hundreds of them
            expected = 404 if error["message"].startswith(UNKNOWN) else 400
            assert answer.status_code == expected, (single, error)
            assert error["type"] == "invalid_request_error"
            fragments = refusals.get(single.field, ())
            assert any(fragment in error["message"] for fragment in fragments), (single, error)
    assert 0 < accepted <= asked


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ([SAY], "the body must be a JSON object"),
        (None, "the body must be a JSON object"),
        ({"messages": ["x"]}, "messages[0]: must be an object"),
        ({"context": {"filters": {"type": "near"}}}, "with the `type` eq, ne, and, or, gt, gte"),
        ({"x" * 100_000: 1}, "there is no such field"),
    ],
)
async def test_errors_are_short_and_name_the_expected_json(body: object, message: str) -> None:
    if isinstance(body, dict):
        body = {"model": MODEL, "messages": SAY} | body
    async with Fakes().client() as http:
        answer = await http.post("/v1/chat/completions", json=body)
        erased = await http.post("/v1/erasures", json={})
    assert answer.status_code == erased.status_code == 400
    assert message in answer.json()["error"]["message"]
    assert len(answer.content) < 1000
    assert erased.json()["error"]["message"].startswith("name a document_id")


ITEMS: set[type[BaseModel]] = {
    item_type
    for union in (ResponseOutputItem, ResponseItem)  # as answered, and as stored
    for item_type in get_args(get_args(union)[0])
}


async def test_every_output_item_is_accepted_when_it_is_sent_back() -> None:
    """Of its required fields, each value; of the others, each one alone, null too."""
    supported: set[str] = set()
    async with Fakes().client() as http:
        for item_type in ITEMS:
            (kind,) = get_args(item_type.model_fields["type"].annotation)
            for item in sent_back(item_type):
                body = {"model": MODEL, "input": [item, *SAY]}
                answer = await http.post("/v1/responses/input_tokens", json=body)
                if answer.status_code == 200:
                    supported.add(kind)
                    continue
                message = answer.json()["error"]["message"]
                assert answer.status_code == 400
                if f"items of the type `{kind}` are not supported" in message:
                    assert kind not in supported
                    break
                # The output of no call says nothing.
                needs_id = item.get("call_id") is None and "call_id" in message
                assert needs_id or _NO_TEXT in message, (item, message)
    assert supported == {
        *("message", "reasoning", "function_call", "function_call_output"),
        *("file_search_call", "web_search_call"),
    }


def sent_back(item_type: type[BaseModel]) -> Iterator[dict[str, Any]]:
    """Yield an output item in its forms, and as `model_dump` writes them, with all nulls."""
    for item in model_objects(item_type):
        yield item
        nulls = {field.alias or name: None for name, field in item_type.model_fields.items()}
        yield nulls | item


async def test_the_reference_shows_the_harmless_values_of_fields_without_effect() -> None:
    fakes = Fakes()
    fakes.jobs.runs = True
    async with fakes.client() as http:
        schemas = (await http.get("/openapi.json")).json()["components"]["schemas"]
        shown = schemas["OpenAIImagesRequest"]["properties"]
        for name in ("stream", "partial_images", "frame_count", "svg"):
            assert "not streamed" in shown["stream"]["description"]
            for value in (False, True, 0, 1, "x", None):
                body = {"prompt": "a star", name: value}
                answer = await http.post("/v1/images/generations", json=body)
                known = any(value is each for each in shown[name]["enum"])
                assert answer.status_code == (200 if known else 400), body


async def test_a_misspelt_field_is_refused_with_the_nearest_name() -> None:
    async with Fakes().client() as http:
        body = {"model": "genserve", "messages": SAY}
        wrong = await http.post("/v1/chat/completions", json=body | {"temprature": 1})
        inside = await http.post("/v1/chat/completions", json=body | {"context": {"wed": True}})
    assert wrong.json()["error"] == {
        "message": "temprature: there is no such field; did you mean `temperature`?",
        "type": "invalid_request_error",
        "code": "unknown_parameter",
        "param": "temprature",
    }
    assert inside.json()["error"]["param"] == "context.wed"
    assert "did you mean `web`?" in inside.json()["error"]["message"]


async def test_null_is_the_default_of_every_optional_field() -> None:
    fakes = Fakes()
    async with fakes.client() as http:
        body = {"model": MODEL, "messages": SAY, "stream": None, "tools": [], "context": None}
        chat = await http.post("/v1/chat/completions", json=body)
        store = await http.post("/v1/vector_stores", json={"file_ids": None, "name": None})
    assert chat.status_code == store.status_code == 200
    assert fakes.llm.bodies[0] == {"model": MODEL, "messages": SAY}


@pytest.mark.parametrize("output_format", ["jpeg", "webp"])
async def test_a_picture_comes_in_the_format_that_is_asked_for(output_format: str) -> None:
    import base64
    import io

    from PIL import Image

    fakes = Fakes()
    fakes.jobs.runs = True
    async with fakes.client() as http:
        body = {"prompt": "a star", "output_format": output_format, "output_compression": 40}
        made = (await http.post("/v1/images/generations", json=body)).json()
        fetched = await http.get(made["data"][0]["url"])
    content = base64.b64decode(made["data"][0]["b64_json"])
    assert made["output_format"] == output_format
    assert fetched.headers["content-type"] == f"image/{output_format}"
    for each in (content, fetched.content):
        assert Image.open(io.BytesIO(each)).format == output_format.upper()
