"""The protocol of the store of responses and conversations of one owner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Item = dict[str, Any]
"""An input or output item as OpenAI's JSON, with its `id`."""


class ItemStorage(Protocol):
    """The stored items of one owner."""

    async def items(self, item_ids: Sequence[str]) -> list[Item]:
        """Return the stored items with these ids, in the order of the ids, for `item_reference`.

        Raises NotFound, with `input` as `param`, if one does not exist.
        `serve_app.responses.ids.response_id_of` returns the response that an item belongs to.
        """
        ...


class ResponseStorage(ItemStorage, Protocol):
    """The stored responses and conversations of one owner."""

    async def history(
        self, previous_response_id: str | None, conversation_id: str | None
    ) -> list[Item]:
        """Return the earlier items, oldest first: of each turn its input, then its output.

        At most one of the arguments is set. Raises NotFound, with the field's name as `param`
        (`previous_response_id` or `conversation`), for an unknown id and for one of another owner.
        """
        ...

    async def save(self, response: Mapping[str, Any], input_items: Sequence[Item]) -> None:
        """Store a response that has ended, with the input of this turn only.

        It is called before the end of the response is sent, if its `store` is true or it has a
        `conversation`. The items are appended to the conversation; with `store` false, only they
        are stored.
        """
        ...
