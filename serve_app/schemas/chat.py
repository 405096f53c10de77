"""The JSON of OpenAI's chat completions, with GenServe's own field `context`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from serve_app.schemas.answers import GROUNDING_EXAMPLE, TIMINGS_EXAMPLE, USAGE_EXAMPLE
from serve_app.schemas.fields import (
    DEFAULT_COLLECTION,
    TIME_EXAMPLE,
    CollectionName,
    Request,
    StreamOptions,
    Temperature,
    TokenCount,
    TopK,
    example,
)


class TextPart(Request):
    """A piece of a message in OpenAI's list form; text is the only kind read here."""

    type: Literal["text"]
    text: str


class ChatMessage(Request):
    """A message as OpenAI's clients send it."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[TextPart] | None = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
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


_NOT_THE_ENGINES: dict[str, Any] = {
    **dict.fromkeys(
        ("context", "user", "metadata", "store", "service_tier", "safety_identifier"), True
    ),
    "prompt_cache_key": True,
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


class ContextOptions(Request):
    """GenServe's own field of a chat request: what the answer may draw on.

    `web` and `documents` can be switched off here; what the operator switched off stays off.
    """

    web: bool = True
    documents: bool = True
    collection: CollectionName = DEFAULT_COLLECTION
    top_k: TopK | None = None


class ChatRequest(Request):
    """OpenAI's chat completion request.

    Fields are listed one by one, so that nothing reaches the engine that could name a
    template, a file or a model to load.
    """

    model_config = example(
        {
            "model": "genserve",
            "messages": [{"role": "user", "content": "What does the report say about costs?"}],
            "max_tokens": 64,
            "context": {"web": True, "documents": True, "collection": "default", "top_k": 4},
        }
    )

    model: Annotated[str, Field(min_length=1, max_length=200)]
    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    temperature: Temperature | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=1_000_000)] | None = None
    min_p: Annotated[float, Field(ge=0, le=1)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    max_tokens: TokenCount | None = None
    max_completion_tokens: TokenCount | None = None
    min_tokens: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    n: Annotated[int, Field(ge=1, le=16)] | None = None
    stop: str | Annotated[list[str], Field(max_length=16)] | None = None
    seed: int | None = None
    ignore_eos: bool | None = None
    logit_bias: dict[str, float] | None = None
    logprobs: bool | None = None
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    tools: Annotated[list[dict[str, Any]], Field(max_length=128)] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    # Taken from any client of OpenAI's, and without meaning here.
    user: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    context: ContextOptions | None = None

    def for_engine(self) -> dict[str, Any]:
        """The request as the engine gets it: what was given, without our own field."""
        body = self.model_dump(exclude_none=True, exclude_unset=True, exclude=_NOT_THE_ENGINES)
        if self.stream_options is not None:
            body["stream_options"] = {"include_usage": self.stream_options.include_usage}
        return body


COMPLETION_EXAMPLE = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": TIME_EXAMPLE,
    "model": "SmolLM2-135M-Instruct",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Costs fell by 4 % [1]."},
            "finish_reason": "stop",
        }
    ],
    "usage": USAGE_EXAMPLE,
    **GROUNDING_EXAMPLE,
    "timings": TIMINGS_EXAMPLE,
}
CHUNK_EVENT_EXAMPLE = 'data: {"choices": [{"delta": {"content": "Costs"}}]}\n\n'
"""The engine's object passes through, so that it has no model here."""
