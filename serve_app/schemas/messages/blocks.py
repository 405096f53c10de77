"""The content blocks of the messages in a request, and the refusal of unsupported ones."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from serve_app.schemas.chat import MAX_NAME_CHARS
from serve_app.schemas.fields import Request, refuse

_TEXT_ONLY = "this model reads text only: `{}` is not supported"
_HOSTED = "`{}` belongs to a feature of Anthropic's service that this one does not have"
_REFUSED = {
    **dict.fromkeys(("image", "container_upload", "browser_state"), _TEXT_ONLY),
    **dict.fromkeys(
        (
            *("server_tool_use", "web_search_tool_result", "web_fetch_tool_result"),
            *("code_execution_tool_result", "bash_code_execution_tool_result"),
            *("text_editor_code_execution_tool_result", "tool_search_tool_result"),
            *("advisor_tool_result", "mcp_tool_use", "mcp_tool_result", "mcp_tool_listing"),
            *("compaction", "fallback", "tool_addition", "tool_removal"),
        ),
        _HOSTED,
    ),
}
_UNREAD_SOURCES = {
    "base64": "this model reads text only: upload the file at /v1/files, and search it",
    "url": "this model reads text only: a page is read if the text of a message names its URL",
    "file": "files are not read whole: `context` names the collection that is searched",
}

Name = Annotated[str, Field(max_length=MAX_NAME_CHARS)]
CacheControl = dict[str, Any]
"""Without effect: the engine caches prompts by itself."""


def _readable(block: object) -> object:
    kind = block.get("type") if isinstance(block, dict) else None
    if isinstance(kind, str) and kind in _REFUSED:
        refuse(_REFUSED[kind].format(kind))
    return block


def _text_source(source: object) -> object:
    kind = source.get("type") if isinstance(source, dict) else None
    if isinstance(kind, str) and kind in _UNREAD_SOURCES:
        refuse(_UNREAD_SOURCES[kind])
    return source


class TextBlock(Request):
    """Text; `citations` are those of an earlier answer that is sent back."""

    type: Literal["text"]
    text: str
    cache_control: CacheControl | None = None
    citations: list[Any] | None = None


OnlyText = Annotated[TextBlock, BeforeValidator(_readable)]


class CitationsConfig(Request):
    """Without effect."""

    enabled: bool | None = None


class TextSource(Request):
    """A document as one text."""

    type: Literal["text"]
    media_type: Literal["text/plain"]
    data: str

    def written(self) -> str:
        """Return the text."""
        return self.data


class ContentSource(Request):
    """A document in blocks of text."""

    type: Literal["content"]
    content: str | Annotated[list[OnlyText], Field(fail_fast=True)]

    def written(self) -> str:
        """Return the blocks as one text."""
        return self.content if isinstance(self.content, str) else joined(self.content)


class DocumentBlock(Request):
    """A document whose text is in the request."""

    type: Literal["document"]
    source: Annotated[
        Annotated[TextSource | ContentSource, Field(discriminator="type")],
        BeforeValidator(_text_source),
    ]
    title: str | None = None
    context: str | None = None
    cache_control: CacheControl | None = None
    citations: CitationsConfig | None = None

    def written(self) -> str:
        """Return the document as the model reads it."""
        parts = (self.title, self.context, self.source.written())
        return "\n".join(part for part in parts if part)


class SearchResultBlock(Request):
    """A search result of the client's own."""

    type: Literal["search_result"]
    source: str
    title: str
    content: Annotated[list[OnlyText], Field(fail_fast=True)]
    cache_control: CacheControl | None = None
    citations: CitationsConfig | None = None

    def written(self) -> str:
        """Return the passage as the model reads it."""
        return "\n".join(part for part in (self.title, self.source, joined(self.content)) if part)


class ToolReferenceBlock(Request):
    """The name of a tool that a client's tool search found; the model has all tools anyway."""

    type: Literal["tool_reference"]
    tool_name: Name
    cache_control: CacheControl | None = None

    def written(self) -> str:
        """Return the name."""
        return self.tool_name


class ThinkingBlock(Request):
    """The reasoning of an earlier answer, which is not read again."""

    type: Literal["thinking"]
    thinking: str
    signature: str | None = None


class RedactedThinkingBlock(Request):
    """The encrypted reasoning of an earlier answer, which is not read."""

    type: Literal["redacted_thinking"]
    data: str


class ToolUseBlock(Request):
    """A call of a tool by the model."""

    type: Literal["tool_use"]
    id: Name
    name: Name
    input: dict[str, Any]
    cache_control: CacheControl | None = None
    caller: dict[str, Any] | None = None
    toolset_name: Name | None = None


ResultPart = Annotated[
    Annotated[
        TextBlock | SearchResultBlock | DocumentBlock | ToolReferenceBlock,
        Field(discriminator="type"),
    ],
    BeforeValidator(_readable),
]


class ToolResultBlock(Request):
    """What a tool returned to the client."""

    type: Literal["tool_result"]
    tool_use_id: Name
    content: str | Annotated[list[ResultPart], Field(fail_fast=True)] | None = None
    is_error: bool | None = None
    cache_control: CacheControl | None = None
    toolset_name: Name | None = None

    def written(self) -> str:
        """Return the result as the model reads it."""
        given = self.content or ""
        return given if isinstance(given, str) else joined(given)


Block = Annotated[
    Annotated[
        TextBlock
        | DocumentBlock
        | SearchResultBlock
        | ThinkingBlock
        | RedactedThinkingBlock
        | ToolUseBlock
        | ToolResultBlock,
        Field(discriminator="type"),
    ],
    BeforeValidator(_readable),
]


def joined(
    blocks: list[TextBlock]
    | list[TextBlock | SearchResultBlock | DocumentBlock | ToolReferenceBlock],
) -> str:
    """Return blocks as one text."""
    return "\n".join(
        block.text if isinstance(block, TextBlock) else block.written() for block in blocks
    )
