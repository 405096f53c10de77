"""`/v1/responses`: OpenAI's Responses API, for both models."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from deployments.errors import InvalidRequest
from serve_app.http.body_route import BodyRoute
from serve_app.http.errors import body_of, refusals
from serve_app.http.event_streams import opened
from serve_app.responses.event_writer import EventWriter, block_of
from serve_app.routes.dependencies import (  # noqa: TC001 - FastAPI reads annotations
    RespondingDep,
    SettingsDep,
)
from serve_app.routes.shapes import streamable, unknown_model
from serve_app.schemas.responses.examples import RESPONSE_EXAMPLE, TEXT_EVENT_EXAMPLE
from serve_app.schemas.responses.request import ResponseRequest  # noqa: TC001 - as above
from serve_app.settings import ANSWERING_MODEL

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from deployments.errors import ServiceError
    from serve_app.responses.responding import Responding
    from serve_app.responses.turn import Turn

router = APIRouter(prefix="/v1/responses", tags=["responses"], route_class=BodyRoute)


@router.post(
    "",
    responses=streamable(TEXT_EVENT_EXAMPLE, RESPONSE_EXAMPLE) | refusals(400, 404, 413, 504),
)
async def create_response(
    request: ResponseRequest, responding: RespondingDep, settings: SettingsDep
) -> Response:
    """Answer an input: a text, or a list of items.

    The model `genserve` answers from web and documents as `context` and the tools allow, and adds
    `sources`, `pages`, `warnings`, `attributions` and `timings` to OpenAI's fields. The other
    model is the bare LLM, which uses documents and web pages only through tools. `file_search`
    searches vector stores for the last message of the user, `web_search` reads the pages that this
    message names. The annotations of the text name the source that supports each sentence.
    """
    if request.model not in {ANSWERING_MODEL, settings.llm.served_name}:
        raise unknown_model(request.model, ANSWERING_MODEL, settings.llm.served_name)
    if request.background:
        msg = "background: responses cannot be made in the background"
        raise InvalidRequest(msg, param="background")
    turn = await responding.turn(request)
    if request.stream:
        return await opened(_written(responding, turn), error_event)
    return JSONResponse(await responding.whole(turn))


async def _written(responding: Responding, turn: Turn) -> AsyncGenerator[str, None]:
    writer = EventWriter()
    stream = responding.stream(turn)
    async with contextlib.aclosing(stream):
        async for events in stream:
            yield writer.blocks(events)


def error_event(error: ServiceError) -> str:
    """Return the event that reports an error of a stream without a response.

    OpenAI's SDKs raise what they find in its field `error`.
    """
    found = body_of(error).error
    fields = {"code": found.code, "message": found.message, "param": found.param}
    return block_of({"type": "error", "sequence_number": 0, **fields, "error": found.model_dump()})
