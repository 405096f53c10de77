"""The JSON of OpenAI's chat completions, with GenServe's own field `context`."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from serve_app.schemas.answers import (
    ATTRIBUTION_EXAMPLE,
    GROUNDING_EXAMPLE,
    TIMINGS_EXAMPLE,
    USAGE_EXAMPLE,
)
from serve_app.schemas.fields import (
    DEFAULT_COLLECTION,
    DOCUMENT_ID_EXAMPLE,
    MAX_MESSAGES,
    MAX_TOOLS,
    TIME_EXAMPLE,
    CollectionName,
    Request,
    TokenCount,
    TopK,
    check_parts,
    example,
    refuse,
    refused_unless,
)
from serve_app.schemas.filters import FILTER_EXAMPLE, Filters
from serve_app.schemas.generation import GenerationRequest

_UNREAD_PARTS = ("image_url", "input_audio", "file", "image", "audio", "video_url", "refusal")
MAX_COLLECTIONS = 8
MAX_NAME_CHARS = 256
"""Of the name of who wrote a message, and of the id of a tool call."""


def _text_only(kind: object) -> object:
    if isinstance(kind, str) and kind in _UNREAD_PARTS:
        refuse(f"this model reads text only: `{kind}` is not supported")
    return kind


class TextPart(Request):
    """A piece of a message in OpenAI's list form; text is the only kind read here."""

    type: Annotated[Literal["text"], BeforeValidator(_text_only)]
    text: str

    @model_validator(mode="before")
    @classmethod
    def _kind_first(cls, value: object) -> object:
        # The fields of another kind of part are not known either, which is not what is wrong.
        if isinstance(value, dict):
            _text_only(value.get("type"))
        return value


class ChatMessage(Request):
    """A message as OpenAI's clients send it."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | Annotated[list[TextPart], Field(fail_fast=True)] | None = None
    name: Annotated[str, Field(max_length=MAX_NAME_CHARS)] | None = None
    tool_calls: Annotated[list[dict[str, Any]], Field(max_length=MAX_TOOLS)] | None = None
    tool_call_id: Annotated[str, Field(max_length=MAX_NAME_CHARS)] | None = None
    # An assistant's message sent back as it came; these say nothing to the model.
    refusal: str | None = None
    annotations: list[Any] | None = None
    audio: dict[str, Any] | None = None
    function_call: dict[str, Any] | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None

    def text(self) -> str:
        """The content as one string."""
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content)
        return self.content or ""

    def call_text(self) -> str:
        """The tool calls, of which a template may write anything, as one string."""
        return json.dumps(self.tool_calls, ensure_ascii=False) if self.tool_calls else ""


_NOT_FOR_ENGINE: dict[str, Any] = {
    **dict.fromkeys(
        (
            *("context", "user", "metadata", "store", "service_tier", "safety_identifier"),
            *("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"),
            *("modalities", "prediction", "reasoning_effort", "verbosity"),
            *("audio", "function_call", "functions", "moderation", "web_search_options"),
        ),
        True,
    ),
    "messages": {
        "__all__": {
            "refusal",
            "annotations",
            "audio",
            "function_call",
            "reasoning",
            "reasoning_content",
        }
    },
}


def _few_parts(messages: object) -> object:
    """Refuse what would take long to validate; each message may have several parts."""
    if isinstance(messages, list):
        parts = sum(
            len(message["content"])
            for message in messages[:MAX_MESSAGES]
            if isinstance(message, dict) and isinstance(message.get("content"), list)
        )
        check_parts(parts)
    return messages


class ContextOptions(Request):
    """GenServe's own field of a chat request: what the answer may draw on.

    `web`, `documents` and `attribution`, the comparison of the answer with its sources, can be
    switched off here; what the operator switched off stays off.
    `collections` are searched together, in place of `collection`.
    """

    web: bool = True
    documents: bool = True
    collection: CollectionName | None = None
    collections: (
        Annotated[list[CollectionName], Field(min_length=1, max_length=MAX_COLLECTIONS)] | None
    ) = None
    filters: Filters | None = None
    top_k: TopK | None = None
    attribution: bool = True

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if self.collection is not None and self.collections is not None:
            raise PydanticCustomError(
                "exclusive",  # noqa: EM101 - a type, not a message
                "`collection` and `collections` exclude each other",
            )
        return self

    def searched(self) -> list[str]:
        """Return the names of the collections that are searched."""
        return self.collections or [self.collection or DEFAULT_COLLECTION]


class ChatRequest(GenerationRequest):
    """OpenAI's chat completion request."""

    not_for_engine = _NOT_FOR_ENGINE

    model_config = example(
        {
            "model": "genserve",
            "messages": [{"role": "user", "content": "What does the report say about costs?"}],
            "max_tokens": 64,
            "context": {
                "web": True,
                "documents": True,
                "collection": "default",
                "filters": FILTER_EXAMPLE,
                "top_k": 4,
            },
        }
    )

    messages: Annotated[
        list[ChatMessage],
        Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True),
        BeforeValidator(_few_parts),
    ]
    max_completion_tokens: TokenCount | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Annotated[
        Annotated[list[dict[str, Any]], Field(max_length=MAX_TOOLS)] | None,
        BeforeValidator(lambda tools: None if tools == [] else tools),
    ] = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    # Accepted because OpenAI's clients send them; they have no effect.
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: dict[str, Any] | None = None
    prompt_cache_retention: str | None = None
    prediction: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    modalities: Annotated[
        list[Literal["text"]] | None, refused_unless(["text"], "this model writes text only")
    ] = None
    # Refused, as ignoring them would mislead.
    audio: Annotated[None, refused_unless(None, "this model writes text only")] = None
    functions: Annotated[
        None, refused_unless([], "`functions` were replaced by `tools`: send these")
    ] = None
    function_call: Annotated[
        None, refused_unless("none", "`function_call` was replaced by `tool_choice`: send this")
    ] = None
    moderation: Annotated[
        None, refused_unless(None, "this service does not moderate what is asked or answered")
    ] = None
    web_search_options: Annotated[
        None,
        refused_unless(
            None,
            "this service searches documents and reads the pages that a prompt names, not the web",
        ),
    ] = None
    context: ContextOptions = Field(default_factory=ContextOptions)

    def texts(self) -> list[str]:
        """The text of each message, with that of its tool calls."""
        return [message.text() + message.call_text() for message in self.messages]

    def constraints(self) -> dict[str, Any]:
        """The fields that hold schemas or grammars."""
        return {
            "tools": self.tools,
            "tool_choice": self.tool_choice,
            "response_format": self.response_format,
        }


ANNOTATION_EXAMPLE = {
    "index": 0,
    "type": "url_citation",
    "url_citation": {
        "start_index": 0,
        "end_index": 22,
        "title": "Annual report",
        "url": f"/v1/documents/{DOCUMENT_ID_EXAMPLE}",
        "source": 1,
        "filename": "report.pdf",
        "strength": 1.0,
        "corrected": False,
        "quote": "Costs fell by 4 % to 1.2 million.",
        "quote_start": 0,
        "quote_end": 33,
    },
}
COMPLETION_EXAMPLE = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": TIME_EXAMPLE,
    "model": "genserve",
    "choices": [
        {
            "index": 0,
            "message": {
                "role": "assistant",
                "content": "Costs fell by 4 % [1].",
                "annotations": [ANNOTATION_EXAMPLE],
            },
            "finish_reason": "stop",
        }
    ],
    "usage": USAGE_EXAMPLE,
    **GROUNDING_EXAMPLE,
    "attributions": [ATTRIBUTION_EXAMPLE],
    "timings": TIMINGS_EXAMPLE,
}
CHUNK_EVENT_EXAMPLE = 'data: {"choices": [{"delta": {"content": "Costs"}}]}\n\n'
"""Chunks are written from the engine's events, so that they have no model here."""
