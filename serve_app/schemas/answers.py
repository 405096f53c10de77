"""The JSON of an answer: how it is asked for, plainly or as OpenAI's chat, and what comes of it."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from deployments.types import PageOutcome  # noqa: TC001 - read by pydantic
from serve_app.schemas.fields import (
    DEFAULT_COLLECTION,
    CollectionName,
    Request,
    StreamOptions,
    Temperature,
    TokenCount,
    TopK,
)


class GenerateRequest(Request):
    """A prompt; URLs in it are read, uploaded documents are searched."""

    prompt: Annotated[str, Field(min_length=1, examples=["Name the capital of France."])]
    temperature: Temperature | None = None
    max_tokens: TokenCount | None = None
    stream: bool = False
    collection: CollectionName = DEFAULT_COLLECTION
    top_k: TopK | None = None


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


class Source(BaseModel):
    """What the answer was given to read, by the number it cites.

    `cited` says whether the answer refers to it, None as long as the answer is not whole.
    """

    id: int
    kind: Literal["page", "document"]
    title: str
    uri: str
    page: int | None = None
    page_end: int | None = None
    section: str | None = None
    score: float | None = None
    text: str
    cited: bool | None = None


class PageReport(BaseModel):
    """How reading one URL of the prompt ended.

    `uri` is where it led, `source` the number under which the page went into the prompt, None if
    it did not: even a page that was read may have found no room. `unavailable` means that nobody
    could try.
    """

    url: str
    outcome: PageOutcome | Literal["unavailable"]
    uri: str | None = None
    source: int | None = None
    detail: str | None = None


class Warning_(BaseModel):  # noqa: N801 - `Warning` is Python's
    """Something the answer had to do without; `url` when a page is meant."""

    code: str
    message: str
    url: str | None = None


class Usage(BaseModel):
    """Tokens, by the model's tokenizer."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class GenerateResponse(BaseModel):
    """A whole answer; `timings` in seconds, by stage."""

    content: str
    finish_reason: str | None
    sources: list[Source]
    pages: list[PageReport]
    warnings: list[Warning_]
    usage: Usage
    timings: dict[str, float]
