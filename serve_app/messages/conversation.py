"""Translate the messages of a request to chat messages, which the engine takes."""

from __future__ import annotations

import json
from itertools import groupby
from typing import TYPE_CHECKING, Any

from serve_app.answering.engine_fields import function_call
from serve_app.schemas.messages.blocks import (
    RedactedThinkingBlock,
    TextBlock,
    ThinkingBlock,
    ToolResultBlock,
    ToolUseBlock,
    joined,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from serve_app.schemas.messages.requests import CountTokensRequest, MessageParam

_SEPARATOR = "\n\n"


def chat_messages(request: CountTokensRequest) -> list[dict[str, Any]]:
    """Return the conversation as chat messages.

    All instructions become one message at the beginning, as most chat templates take them only
    there. Consecutive messages of the user become one, as in Anthropic's API: together they are the
    question. The results of tools become messages of their own.
    """
    messages: list[dict[str, Any]] = []
    instructions = [_text(request.system)] if request.system else []
    last_of_user = max(
        (place for place, given in enumerate(request.messages) if given.role == "user"), default=-1
    )
    for place, given in enumerate(request.messages):
        if given.role == "system":
            if given.clear_at != "next_user_message" or place > last_of_user:
                instructions.append(_text(given.content))
        elif given.role == "assistant":
            messages.append(_of_assistant(given))
        else:
            messages += _of_user(given)
    opening = [{"role": "system", "content": _SEPARATOR.join(instructions)}] if instructions else []
    return [*opening, *_merged(messages)]


def _merged(messages: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for role, group in groupby(messages, lambda message: message["role"]):
        if role == "user":
            yield {"role": role, "content": _SEPARATOR.join(each["content"] for each in group)}
        else:
            yield from group


def is_continued(messages: Sequence[dict[str, Any]]) -> bool:
    """Return whether the answer continues the last message, which the client has begun."""
    last = messages[-1]
    return bool(last["role"] == "assistant" and last["content"] and "tool_calls" not in last)


def _of_user(given: MessageParam) -> Iterator[dict[str, Any]]:
    if isinstance(given.content, str):
        yield {"role": "user", "content": given.content}
        return
    texts: list[str] = []
    for block in given.content:
        if isinstance(block, ToolResultBlock):
            yield {"role": "tool", "tool_call_id": block.tool_use_id, "content": _result(block)}
        elif isinstance(block, TextBlock):
            texts.append(block.text)
        elif not isinstance(block, ThinkingBlock | RedactedThinkingBlock | ToolUseBlock):
            texts.append(block.written())
    if texts or not given.content:
        yield {"role": "user", "content": "\n".join(texts)}


def _of_assistant(given: MessageParam) -> dict[str, Any]:
    if isinstance(given.content, str):
        return {"role": "assistant", "content": given.content}
    calls = [
        function_call(block.id, block.name, json.dumps(block.input, ensure_ascii=False))
        for block in given.content
        if isinstance(block, ToolUseBlock)
    ]
    # One text may have been cut into blocks, to give each its citations.
    text = "".join(block.text for block in given.content if isinstance(block, TextBlock))
    message: dict[str, Any] = {"role": "assistant", "content": text}
    return message | ({"tool_calls": calls} if calls else {})


def _result(block: ToolResultBlock) -> str:
    """Return the result as text; a chat can report a tool's failure in words only."""
    written = block.written()
    marked = written.lower().startswith("error")
    return f"Error: {written}" if block.is_error and not marked else written


def _text(content: str | Iterable[object] | None) -> str:
    if content is None or isinstance(content, str):
        return content or ""
    return joined([block for block in content if isinstance(block, TextBlock)])
