"""Read the history that a turn continues, and store the turn, for one owner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deployments.catalogue.clock import now_ms
from deployments.catalogue.entries import EntryPage
from deployments.catalogue.response_rows import CONVERSED, StoredResponse
from deployments.errors import InvalidRequest, NotFound
from serve_app.responses.ids import is_conversation_id, is_item_id, is_response_id, response_id_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deployments.catalogue.entries import PageQuery
    from deployments.catalogue.owned_responses import OwnedConversations, OwnedResponses
    from serve_app.responses.interfaces import Item

MAX_CHAIN = 1000
"""The most responses in a chain of `previous_response_id`."""
MAX_REFERENCES = 100
"""The most item references in a request."""
_DAY_MS = 86_400_000


class StoredResponses:
    """The stored responses of one owner; implements `ResponseStorage`."""

    def __init__(
        self, responses: OwnedResponses, conversations: OwnedConversations, keep_days: int
    ) -> None:
        self._responses = responses
        self._conversations = conversations
        self._keep_ms = keep_days * _DAY_MS

    async def check_room(self, response: Mapping[str, Any], input_items: Sequence[Item]) -> None:
        """Raise InvalidRequest if the response would exceed a quota, TooLarge if it is too large.

        Its output does not count: this runs before the generation.
        """
        await self._responses.check_room(*([response, input_items] if response["store"] else []))

    async def history(
        self, previous_response_id: str | None, conversation_id: str | None
    ) -> list[Item]:
        """Return the earlier items, oldest first; see `ResponseStorage`.

        Raises InvalidRequest if there are too many, or if the previous response has not ended.
        """
        if previous_response_id is not None:
            return await self._chain(previous_response_id)
        if conversation_id is None:
            return []
        if not is_conversation_id(conversation_id):
            msg = "there is no such conversation"
            raise NotFound(msg, param="conversation")
        try:
            return await self._conversations.items(conversation_id)
        except NotFound as error:
            error.param = "conversation"
            raise

    async def _chain(self, response_id: str) -> list[Item]:
        if not is_response_id(response_id):
            msg = "there is no such response"
            raise NotFound(msg, code="previous_response_not_found", param="previous_response_id")
        try:
            chain = await self._responses.chain(response_id, MAX_CHAIN)
        except NotFound as error:
            error.param, error.code = "previous_response_id", "previous_response_not_found"
            raise
        if not chain[-1].ended:
            msg = "the previous response has not ended yet"
            raise InvalidRequest(msg, code="response_not_ended", param="previous_response_id")
        return [item for response in chain for item in (*response.input, *_output(response.body))]

    async def items(self, item_ids: Sequence[str]) -> list[Item]:
        """Return stored items by their ids; see `ResponseStorage`."""
        if not all(map(is_item_id, item_ids)):
            raise _no_item()
        if len(item_ids) > MAX_REFERENCES or len(set(item_ids)) < len(item_ids):
            msg = f"at most {MAX_REFERENCES} items may be referenced, each once"
            raise InvalidRequest(msg, code="too_many_references", param="input")
        response_ids = {each for item_id in item_ids if (each := response_id_of(item_id))}
        found = await self._conversations.items_by_id(item_ids)
        for response in await self._responses.responses(sorted(response_ids)):
            found |= {one["id"]: one for one in (*response.input, *_output(response.body))}
        for item_id in item_ids:
            if item_id not in found:
                raise _no_item()
        return [found[item_id] for item_id in item_ids]

    async def save(self, response: Mapping[str, Any], input_items: Sequence[Item]) -> None:
        """Store a response that has ended; see `ResponseStorage`."""
        stored = self.new(response, input_items)
        if response["store"]:
            await self._responses.add(stored)
        elif stored.conversation_id is not None and stored.status in CONVERSED:
            turn = [*input_items, *_output(response)]
            await self._conversations.append_turn(stored.conversation_id, turn)

    def new(self, response: Mapping[str, Any], input_items: Sequence[Item]) -> StoredResponse:
        """Return a response as an entry of the store."""
        conversation = response.get("conversation")
        return StoredResponse(
            response["id"],
            response["status"],
            response["created_at"] * 1000,
            now_ms() + self._keep_ms,
            dict(response),
            list(input_items),
            response.get("previous_response_id"),
            conversation["id"] if conversation else None,
        )

    async def get(self, response_id: str) -> StoredResponse:
        """Find a response; raise NotFound."""
        return await self._responses.response(response_id)

    async def input_items(self, response_id: str, query: PageQuery) -> EntryPage[Item]:
        """List the input items of a response, of its own turn only.

        Raises NotFound, also for an unknown item in `query.after`.
        """
        items = list((await self.get(response_id)).input)
        if query.newest_first:
            items.reverse()
        if query.after is not None:
            ids = [item["id"] for item in items]
            if query.after not in ids:
                msg = "there is no such item in this response"
                raise NotFound(msg, param="after")
            items = items[ids.index(query.after) + 1 :]
        return EntryPage(tuple(items[: query.limit]), len(items) > query.limit)


def _no_item() -> NotFound:
    return NotFound("there is no such item", param="input")


def _output(response: Mapping[str, Any]) -> Sequence[Item]:
    output: Sequence[Item] = response.get("output") or ()
    return output
