"""The ids of responses and of their items.

The id of an item begins with the hexadecimal digits of its response, so that an item is found by
its id alone.
"""

from __future__ import annotations

import re
import secrets

_RESPONSE_BYTES = 16
_ITEM_BYTES = 12
_RESPONSE_ID = re.compile(r"resp_[0-9a-f]{32}")
_CONVERSATION_ID = re.compile(r"conv_[0-9a-f]{32}")
_ITEM_ID = re.compile(r"(?:msg|rs|fc|fs|ws|fco)_([0-9a-f]{32})[0-9a-f]{24}")

MESSAGE, REASONING, FUNCTION_CALL, FUNCTION_OUTPUT = "msg", "rs", "fc", "fco"
FILE_SEARCH, WEB_SEARCH = "fs", "ws"


def new_response_id() -> str:
    """Return a random id that cannot be guessed."""
    return f"resp_{secrets.token_hex(_RESPONSE_BYTES)}"


def new_item_id(kind: str, parent_id: str) -> str:
    """Return the id of a new item of a response or conversation.

    `kind` is a prefix such as MESSAGE. `parent_id` is the id of the response or conversation:
    `resp_` or `conv_` and 32 hexadecimal digits.
    """
    return f"{kind}_{parent_id.partition('_')[2]}{secrets.token_hex(_ITEM_BYTES)}"


def is_response_id(value: str) -> bool:
    """Return whether this has the form of a response id."""
    return _RESPONSE_ID.fullmatch(value) is not None


def is_conversation_id(value: str) -> bool:
    """Return whether this has the form of a conversation id."""
    return _CONVERSATION_ID.fullmatch(value) is not None


def is_item_id(value: str) -> bool:
    """Return whether this has the form of an item id."""
    return _ITEM_ID.fullmatch(value) is not None


def response_id_of(item_id: str) -> str | None:
    """Return the id of the response that an item belongs to; None for another form of id."""
    match = _ITEM_ID.fullmatch(item_id)
    return f"resp_{match[1]}" if match else None
