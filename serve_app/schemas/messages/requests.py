"""The JSON of requests for Anthropic's Messages API, with GenServe's own field `context`."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError
from typing_extensions import TypedDict

from serve_app.schemas.chat import ContextOptions
from serve_app.schemas.fields import (
    MAX_MESSAGES,
    MAX_PARTS,
    MAX_TOOLS,
    Request,
    Temperature,
    TokenCount,
    check_parts,
    example,
    refused_unless,
)
from serve_app.schemas.filters import FILTER_EXAMPLE
from serve_app.schemas.generation import StopText  # noqa: TC001 - read by pydantic
from serve_app.schemas.messages.blocks import (  # noqa: TC001 - read by pydantic
    Block,
    CacheControl,
    OnlyText,
)
from serve_app.schemas.messages.tools import Tool, ToolChoice, WebTool

_OF_ROLE = {
    "user": {"text", "document", "search_result", "tool_result"},
    "assistant": {"text", "thinking", "redacted_thinking", "tool_use"},
    "system": {"text"},
}
_MESSAGES_EXAMPLE = [{"role": "user", "content": "What does the report say about costs?"}]


class MessageParam(Request):
    """A message of the conversation; `clear_at` says how long instructions hold."""

    role: Literal["user", "assistant", "system"]
    content: str | Annotated[list[Block], Field(fail_fast=True)]
    clear_at: Literal["next_user_message", "never"] | None = None
    output_config: dict[str, Any] | None = None  # without effect

    @model_validator(mode="after")
    def _of_role(self) -> Self:
        for block in [] if isinstance(self.content, str) else self.content:
            if block.type not in _OF_ROLE[self.role]:
                raise PydanticCustomError(
                    "block_of_role",  # noqa: EM101 - a type, not a message
                    "a message of the role `{role}` has no blocks of the type `{type}`",
                    {"role": self.role, "type": block.type},
                )
        return self


def _parts(given: object) -> int:
    """Count the content blocks of a message, those in its blocks and their sources included."""
    if isinstance(given, list):
        return len(given) + sum(map(_parts, given))
    if isinstance(given, dict):
        return _parts(given.get("content")) + _parts(given.get("source"))
    return 0


def _few_parts(messages: object) -> object:
    """Refuse what would take long to validate; each message may have several parts."""
    if isinstance(messages, list):
        check_parts(sum(map(_parts, messages[:MAX_MESSAGES])))
    return messages


class Thinking(Request):
    """Whether reasoning is shown; it does not change whether the model reasons."""

    type: Literal["enabled", "disabled", "adaptive", "between_tools"]
    budget_tokens: int | None = None
    display: str | None = None
    block_binding: dict[str, Any] | None = None


class JSONFormat(TypedDict):
    """The schema of an answer; a TypedDict, as pydantic models have an attribute `schema`."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[misc]  # pydantic reads it

    type: Literal["json_schema"]
    schema: dict[str, Any]


class OutputConfig(Request):
    """The form of the answer; `effort` has no effect."""

    effort: str | None = None
    format: JSONFormat | None = None
    task_budget: Annotated[
        None, refused_unless(None, "this service does not follow the budget of a task")
    ] = None


class CountTokensRequest(Request):
    """Anthropic's request to count the tokens of a conversation with its tools.

    A message request has these fields, too.
    """

    model_config = example({"model": "genserve", "messages": _MESSAGES_EXAMPLE})

    model: Annotated[str, Field(min_length=1, max_length=200)]
    messages: Annotated[
        list[MessageParam],
        Field(min_length=1, max_length=MAX_MESSAGES, fail_fast=True),
        BeforeValidator(_few_parts),
    ]
    system: str | Annotated[list[OnlyText], Field(max_length=MAX_PARTS, fail_fast=True)] | None = (
        None
    )
    tools: Annotated[list[Tool], Field(max_length=MAX_TOOLS, fail_fast=True)] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Thinking | None = None
    output_config: OutputConfig | None = None
    output_format: JSONFormat | None = None
    context: ContextOptions = Field(default_factory=ContextOptions)
    # Accepted because Anthropic's clients send them; they have no effect.
    billing_policy: dict[str, Any] | None = None
    cache_control: CacheControl | None = None
    context_management: dict[str, Any] | None = None
    speed: Literal["standard", "fast"] | None = None
    # Refused, as ignoring them would mislead.
    compaction: Annotated[
        None, refused_unless(None, "this service does not summarize conversations")
    ] = None
    mcp_servers: Annotated[None, refused_unless([], "this service connects to no MCP servers")] = (
        None
    )

    @property
    def json_schema(self) -> dict[str, Any] | None:
        """The schema that the answer follows, if one is given."""
        form = (self.output_config and self.output_config.format) or self.output_format
        return form["schema"] if form else None

    @property
    def reads_pages(self) -> bool:
        """Whether a hosted tool that reads pages is among the tools."""
        return any(isinstance(tool, WebTool) for tool in self.tools or ())

    def constraints(self) -> dict[str, Any]:
        """The engine's fields that hold schemas."""
        schema = self.json_schema
        tools = [tool.model_dump(exclude_none=True) for tool in self.tools or ()]
        return {
            "tools": tools or None,
            "response_format": {"json_schema": {"schema": schema}} if schema else None,
        }


class MessagesRequest(CountTokensRequest):
    """Anthropic's request for a message."""

    model_config = example(
        {
            "model": "genserve",
            "max_tokens": 64,
            "messages": _MESSAGES_EXAMPLE,
            "context": {"collection": "default", "filters": FILTER_EXAMPLE},
        }
    )

    max_tokens: TokenCount
    stop_sequences: Annotated[list[StopText], Field(max_length=16)] | None = None
    stream: bool = False
    temperature: Temperature | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=-1, le=1_000_000)] | None = None
    # Accepted because Anthropic's clients send them; they have no effect.
    diagnostics: dict[str, Any] | None = None
    fallback_credit_token: dict[str, Any] | str | None = None
    fallbacks: list[Any] | str | None = None
    metadata: dict[str, Any] | None = None
    service_tier: str | None = None
    # Refused, as ignoring them would mislead.
    container: Annotated[
        None, refused_unless(None, "this service runs no code: it has no containers")
    ] = None
    inference_geo: Annotated[
        None, refused_unless("global", "this service runs in one place: it has no regions")
    ] = None
    thread: dict[str, Any] | None = Field(default=None, description="Not supported.")
