"""`/v1/messages`: Anthropic's Messages API, for both models, and its token count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import JSONResponse

from deployments.errors import InvalidRequest
from serve_app.answering.engine_fields import chat_text
from serve_app.http.anthropic import error_body, request_id_of
from serve_app.http.body_route import BodyRoute
from serve_app.http.errors import refusals, status_of
from serve_app.http.event_streams import opened
from serve_app.http.named_events import named_event
from serve_app.messages.conversation import chat_messages
from serve_app.messages.messages import Messages
from serve_app.routes.dependencies import (  # noqa: TC001 - FastAPI reads annotations
    AnsweringDep,
    ServicesDep,
    SettingsDep,
)
from serve_app.routes.shapes import check_conversation, streamable
from serve_app.schemas.messages.answers import (
    MESSAGE_EVENT_EXAMPLE,
    MESSAGE_EXAMPLE,
    MessagesError,
    TokensCount,
)
from serve_app.schemas.messages.requests import (  # noqa: TC001 - FastAPI reads annotations
    CountTokensRequest,
    MessagesRequest,
)

if TYPE_CHECKING:
    from deployments.errors import ServiceError
    from serve_app.settings import AppSettings

router = APIRouter(prefix="/v1/messages", tags=["messages"], route_class=BodyRoute)
_REFUSALS = refusals(400, 401, 403, 404, 413, 429, 500, 503, 504, model=MessagesError)
_PING = named_event({"type": "ping"})
_NO_THREADS = "thread_unsupported_request"  # the SDK's tool runner then continues without a thread
Beta = Annotated[bool | None, Query(description="Without effect; Anthropic's clients send it.")]


@router.post(
    "",
    responses=streamable(MESSAGE_EVENT_EXAMPLE, MESSAGE_EXAMPLE) | _REFUSALS,
)
async def create_message(  # noqa: PLR0913, PLR0917 - one parameter per dependency
    request: MessagesRequest,
    http: Request,
    answering: AnsweringDep,
    services: ServicesDep,
    settings: SettingsDep,
    beta: Beta = None,  # noqa: ARG001 - known, so that it is not refused
) -> Response:
    """Answer a conversation, in the form of Anthropic's API.

    The model `genserve` answers from web and documents as `context` allows, and adds `sources`,
    `pages`, `warnings`, `attributions`, `cited` and `timings`; `citations` of a block name the
    sources that support its sentences. The other model is the bare LLM; the tools `web_search` and
    `web_fetch` let it read the pages whose URLs are in the user's last message.
    """
    if request.thread is not None:
        msg = "this service keeps no threads: send all `messages`"
        raise InvalidRequest(msg, code=_NO_THREADS, param="thread")
    messages = Messages(answering, services.llm, settings, await _checked(request, settings))
    if not request.stream:
        return JSONResponse(await messages.whole(request))
    request_id = request_id_of(http.scope)

    def error_event(error: ServiceError) -> str:
        body = error_body(status_of(error), error.message, error.code, request_id)
        return named_event(body)

    return await opened(messages.stream(request), error_event, keep_alive=_PING)


@router.post("/count_tokens", responses=_REFUSALS)
async def count_message_tokens(
    request: CountTokensRequest,
    answering: AnsweringDep,
    services: ServicesDep,
    settings: SettingsDep,
    beta: Beta = None,  # noqa: ARG001 - as above
) -> TokensCount:
    """Count the tokens of a conversation, rendered by the model's chat template.

    The sources of `genserve` are not counted: they are chosen for each answer.
    """
    messages = Messages(answering, services.llm, settings, await _checked(request, settings))
    return TokensCount(input_tokens=await messages.count_tokens(request))


async def _checked(request: CountTokensRequest, settings: AppSettings) -> list[dict[str, Any]]:
    """Return the chat messages of a request that is within the bounds."""
    messages = chat_messages(request)
    # max_tokens is lowered to the bound.
    texts = [chat_text(message) for message in messages]
    await check_conversation(request, settings, texts=texts, max_tokens=None)
    return messages
