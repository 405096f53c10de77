"""Translate input items to stored items and to chat messages."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from serve_app.answering.engine_fields import chat_text, function_call
from serve_app.responses.ids import (
    FILE_SEARCH,
    FUNCTION_CALL,
    FUNCTION_OUTPUT,
    MESSAGE,
    REASONING,
    WEB_SEARCH,
    new_item_id,
)
from serve_app.schemas.responses.items import (
    FileSearchCall,
    FunctionCall,
    FunctionCallOutput,
    ItemReference,
    Message,
    Reasoning,
    WebSearchCall,
    text_of,
)
from serve_app.schemas.responses.tools import full_name

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from serve_app.responses.interfaces import Item, ItemStorage

    InputItem = (
        Message
        | FunctionCall
        | FunctionCallOutput
        | Reasoning
        | FileSearchCall
        | WebSearchCall
        | ItemReference
    )
    ChatMessage = dict[str, Any]

_SYSTEM_ROLES = frozenset({"system", "developer"})
_MESSAGE_TYPES = frozenset({"message", "function_call_output"})
_PROMPT_TYPES = _MESSAGE_TYPES | {"function_call"}  # function calls join a message


async def stored_items(
    items: Sequence[InputItem], parent_id: str, storage: ItemStorage
) -> list[Item]:
    """Return input items in the form of OpenAI's answers, with references resolved.

    Raises the errors of `ItemStorage.items`.
    """
    named = [item.id for item in items if isinstance(item, ItemReference)]
    found = iter(await storage.items(named) if named else [])
    return [
        next(found) if isinstance(item, ItemReference) else stored_item(item, parent_id)
        for item in items
    ]


def stored_item(item: InputItem, parent_id: str) -> Item:
    """Return an input item in the form of OpenAI's answers, with a new id.

    Raises TypeError for a reference to a stored item: `stored_items` resolves those.
    """
    match item:
        case Message():
            return {"id": new_item_id(MESSAGE, parent_id), "type": "message", **_message(item)}
        case FunctionCall():
            return {
                "id": new_item_id(FUNCTION_CALL, parent_id),
                "type": "function_call",
                "status": item.status or "completed",
                "call_id": item.call_id,
                "name": item.name,
                "arguments": item.arguments,
                **({"namespace": item.namespace} if item.namespace else {}),
            }
        case FunctionCallOutput():
            return {
                "id": new_item_id(FUNCTION_OUTPUT, parent_id),
                "type": "function_call_output",
                "status": item.status or "completed",
                "call_id": item.call_id,
                "output": text_of(item.output),
            }
        case Reasoning():
            kept = item.model_dump(exclude_none=True, exclude={"id"})
            return {"id": new_item_id(REASONING, parent_id), **kept}
        case FileSearchCall():
            kept = item.model_dump(exclude={"id", "status"})
            kept["status"] = item.status or "completed"
            return {"id": new_item_id(FILE_SEARCH, parent_id), **kept}
        case WebSearchCall():
            return {
                "id": new_item_id(WEB_SEARCH, parent_id),
                "type": "web_search_call",
                "status": item.status or "completed",
                "action": item.action or {"type": "open_page"},
            }
    msg = f"a reference to {item.id} is not an item"
    raise TypeError(msg)


def text_message(text: str, parent_id: str) -> Item:
    """Return a string input as an item: a message of the user."""
    return stored_item(Message(type="message", role="user", content=text), parent_id)


def _message(item: Message) -> Item:
    if item.role == "assistant":
        parts = [{"type": "output_text", "text": item.content, "annotations": []}]
        if not isinstance(item.content, str):
            parts = [part.model_dump(exclude_none=True) for part in item.content]
            parts = [
                {"annotations": []} | part if part["type"] == "output_text" else part
                for part in parts
            ]
    else:
        texts = (
            [item.content]
            if isinstance(item.content, str)
            else [part.text for part in item.content]
        )
        parts = [{"type": "input_text", "text": text} for text in texts]
    return {"role": item.role, "status": item.status or "completed", "content": parts}


def chat_messages(items: Iterable[Item]) -> list[ChatMessage]:
    """Return items as chat messages, in the form of OpenAI's chat completions.

    Function calls join the assistant's message before them. Reasoning and calls of hosted tools are
    left out: their results are not sources of the next answer. A developer message becomes a system
    message, as few chat templates know the developer role.
    """
    messages: list[ChatMessage] = []
    for item in items:
        match item["type"]:
            case "message":
                role = "system" if item["role"] in _SYSTEM_ROLES else item["role"]
                messages.append({"role": role, "content": _text(item["content"])})
            case "function_call":
                if not messages or messages[-1]["role"] != "assistant":
                    messages.append({"role": "assistant", "content": ""})
                arguments = _json_object(item["arguments"])
                name = full_name(item.get("namespace"), item["name"])
                call = function_call(item["call_id"], name, arguments)
                messages[-1].setdefault("tool_calls", []).append(call)
            case "function_call_output":
                text = _text(item["output"])
                messages.append({"role": "tool", "tool_call_id": item["call_id"], "content": text})
    return messages


def split_instructions(items: Sequence[Item]) -> tuple[Sequence[Item], Sequence[Item]]:
    """Split items into the system messages at the beginning and the rest."""
    for place, item in enumerate(items):
        if item["type"] in _PROMPT_TYPES and item.get("role") not in _SYSTEM_ROLES:
            return items[:place], items[place:]
    return items, ()


def prompt_chars(item: Item) -> int:
    """Return the characters that an item adds to a prompt, without converting it."""
    match item["type"]:
        case "message":
            return len(_text(item["content"]))
        case "function_call":
            return len(item["name"]) + len(item["arguments"])
        case "function_call_output":
            return len(_text(item["output"]))
    return 0


def input_chars(item: Item) -> int:
    """Return the characters of an input item, also of one that is stored but not in the prompt."""
    return prompt_chars(item) if item["type"] in _PROMPT_TYPES else len(json.dumps(item))


def latest_items(items: Sequence[Item], count: int, chars: int) -> Sequence[Item]:
    """Return the last items, with at most `count` messages and `chars` characters."""
    start = len(items)
    while start:
        item = items[start - 1]
        count -= item["type"] in _MESSAGE_TYPES
        chars -= prompt_chars(item)
        if min(count, chars) < 0:
            break
        start -= 1
    return items[start:]


def latest(messages: Sequence[ChatMessage], count: int, chars: int) -> list[ChatMessage]:
    """Return the last messages within `count` and `chars`, beginning with a user's message."""
    start, size = len(messages), 0
    for place in range(len(messages) - 1, max(len(messages) - count, 0) - 1, -1):
        size += len(chat_text(messages[place]))
        if size > chars:
            break
        if messages[place]["role"] == "user":
            start = place
    return list(messages[start:])


def _text(content: str | Sequence[Item]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text") or part.get("refusal") or "" for part in content)


def _json_object(arguments: str) -> str:
    """Return arguments as a JSON object, as chat templates need it, even if they are cut off."""
    try:
        if isinstance(json.loads(arguments or "{}"), dict):
            return arguments or "{}"
    except (ValueError, RecursionError):
        pass
    return json.dumps({"arguments": arguments})
