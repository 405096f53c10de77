"""`/v1/conversations`: OpenAI's conversations, to which responses add their items."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from deployments.errors import NotFound
from serve_app.http.body_route import BodyRoute
from serve_app.http.errors import refusals
from serve_app.routes.dependencies import (
    ACCEPTS_INCLUDE,
    ConversationId,
    ConversationsDep,
    ItemId,
    ItemListQueryDep,
)
from serve_app.routes.shapes import shown_as
from serve_app.schemas.conversations import (
    ITEM_EXAMPLE,
    ITEMS_EXAMPLE,
    ConversationChanges,
    ConversationDeleted,
    ConversationRequest,
    ConversationResponse,
    ItemsRequest,
    item_page,
)

if TYPE_CHECKING:
    from deployments.catalogue.conversations import ConversationEntry

router = APIRouter(prefix="/v1/conversations", tags=["conversations"], route_class=BodyRoute)


@router.post("", responses=refusals(400, 404, 413))
async def create_conversation(
    request: ConversationRequest, conversations: ConversationsDep
) -> ConversationResponse:
    """Create a conversation, with first items if any are given; it does not expire."""
    return _shaped(await conversations.create(request.items, request.metadata))


@router.get("/{conversation_id}", responses=refusals(404))
async def get_conversation(
    conversation_id: ConversationId, conversations: ConversationsDep
) -> ConversationResponse:
    """Show a conversation, without its items."""
    return _shaped(await conversations.get(conversation_id))


@router.post("/{conversation_id}", responses=refusals(400, 404, 413))
async def change_conversation(
    conversation_id: ConversationId, request: ConversationChanges, conversations: ConversationsDep
) -> ConversationResponse:
    """Replace the metadata of a conversation."""
    return _shaped(await conversations.set_metadata(conversation_id, request.metadata or {}))


@router.delete("/{conversation_id}", responses=refusals(404))
async def delete_conversation(
    conversation_id: ConversationId, conversations: ConversationsDep
) -> ConversationDeleted:
    """Delete a conversation with its items; its stored responses stay."""
    if not await conversations.remove(conversation_id):
        msg = "there is no such conversation"
        raise NotFound(msg, param="conversation_id")
    return ConversationDeleted(id=conversation_id)


@router.post(
    "/{conversation_id}/items",
    response_class=JSONResponse,
    responses=shown_as(ITEMS_EXAMPLE) | refusals(400, 404, 413),
    dependencies=[ACCEPTS_INCLUDE],
)
async def create_items(
    conversation_id: ConversationId, request: ItemsRequest, conversations: ConversationsDep
) -> Response:
    """Add items to the end of a conversation."""
    return JSONResponse(item_page(await conversations.add_items(conversation_id, request.items)))


@router.get(
    "/{conversation_id}/items",
    response_class=JSONResponse,
    responses=shown_as(ITEMS_EXAMPLE) | refusals(404),
    dependencies=[ACCEPTS_INCLUDE],
)
async def list_items(
    conversation_id: ConversationId, conversations: ConversationsDep, query: ItemListQueryDep
) -> Response:
    """List the items of a conversation, a page at a time."""
    page = await conversations.items(conversation_id, query)
    return JSONResponse(item_page(page.entries, more=page.more))


@router.get(
    "/{conversation_id}/items/{item_id}",
    response_class=JSONResponse,
    responses=shown_as(ITEM_EXAMPLE) | refusals(404),
    dependencies=[ACCEPTS_INCLUDE],
)
async def get_item(
    conversation_id: ConversationId, item_id: ItemId, conversations: ConversationsDep
) -> Response:
    """Show an item of a conversation."""
    return JSONResponse(await conversations.item(conversation_id, item_id))


@router.delete("/{conversation_id}/items/{item_id}", responses=refusals(404))
async def delete_item(
    conversation_id: ConversationId, item_id: ItemId, conversations: ConversationsDep
) -> ConversationResponse:
    """Delete an item of a conversation; a stored response that it is part of keeps it."""
    return _shaped(await conversations.remove_item(conversation_id, item_id))


def _shaped(entry: ConversationEntry) -> ConversationResponse:
    return ConversationResponse(
        id=entry.id, created_at=entry.created_at, metadata=dict(entry.metadata)
    )
