"""The tools of a request: the client's own, and the hosted ones, which read web pages."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from serve_app.schemas.fields import Request, refuse, refused_unless
from serve_app.schemas.messages.blocks import (  # noqa: TC001 - read by pydantic
    CacheControl,
    CitationsConfig,
    Name,
)

_WEB = ("web_search_", "web_fetch_")
_HOSTED = ("code_execution_", "tool_search_tool_", "advisor_", "mcp_toolset")
_BUILT_IN = ("bash_", "text_editor_", "memory_", "computer_", "browser_toolset_")
_DIRECT = "direct"


def _usable(tool: object) -> object:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if not isinstance(kind, str):
        return tool
    if kind.startswith(_HOSTED):
        refuse(
            f"`{kind[:64]}` belongs to Anthropic's service: the hosted tools of this service "
            "only read pages (`web_search` and `web_fetch`)"
        )
    if kind.startswith(_BUILT_IN):
        refuse(
            f"`{kind[:64]}` is known to Anthropic's models only: "
            "describe the tool by an `input_schema`"
        )
    return tool


def _direct(callers: object) -> object:
    if isinstance(callers, list) and callers and _DIRECT not in callers:
        refuse("this service runs no code: tools are called directly")
    return callers


Callers = Annotated[list[str] | None, BeforeValidator(_direct)]
_NAMED_PAGES = "only pages whose URLs are in the user's last message are read"


class CustomTool(Request):
    """A tool that the client runs."""

    type: Literal["custom"] | None = None
    name: Annotated[str, Field(min_length=1, max_length=128)]
    description: str | None = None
    input_schema: dict[str, Any]
    strict: bool | None = None
    # Without effect.
    allowed_callers: Callers = None
    cache_control: CacheControl | None = None
    defer_loading: bool | None = None
    eager_input_streaming: bool | None = None
    input_examples: list[dict[str, Any]] | None = None


class WebTool(Request):
    """A hosted tool that reads the pages whose URLs are in a prompt; there is no search engine."""

    type: Annotated[str, Field(pattern=r"^web_(search|fetch)_\d{8}$")]
    name: Literal["web_search", "web_fetch"]
    # Without effect.
    allowed_callers: Callers = None
    cache_control: CacheControl | None = None
    citations: CitationsConfig | None = None
    defer_loading: bool | None = None
    max_content_tokens: int | None = None
    max_uses: int | None = None
    response_inclusion: str | None = None
    strict: bool | None = None
    use_cache: bool | None = None
    user_location: dict[str, Any] | None = None
    # Refused, as ignoring them would mislead.
    allowed_domains: Annotated[None, refused_unless([], _NAMED_PAGES)] = None
    blocked_domains: Annotated[None, refused_unless([], _NAMED_PAGES)] = None
    url_sources: Annotated[None, refused_unless({}, _NAMED_PAGES)] = None


def _kind(tool: object) -> str:
    kind = tool.get("type") if isinstance(tool, dict) else getattr(tool, "type", None)
    return "web" if isinstance(kind, str) and kind.startswith(_WEB) else "custom"


Tool = Annotated[
    Annotated[
        Annotated[CustomTool, Tag("custom")] | Annotated[WebTool, Tag("web")],
        Discriminator(_kind),
    ],
    BeforeValidator(_usable),
]


class ToolChoice(Request):
    """Whether the model calls a tool, and which."""

    type: Literal["auto", "any", "tool", "none"]
    name: Name | None = None
    disable_parallel_tool_use: bool | None = None

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.type == "tool" and not self.name:
            refuse("`name` is needed: the tool to call")
        return self
