"""`/v1/responses`: OpenAI's Responses API, for both models."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse

from serve_app.http.body_route import BodyRoute
from serve_app.http.errors import body_of, refusals
from serve_app.http.event_streams import opened
from serve_app.http.named_events import named_event
from serve_app.responses.event_writer import EventWriter
from serve_app.routes.dependencies import (
    ACCEPTS_INCLUDE,
    BackgroundDep,
    IdempotencyKey,
    ItemListQueryDep,
    RespondingDep,
    ResponseId,
    ResponsesDep,
    SettingsDep,
)
from serve_app.routes.shapes import check_answering_model, shown_as, streamable
from serve_app.schemas.conversations import ITEMS_EXAMPLE, item_page
from serve_app.schemas.responses.deleted import ResponseDeleted
from serve_app.schemas.responses.examples import RESPONSE_EXAMPLE, TEXT_EVENT_EXAMPLE
from serve_app.schemas.responses.input_tokens import InputTokens
from serve_app.schemas.responses.request import (  # noqa: TC001 - FastAPI reads annotations
    InputTokensRequest,
    ResponseRequest,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from deployments.errors import ServiceError
    from serve_app.responses.output import Event

MAX_SEQUENCE = 2**53  # the largest exact integer in JSON

router = APIRouter(prefix="/v1/responses", tags=["responses"], route_class=BodyRoute)


@router.post(
    "",
    responses=streamable(TEXT_EVENT_EXAMPLE, RESPONSE_EXAMPLE) | refusals(400, 404, 413, 504),
)
async def create_response(  # noqa: PLR0913 - what FastAPI hands in
    request: ResponseRequest,
    *,
    responding: RespondingDep,
    stored: ResponsesDep,
    background: BackgroundDep,
    settings: SettingsDep,
    idempotency_key: IdempotencyKey = None,
) -> Response:
    """Answer an input: a text, or a list of items.

    The model `genserve` answers from web and documents as `context` and the tools allow, and adds
    `sources`, `pages`, `warnings`, `attributions` and `timings` to OpenAI's fields. The other
    model is the bare LLM, which uses documents and web pages only through tools. `file_search`
    searches vector stores for the last message of the user, `web_search` reads the pages whose URLs
    are in this message. The annotations of the text name the source that supports each sentence.

    With `background`, the queued response is returned, and a job generates it: poll it until it has
    ended, or stream it from any event on. Other responses ignore an `Idempotency-Key`. A response
    is stored for some days, unless `store` is false, and can be continued by
    `previous_response_id`.
    """
    check_answering_model(request.model, settings)
    if request.background:
        queued = await background.begin(request, idempotency_key)
        if request.stream:
            return await opened(_written(background.follow(queued)), error_event)
        return JSONResponse(queued.body)
    turn = await responding.turn(request)
    if turn.is_kept:
        await stored.check_room(turn.response, turn.input_items)
    if request.stream:
        return await opened(_written(responding.stream(turn)), error_event)
    return JSONResponse(await responding.whole(turn))


@router.post("/input_tokens", responses=refusals(400, 404, 413, 504))
async def count_input_tokens(
    request: InputTokensRequest, responding: RespondingDep, settings: SettingsDep
) -> InputTokens:
    """Count the tokens of the prompt of a response, rendered by the model's chat template.

    Includes functions and the earlier turns of `previous_response_id` or `conversation`. The
    sources of a grounded answer are not counted: they are chosen for each answer.
    """
    check_answering_model(request.model, settings)
    return InputTokens(input_tokens=await responding.input_tokens(request))


@router.get(
    "/{response_id}",
    responses=streamable(TEXT_EVENT_EXAMPLE, RESPONSE_EXAMPLE) | refusals(400, 404),
    dependencies=[ACCEPTS_INCLUDE],
)
async def get_response(  # noqa: PLR0913 - what FastAPI hands in
    response_id: ResponseId,
    stored: ResponsesDep,
    background: BackgroundDep,
    *,
    stream: bool = False,
    starting_after: Annotated[
        int | None,
        Query(ge=0, le=MAX_SEQUENCE, description="The `sequence_number` of an event received."),
    ] = None,
    include_obfuscation: Annotated[  # noqa: ARG001 - without effect
        bool, Query(description="Without effect: events are never padded.")
    ] = False,
) -> Response:
    """Show a stored response.

    With `stream`, send the events of a response in the background, past and future ones, after
    `starting_after` if it is set. A client that disconnects does not stop the response.
    """
    response = await stored.get(response_id)
    if not stream:
        return JSONResponse(response.body)
    after = -1 if starting_after is None else starting_after
    return await opened(_written(background.follow(response, after)), error_event)


@router.delete("/{response_id}", responses=refusals(404))
async def delete_response(response_id: ResponseId, background: BackgroundDep) -> ResponseDeleted:
    """Delete a response with its input and events; one in the background is stopped first.

    Responses that continue it stay, but lose it and the turns before it from their history.
    """
    await background.delete(response_id)
    return ResponseDeleted(id=response_id)


@router.post(
    "/{response_id}/cancel",
    response_class=JSONResponse,
    responses=shown_as(RESPONSE_EXAMPLE) | refusals(400, 404),
)
async def cancel_response(response_id: ResponseId, background: BackgroundDep) -> Response:
    """Stop a response in the background, and show it; one that has ended stays as it is."""
    return JSONResponse((await background.cancel(response_id)).body)


@router.get(
    "/{response_id}/input_items",
    response_class=JSONResponse,
    responses=shown_as(ITEMS_EXAMPLE) | refusals(404),
    dependencies=[ACCEPTS_INCLUDE],
)
async def list_input_items(
    response_id: ResponseId, stored: ResponsesDep, query: ItemListQueryDep
) -> Response:
    """List the input items of a response, of its own turn only."""
    page = await stored.input_items(response_id, query)
    return JSONResponse(item_page(page.entries, more=page.more))


async def _written(stream: AsyncGenerator[Sequence[Event], None]) -> AsyncGenerator[str, None]:
    writer = EventWriter()
    async with contextlib.aclosing(stream):
        async for events in stream:
            yield writer.blocks(events)


def error_event(error: ServiceError) -> str:
    """Return the event that reports an error of a stream without a response.

    OpenAI's SDKs raise its field `error`.
    """
    found = body_of(error).error
    fields = {"code": found.code, "message": found.message, "param": found.param}
    return named_event(
        {"type": "error", "sequence_number": 0, **fields, "error": found.model_dump()}
    )
