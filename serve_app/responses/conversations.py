"""Create, show and change the conversations of one owner."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING

from deployments.catalogue.conversations import ConversationEntry
from deployments.errors import InvalidRequest, NotFound
from serve_app.responses.items import stored_items

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deployments.catalogue.entries import EntryPage, PageQuery
    from deployments.catalogue.owned_responses import OwnedConversations
    from serve_app.responses.interfaces import Item
    from serve_app.responses.items import InputItem
    from serve_app.responses.stored import StoredResponses

_ID_BYTES = 16


class StoredConversations:
    """The conversations of one owner; methods raise NotFound for unknown ids."""

    def __init__(self, conversations: OwnedConversations, stored: StoredResponses) -> None:
        self._conversations = conversations
        self._stored = stored

    async def create(
        self, items: Sequence[InputItem], metadata: Mapping[str, str]
    ) -> ConversationEntry:
        """Create a conversation; raise InvalidRequest above a quota."""
        conversation_id = f"conv_{secrets.token_hex(_ID_BYTES)}"
        entry = ConversationEntry(conversation_id, int(time.time()), metadata)
        await self._conversations.add(entry, await self._items(items, conversation_id))
        return entry

    async def get(self, conversation_id: str) -> ConversationEntry:
        return await self._conversations.get(conversation_id)

    async def set_metadata(
        self, conversation_id: str, metadata: Mapping[str, str]
    ) -> ConversationEntry:
        return await self._conversations.set_metadata(conversation_id, metadata)

    async def remove(self, conversation_id: str) -> bool:
        """Remove a conversation with its items, and return whether it existed."""
        return await self._conversations.remove(conversation_id)

    async def add_items(self, conversation_id: str, items: Sequence[InputItem]) -> list[Item]:
        """Append items, and return them.

        Raises InvalidRequest if the conversation is full or a quota exceeded.
        """
        await self.get(conversation_id)
        added = await self._items(items, conversation_id)
        await self._conversations.append(conversation_id, added)
        return added

    async def items(self, conversation_id: str, query: PageQuery) -> EntryPage[Item]:
        return await self._conversations.page(conversation_id, query)

    async def item(self, conversation_id: str, item_id: str) -> Item:
        return await self._conversations.item(conversation_id, item_id)

    async def remove_item(self, conversation_id: str, item_id: str) -> ConversationEntry:
        return await self._conversations.remove_item(conversation_id, item_id)

    async def _items(self, items: Sequence[InputItem], conversation_id: str) -> list[Item]:
        try:
            return await stored_items(items, conversation_id, self._stored)
        except (InvalidRequest, NotFound) as error:
            error.param = "items"
            raise
