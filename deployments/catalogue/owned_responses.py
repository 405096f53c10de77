"""Bind stored responses and conversations to one owner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deployments.catalogue.background_responses import Attempt, BackgroundResponses, EventPage
    from deployments.catalogue.conversations import ConversationEntry, Conversations, Item
    from deployments.catalogue.entries import EntryPage, PageQuery
    from deployments.catalogue.response_rows import Event, StoredResponse
    from deployments.catalogue.responses import Responses


class OwnedResponses:
    """The stored responses of one owner; see `Responses`."""

    def __init__(self, responses: Responses, owner: str) -> None:
        self._responses = responses
        self._owner = owner

    async def check_room(self, *parts: Any) -> None:  # noqa: ANN401 - JSON
        await self._responses.check_room(self._owner, *parts)

    async def add(self, response: StoredResponse, events: Sequence[Event] = ()) -> bool:
        return await self._responses.add(self._owner, response, events)

    async def response(self, response_id: str) -> StoredResponse:
        return await self._responses.response(self._owner, response_id)

    async def responses(self, response_ids: Sequence[str]) -> list[StoredResponse]:
        return await self._responses.responses(self._owner, response_ids)

    async def delete(self, response_id: str) -> bool:
        return await self._responses.delete(self._owner, response_id)

    async def chain(self, response_id: str, limit: int) -> list[StoredResponse]:
        return await self._responses.chain(self._owner, response_id, limit)


class OwnedBackgroundResponses:
    """The responses in the background of one owner; see `BackgroundResponses`."""

    def __init__(self, responses: BackgroundResponses, owner: str) -> None:
        self._responses = responses
        self._owner = owner

    async def begin_attempt(self, response_id: str) -> Attempt | None:
        return await self._responses.begin_attempt(self._owner, response_id)

    async def append_events(
        self,
        response_id: str,
        events: Sequence[Event],
        *,
        attempt: int = 0,
        ended: Mapping[str, Any] | None = None,
    ) -> bool:
        return await self._responses.append_events(
            self._owner, response_id, events, attempt=attempt, ended=ended
        )

    async def cancel(self, response_id: str) -> StoredResponse:
        return await self._responses.cancel(self._owner, response_id)

    async def fail(self, response_id: str, code: str, message: str) -> None:
        await self._responses.fail(self._owner, response_id, code, message)

    async def events(self, response_id: str, after: int, batches: int) -> EventPage:
        return await self._responses.events(self._owner, response_id, after, batches)


class OwnedConversations:
    """The conversations of one owner; see `Conversations`."""

    def __init__(self, conversations: Conversations, owner: str) -> None:
        self._conversations = conversations
        self._owner = owner

    async def add(self, entry: ConversationEntry, items: Sequence[Item]) -> None:
        await self._conversations.add(self._owner, entry, items)

    async def get(self, conversation_id: str) -> ConversationEntry:
        return await self._conversations.get(self._owner, conversation_id)

    async def set_metadata(
        self, conversation_id: str, metadata: Mapping[str, str]
    ) -> ConversationEntry:
        return await self._conversations.set_metadata(self._owner, conversation_id, metadata)

    async def remove(self, conversation_id: str) -> bool:
        return await self._conversations.remove(self._owner, conversation_id)

    async def append(self, conversation_id: str, items: Sequence[Item]) -> None:
        await self._conversations.append(self._owner, conversation_id, items)

    async def append_turn(self, conversation_id: str, items: Sequence[Item]) -> None:
        await self._conversations.append_turn(self._owner, conversation_id, items)

    async def items(self, conversation_id: str) -> list[Item]:
        return await self._conversations.items(self._owner, conversation_id)

    async def page(self, conversation_id: str, query: PageQuery) -> EntryPage[Item]:
        return await self._conversations.page(self._owner, conversation_id, query)

    async def item(self, conversation_id: str, item_id: str) -> Item:
        return await self._conversations.item(self._owner, conversation_id, item_id)

    async def items_by_id(self, item_ids: Sequence[str]) -> dict[str, Item]:
        return await self._conversations.items_by_id(self._owner, item_ids)

    async def remove_item(self, conversation_id: str, item_id: str) -> ConversationEntry:
        return await self._conversations.remove_item(self._owner, conversation_id, item_id)
