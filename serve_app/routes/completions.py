"""`POST /v1/completions`: OpenAI's text completions, of the bare model."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from deployments.errors import InvalidRequest
from serve_app.http.body_route import BodyRoute
from serve_app.http.bounds import check_answer_bounds
from serve_app.http.chunk_writer import written
from serve_app.http.errors import refusals
from serve_app.http.event_streams import opened
from serve_app.routes.dependencies import (  # noqa: TC001 - FastAPI reads annotations
    AnsweringDep,
    ServicesDep,
    SettingsDep,
)
from serve_app.routes.shapes import error_event, streamable, unknown_model
from serve_app.schemas.completions import (
    CHUNK_EVENT_EXAMPLE,
    COMPLETION_EXAMPLE,
    CompletionRequest,
)
from serve_app.schemas.fields import UNSUPPORTED_VALUE
from serve_app.settings import ANSWERING_MODEL

router = APIRouter(tags=["completions"], route_class=BodyRoute)


@router.post(
    "/v1/completions",
    responses=streamable(CHUNK_EVENT_EXAMPLE, COMPLETION_EXAMPLE) | refusals(400, 404, 413, 504),
)
async def create_completion(
    request: CompletionRequest,
    answering: AnsweringDep,
    services: ServicesDep,
    settings: SettingsDep,
) -> Response:
    """Go on with a text, by the bare model and without any context."""
    check_answer_bounds(
        settings,
        texts=request.texts(),
        max_tokens=request.max_tokens,
        top_k=None,
        text_param="prompt",
    )
    if request.model == ANSWERING_MODEL:
        msg = (
            f"`{ANSWERING_MODEL}` answers conversations: ask it at /v1/chat/completions, or use "
            f"`{settings.llm.served_name}` here, which continues a text"
        )
        raise InvalidRequest(msg, param="model", code=UNSUPPORTED_VALUE)
    if request.model != settings.llm.served_name:
        raise unknown_model(request.model, settings.llm.served_name)
    body = request.for_engine()
    if request.stream:
        stream = answering.bare_stream(services.llm.stream_complete(body))
        return await opened(written(stream), error_event)
    return JSONResponse(await answering.bare(services.llm.complete(body)))
