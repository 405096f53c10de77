"""The JSON of the tools of a response, and of the choice among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias, get_args

from pydantic import BeforeValidator, Field

from serve_app.schemas.chat import MAX_COLLECTIONS
from serve_app.schemas.fields import MAX_TOOLS, CollectionName, Request, refuse, refused_unless
from serve_app.schemas.filters import Filters  # noqa: TC001 - read by pydantic
from serve_app.schemas.searches import MAX_RESULTS

if TYPE_CHECKING:
    from collections.abc import Collection

MAX_NAME_CHARS = 64
MAX_DESCRIPTION_CHARS = 20_000
_SHOWN_CHARS = 64
WebSearchType: TypeAlias = Literal[
    "web_search",
    "web_search_2025_08_26",
    "web_search_preview",
    "web_search_preview_2025_03_11",
]
WEB_SEARCH_TYPES = get_args(WebSearchType)

_TOOL_TYPES = {"function", "namespace", "file_search", *WEB_SEARCH_TYPES}

FunctionName = Annotated[
    str, Field(min_length=1, max_length=MAX_NAME_CHARS, pattern=r"^[a-zA-Z0-9_-]+$")
]


def _supported(tool: object, types: Collection[str] = _TOOL_TYPES) -> object:
    kind = tool.get("type") if isinstance(tool, dict) else None
    if isinstance(kind, str) and kind not in types:
        refuse(
            f"this service has no tool `{kind[:_SHOWN_CHARS]}`: use function, file_search or "
            "web_search"
        )
    return tool


class FunctionTool(Request):
    """A function that the caller runs."""

    type: Literal["function"]
    name: FunctionName
    description: Annotated[str, Field(max_length=MAX_DESCRIPTION_CHARS)] | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    # Without effect: the caller runs all functions.
    allowed_callers: list[str] | None = None
    defer_loading: bool | None = None
    output_schema: dict[str, Any] | None = None
    async_: Annotated[
        None,
        Field(alias="async"),
        refused_unless(False, "function calls are not asynchronous here"),  # noqa: FBT003
    ] = None


def _function_only(tool: object) -> object:
    return _supported(tool, {"function"})


class NamespaceTool(Request):
    """Functions that belong together, such as those of one MCP server."""

    type: Literal["namespace"]
    name: FunctionName
    description: Annotated[str, Field(max_length=MAX_DESCRIPTION_CHARS)] | None = None
    tools: Annotated[
        list[Annotated[FunctionTool, BeforeValidator(_function_only)]], Field(max_length=MAX_TOOLS)
    ]

    def functions(self) -> list[FunctionTool]:
        """Return the functions as the model knows them; the first one tells about the namespace."""
        functions = [
            tool.model_copy(update={"name": full_name(self.name, tool.name)}) for tool in self.tools
        ]
        if functions and self.description:
            about = f"Functions that begin with {full_name(self.name, '')}: {self.description}"
            texts = [text for text in (functions[0].description, about) if text]
            functions[0] = functions[0].model_copy(update={"description": "\n\n".join(texts)})
        return functions


def full_name(namespace: str | None, name: str) -> str:
    """Return the name by which the model knows a function of a namespace."""
    return name if namespace is None else f"{namespace}__{name}"


class FileSearchRanking(Request):
    """OpenAI's ranking options; `score_threshold` is the least `score` of a result."""

    ranker: Literal["auto", "none", "default-2024-11-15", "default_2024_08_21"] = "auto"
    score_threshold: Annotated[float, Field(ge=0, le=1)] = 0.0
    hybrid_search: Annotated[
        None,
        refused_unless(
            None, "documents are ranked by meaning and words, with the service's own weights"
        ),
    ] = None


class FileSearchTool(Request):
    """A hosted tool that searches vector stores for the last message of the user."""

    type: Literal["file_search"]
    vector_store_ids: Annotated[
        list[CollectionName], Field(min_length=1, max_length=MAX_COLLECTIONS)
    ]
    max_num_results: Annotated[int, Field(ge=1, le=MAX_RESULTS)] | None = None
    filters: Filters | None = None
    ranking_options: FileSearchRanking | None = None


class WebSearchFilters(Request):
    """OpenAI's."""

    allowed_domains: Annotated[
        None,
        refused_unless(
            [], "the pages whose URLs are in the prompt are read, whatever their domain"
        ),
    ] = None


class WebSearchTool(Request):
    """A hosted tool that reads the web pages whose URLs are in the last message of the user."""

    type: WebSearchType
    external_web_access: bool = True
    filters: WebSearchFilters | None = None
    # Without effect: pages are found by their URLs.
    search_context_size: str | None = None
    search_content_types: list[str] | None = None
    user_location: dict[str, Any] | None = None


Tool = Annotated[
    Annotated[
        FunctionTool | NamespaceTool | FileSearchTool | WebSearchTool, Field(discriminator="type")
    ],
    BeforeValidator(_supported),
]


class FunctionChoice(Request):
    """The function that must be called."""

    type: Literal["function"]
    name: FunctionName


class HostedChoice(Request):
    """The hosted tool that must be used."""

    type: Literal["file_search", WebSearchType]


class AllowedTool(Request):
    """A tool of the request that may be used."""

    type: str
    name: FunctionName | None = None


class AllowedTools(Request):
    """The tools of the request that may be used now."""

    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[
        list[Annotated[AllowedTool, BeforeValidator(_supported)]], Field(max_length=MAX_TOOLS)
    ]


def _supported_choice(choice: object) -> object:
    return choice if _is_allowed_tools(choice) else _supported(choice)


def _is_allowed_tools(choice: object) -> bool:
    return isinstance(choice, dict) and choice.get("type") == "allowed_tools"


ToolChoice = Annotated[
    Literal["none", "auto", "required"]
    | Annotated[
        FunctionChoice | HostedChoice | AllowedTools,
        Field(discriminator="type"),
    ],
    BeforeValidator(_supported_choice),
]
