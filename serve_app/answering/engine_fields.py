"""Fields of the engine's requests, which are those of OpenAI's chat completions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

WITH_USAGE = {"stream_options": {"include_usage": True}}
"""The field that makes a stream end with its token usage."""


def function_tool(
    name: str,
    description: str | None,
    parameters: dict[str, Any] | None,
    strict: bool | None,  # noqa: FBT001 - a field of the tool
) -> dict[str, Any]:
    """Return an entry of `tools`: a function that the model may call."""
    more = {"description": description, "parameters": parameters, "strict": strict}
    given = {field: value for field, value in more.items() if value is not None}
    return {"type": "function", "function": {"name": name, **given}}


def function_choice(name: str) -> dict[str, Any]:
    """Return a `tool_choice` that makes the model call one function."""
    return {"type": "function", "function": {"name": name}}


def function_call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    """Return an entry of `tool_calls`, for a message of the assistant."""
    function = {"name": name, "arguments": arguments}
    return {"id": call_id, "type": "function", "function": function}


def chat_text(message: Mapping[str, Any]) -> str:
    """Return the text of a message, with that of its tool calls."""
    calls = message.get("tool_calls", ())
    return "".join(
        [
            message["content"],
            *(f"{call['function']['name']}{call['function']['arguments']}" for call in calls),
        ]
    )
