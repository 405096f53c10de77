"""The input items of responses and of conversations."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from serve_app.schemas.fields import MAX_PARTS, Request, check_parts, refuse

MAX_ITEMS = 1000
MAX_ID_CHARS = 256
_SHOWN_CHARS = 64
_UNREAD_PARTS = ("input_image", "input_file", "input_audio", "computer_screenshot")

ItemId = Annotated[str, Field(max_length=MAX_ID_CHARS)]
_Status = Literal["in_progress", "completed", "incomplete", "searching", "failed"]


class InputText(Request):
    """Text of the user, of the system or of a tool."""

    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: dict[str, Any] | None = None


class OutputText(Request):
    """Text of the model, sent back as it came."""

    type: Literal["output_text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None


class RefusalPart(Request):
    """A refusal of the model, sent back as it came."""

    type: Literal["refusal"]
    refusal: str

    @property
    def text(self) -> str:
        """The text of the refusal."""
        return self.refusal


def _text_only(part: object) -> object:
    if isinstance(part, dict) and (kind := part.get("type")) in _UNREAD_PARTS:
        refuse(f"this model reads text only: `{kind}` is not supported")
    return part


Part = Annotated[
    InputText | OutputText | RefusalPart,
    Field(discriminator="type"),
]
Parts = Annotated[
    list[Annotated[Part, BeforeValidator(_text_only)]],
    Field(max_length=MAX_PARTS, fail_fast=True),
]
Content = str | Parts


def text_of(content: str | list[InputText | OutputText | RefusalPart]) -> str:
    """Return content as one string."""
    return content if isinstance(content, str) else "\n".join(part.text for part in content)


class Message(Request):
    """A message; `content` may be a string, and `type` may be left out."""

    type: Literal["message"]
    role: Literal["user", "assistant", "system", "developer"]
    content: Content
    id: ItemId | None = None
    status: _Status | None = None
    phase: str | None = None


class FunctionCall(Request):
    """A function call of the model."""

    type: Literal["function_call"]
    call_id: Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
    name: Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
    arguments: str
    id: ItemId | None = None
    status: _Status | None = None
    caller: dict[str, Any] | None = None
    namespace: Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)] | None = None
    created_by: str | None = None
    async_: Annotated[bool | None, Field(alias="async")] = None


class FunctionCallOutput(Request):
    """The output of a function."""

    type: Literal["function_call_output"]
    call_id: Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]
    output: Content
    id: ItemId | None = None
    status: _Status | None = None
    name: str | None = None
    caller: dict[str, Any] | None = None
    namespace: str | None = None
    created_by: str | None = None


class ReasoningText(Request):
    """A part of a reasoning item."""

    type: Literal["summary_text", "reasoning_text"]
    text: str


class Reasoning(Request):
    """Reasoning of the model, sent back as it came; the model does not read it again."""

    type: Literal["reasoning"]
    id: ItemId | None = None
    summary: Annotated[list[ReasoningText], Field(max_length=MAX_PARTS)] = Field(
        default_factory=list
    )
    content: Annotated[list[ReasoningText], Field(max_length=MAX_PARTS)] | None = None
    encrypted_content: str | None = None
    status: _Status | None = None


class FileSearchCall(Request):
    """A search of documents, sent back as it came; its results are not read again."""

    type: Literal["file_search_call"]
    id: ItemId | None = None
    queries: Annotated[list[str], Field(max_length=MAX_PARTS)] = Field(default_factory=list)
    results: list[dict[str, Any]] | None = None
    status: _Status | None = None


class WebSearchCall(Request):
    """A web page that was read, sent back as it came; it is not read again."""

    type: Literal["web_search_call"]
    id: ItemId | None = None
    action: dict[str, Any] | None = None
    results: list[dict[str, Any]] | None = None
    status: _Status | None = None


class ItemReference(Request):
    """A stored item, by its id."""

    type: Literal["item_reference"]
    id: Annotated[str, Field(min_length=1, max_length=MAX_ID_CHARS)]


_KINDS = (
    "message",
    "function_call",
    "function_call_output",
    "reasoning",
    "file_search_call",
    "web_search_call",
    "item_reference",
)


def _with_type(item: object) -> object:
    """Return an item with its type, which messages and references may leave out."""
    if not isinstance(item, dict):
        return item
    kind = item.get("type")
    if kind is None:
        implied = "message" if "role" in item or "id" not in item else "item_reference"
        return {**item, "type": implied}
    if kind not in _KINDS:
        shown = str(kind)[:_SHOWN_CHARS]
        known = ", ".join(_KINDS)
        refuse(f"items of the type `{shown}` are not supported here; those that are: {known}")
    return item


InputItem = Annotated[
    Annotated[
        Message
        | FunctionCall
        | FunctionCallOutput
        | Reasoning
        | FileSearchCall
        | WebSearchCall
        | ItemReference,
        Field(discriminator="type"),
    ],
    BeforeValidator(_with_type),
]


def few_parts(items: object) -> object:
    """Refuse items that have too many parts together, which would take long to validate."""
    if isinstance(items, list):
        parts = sum(
            len(value)
            for item in items[:MAX_ITEMS]
            if isinstance(item, dict)
            for value in map(item.get, ("content", "output", "summary", "queries"))
            if isinstance(value, list)
        )
        check_parts(parts)
    return items


InputItems = Annotated[
    list[InputItem],
    Field(min_length=1, max_length=MAX_ITEMS, fail_fast=True),
    BeforeValidator(few_parts),
]
