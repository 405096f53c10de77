"""Translate the options of a request to the engine's fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from serve_app.answering.engine_fields import WITH_USAGE, function_choice, function_tool
from serve_app.schemas.messages.requests import MessagesRequest
from serve_app.schemas.messages.tools import CustomTool

if TYPE_CHECKING:
    from serve_app.schemas.messages.requests import CountTokensRequest
    from serve_app.schemas.messages.tools import ToolChoice

_CHOICES = {"auto": "auto", "any": "required", "none": "none"}


def options(request: CountTokensRequest, *, continued: bool) -> dict[str, Any]:
    """Return the fields of the engine's request but `model`, `messages` and `max_tokens`.

    `continued` is true if the answer continues the last message.
    """
    found: dict[str, Any] = _tools(request)
    if (schema := request.json_schema) is not None:
        form = {"name": "answer", "schema": schema, "strict": True}
        found["response_format"] = {"type": "json_schema", "json_schema": form}
    if continued:
        found |= {"continue_final_message": True, "add_generation_prompt": False}
    if isinstance(request, MessagesRequest):
        given = {
            "temperature": request.temperature,
            "top_p": request.top_p,
            "top_k": request.top_k or None,  # 0 means no bound, like null
            "stop": request.stop_sequences or None,
        }
        found |= {name: value for name, value in given.items() if value is not None}
        if request.stream:
            found |= WITH_USAGE
    return found


def _tools(request: CountTokensRequest) -> dict[str, Any]:
    tools = [
        function_tool(tool.name, tool.description or None, tool.input_schema, tool.strict)
        for tool in request.tools or ()
        if isinstance(tool, CustomTool)
    ]
    if not tools:  # the engine does not get hosted tools
        return {}
    return {"tools": tools} | _choice(request.tool_choice)


def _choice(choice: ToolChoice | None) -> dict[str, Any]:
    if choice is None:
        return {}
    named = function_choice(choice.name or "")
    found: dict[str, Any] = {"tool_choice": _CHOICES.get(choice.type, named)}
    if choice.disable_parallel_tool_use:
        found["parallel_tool_calls"] = False
    return found
