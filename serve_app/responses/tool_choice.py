"""Select the tools of a request that `tool_choice` allows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deployments.errors import InvalidRequest
from serve_app.answering.engine_fields import function_choice
from serve_app.schemas.responses.tools import (
    WEB_SEARCH_TYPES,
    AllowedTools,
    FunctionChoice,
    HostedChoice,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from serve_app.schemas.responses.request import PromptRequest
    from serve_app.schemas.responses.tools import FileSearchTool, FunctionTool, WebSearchTool
    from serve_app.settings import AppSettings


@dataclass(frozen=True, slots=True)
class UsableTools:
    """The tools that `tool_choice` allows; `choice` is the engine's field for the functions."""

    functions: list[FunctionTool]
    file_search: FileSearchTool | None
    web_search: WebSearchTool | None
    choice: str | dict[str, Any] = "auto"

    @property
    def has_hosted(self) -> bool:
        return self.file_search is not None or self.web_search is not None


def usable_tools(request: PromptRequest) -> UsableTools:
    """Return the tools that `tool_choice` allows.

    Hosted tools run whenever they are allowed, which satisfies `required`.
    Raises InvalidRequest if the choice names a tool that is not among the tools.
    """
    functions, files, web = request.functions, request.file_search, request.web_search
    match request.tool_choice:
        case "none":
            return UsableTools(functions, None, None, "none")
        case "auto" | "required" as mode:
            return _in_mode(mode, functions, files, web)
        case FunctionChoice(name=name):
            _check_chosen(name, [tool.name for tool in functions])
            return UsableTools(functions, None, None, function_choice(name))
        case HostedChoice(type=kind):
            kinds = [*(["file_search"] if files else []), *(WEB_SEARCH_TYPES if web else ())]
            _check_chosen(kind, kinds)
            if kind == "file_search":
                return UsableTools(functions, files, None, "none")
            return UsableTools(functions, None, web, "none")
        case AllowedTools(mode=mode, tools=allowed):  # the remaining kind
            types = {tool.type for tool in allowed}
            named = {tool.name for tool in allowed if tool.type == "namespace"}
            names = {tool.name for tool in allowed if tool.type == "function"}
            names |= {name for name, (space, _) in request.namespaces.items() if space in named}
            functions = [tool for tool in functions if tool.name in names]
            files = files if "file_search" in types else None
            web = web if types & set(WEB_SEARCH_TYPES) else None
            return _in_mode(mode, functions, files, web)


def _in_mode(
    mode: str,
    functions: list[FunctionTool],
    files: FileSearchTool | None,
    web: WebSearchTool | None,
) -> UsableTools:
    if mode == "auto" or files or web:
        return UsableTools(functions, files, web)
    if not functions:
        msg = "tool_choice: `required` needs at least one tool"
        raise InvalidRequest(msg, param="tool_choice")
    return UsableTools(functions, None, None, "required")


def check_switched_on(tools: UsableTools, settings: AppSettings) -> None:
    """Raise InvalidRequest for a tool that the operator has switched off."""
    for tool, is_on in (
        (tools.file_search, settings.answer.documents),
        (tools.web_search, settings.answer.web),
    ):
        if tool is not None and not is_on:
            msg = f"tools: `{tool.type}` is switched off in this service"
            raise InvalidRequest(msg, param="tools")


def _check_chosen(name: str, among: Sequence[str]) -> None:
    if name not in among:
        msg = f"tool_choice: `{name}` is not among the tools of the request"
        raise InvalidRequest(msg, param="tool_choice")
