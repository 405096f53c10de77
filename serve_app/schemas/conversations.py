"""The JSON of conversations, and of lists of items."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

from serve_app.schemas.fields import TIME_EXAMPLE, Request, example
from serve_app.schemas.paging import Deleted
from serve_app.schemas.responses.examples import MESSAGE_ID_EXAMPLE
from serve_app.schemas.responses.items import InputItem, few_parts
from serve_app.schemas.responses.request import Metadata  # noqa: TC001 - read by pydantic

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_ADDED = 20
"""The most items of one request, as in OpenAI's API."""
CONVERSATION_ID_EXAMPLE = "conv_" + "7c" * 16
_TEXT = {"type": "input_text", "text": "What does the report say about costs?"}
ITEM_EXAMPLE: dict[str, Any] = {
    "id": MESSAGE_ID_EXAMPLE,
    "type": "message",
    "role": "user",
    "status": "completed",
    "content": [_TEXT],
}
_GIVEN_ITEM = {"type": "message", "role": "user", "content": _TEXT["text"]}

NewItems = Annotated[
    list[InputItem],
    Field(max_length=MAX_ADDED, fail_fast=True),
    BeforeValidator(few_parts),
]


class ConversationRequest(Request):
    """OpenAI's request to create a conversation."""

    model_config = example({"metadata": {"topic": "costs"}, "items": [_GIVEN_ITEM]})

    items: NewItems = Field(default_factory=list)
    metadata: Metadata = Field(default_factory=dict)


class ConversationChanges(Request):
    """OpenAI's request to replace the metadata of a conversation; null removes it."""

    model_config = example({"metadata": {"topic": "costs of 2026"}})

    metadata: Metadata | None


class ItemsRequest(Request):
    """OpenAI's request to add items."""

    model_config = example({"items": [_GIVEN_ITEM]})

    items: Annotated[NewItems, Field(min_length=1)]


_EXAMPLE: dict[str, Any] = {
    "id": CONVERSATION_ID_EXAMPLE,
    "object": "conversation",
    "created_at": TIME_EXAMPLE,
    "metadata": {"topic": "costs"},
}


class ConversationResponse(BaseModel):
    """OpenAI's conversation."""

    model_config = example(_EXAMPLE)

    id: str
    object: Literal["conversation"] = "conversation"
    created_at: int
    metadata: dict[str, str]


class ConversationDeleted(Deleted):
    """OpenAI's answer to a deletion of a conversation."""

    model_config = example(
        {"id": CONVERSATION_ID_EXAMPLE, "object": "conversation.deleted", "deleted": True}
    )

    object: Literal["conversation.deleted"] = "conversation.deleted"


def item_page(items: Sequence[Mapping[str, Any]], *, more: bool = False) -> dict[str, Any]:
    """Return OpenAI's list of items; in an empty one the ids are empty strings."""
    first, last = (items[0]["id"], items[-1]["id"]) if items else ("", "")
    return {
        "object": "list",
        "data": list(items),
        "first_id": first,
        "last_id": last,
        "has_more": more,
    }


ITEMS_EXAMPLE = item_page([ITEM_EXAMPLE])
