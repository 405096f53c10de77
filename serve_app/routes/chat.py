"""`POST /v1/chat/completions`: OpenAI's shape, for both models."""

from __future__ import annotations

import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse

from deployments.answer_events import DONE, Piece, TokenUsage
from serve_app.answering.answer import Answering, Attributed, Finished, Grounded
from serve_app.answering.attribution.annotations import Annotations
from serve_app.answering.grounding import Question
from serve_app.http.body_route import BodyRoute
from serve_app.http.chunk_writer import ChunkWriter, written
from serve_app.http.errors import refusals
from serve_app.http.event_streams import opened
from serve_app.routes.dependencies import (  # noqa: TC001 - FastAPI reads annotations
    AnsweringDep,
    ServicesDep,
    SettingsDep,
)
from serve_app.routes.shapes import check_conversation, error_event, streamable
from serve_app.schemas.answers import dumped
from serve_app.schemas.chat import (
    CHUNK_EVENT_EXAMPLE,
    COMPLETION_EXAMPLE,
    ChatRequest,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from deployments.answer_events import AnswerEvent
    from deployments.interfaces import TextGenerator
    from serve_app.schemas.answers import Attribution
    from serve_app.settings import AppSettings

router = APIRouter(prefix="/v1/chat", tags=["chat"], route_class=BodyRoute)
_SET_BY_US = {"model", "messages", "stream", "max_tokens", "max_completion_tokens"}


@router.post(
    "/completions",
    responses=streamable(CHUNK_EVENT_EXAMPLE, COMPLETION_EXAMPLE) | refusals(400, 404, 413, 504),
)
async def create_chat_completion(
    request: ChatRequest, answering: AnsweringDep, services: ServicesDep, settings: SettingsDep
) -> Response:
    """Answer a conversation.

    The model `genserve` answers from web and documents as `context` allows, and adds `sources`,
    `pages`, `warnings`, `attributions` and `timings` to OpenAI's fields, and `cited`, the numbers
    of the sources referred to, to the end of a stream. The `annotations` of a message name the
    source that supports each sentence. The other model is the bare LLM, with the fields of its
    engine.
    """
    max_tokens = _max_tokens(request)
    await check_conversation(request, settings, texts=request.texts(), max_tokens=max_tokens)
    if request.model == settings.llm.served_name:
        return await _bare(request, answering, services.llm)
    question = _question(request, settings)
    if request.stream:
        return await opened(_written(answering, question), error_event)
    completion, grounded, finished = await answering.whole(question)
    return JSONResponse(_whole(completion, grounded, finished))


async def _bare(request: ChatRequest, answering: Answering, llm: TextGenerator) -> Response:
    body = request.for_engine()
    if request.stream:
        stream = answering.bare_stream(llm.stream_chat(body))
        return await opened(written(stream), error_event)
    return JSONResponse(await answering.bare(llm.chat(body)))


def _question(request: ChatRequest, settings: AppSettings) -> Question:
    body = request.for_engine()
    return Question.within(
        request.context,
        [
            message | {"content": given.text()}
            for message, given in zip(body["messages"], request.messages, strict=True)
        ],
        top_k=settings.answer.top_k,
        max_tokens=_max_tokens(request),
        sampling={name: value for name, value in body.items() if name not in _SET_BY_US},
    )


def _max_tokens(request: ChatRequest) -> int | None:
    # OpenAI renamed the field; the new name wins.
    return request.max_completion_tokens or request.max_tokens


async def _written(answering: Answering, question: Question) -> AsyncGenerator[str, None]:
    """Sources ride on the opening chunk, before any token; what came of them on the last.

    Attributions come between tokens, as soon as they are known.
    """
    writer = ChunkWriter()
    grounding: dict[str, Any] = {}
    held: list[AnswerEvent] = []
    warnings: list[dict[str, Any]] = []
    annotations = Annotations([])
    stream = answering.stream(question)
    async with contextlib.aclosing(stream):
        async for given in stream:
            match given:
                case Grounded(sources):
                    grounding = given.fields()
                    warnings = grounding["warnings"]
                    annotations = Annotations(sources)
                case Attributed(attributions):
                    yield writer.blocks(_annotated(attributions, annotations))
                case Finished(timings, cited, late_warnings):
                    ending = held or [Piece(None, choice_index=None)]
                    last = grounding | {"cited": cited, "timings": timings}
                    if late_warnings:
                        last["warnings"] = warnings + dumped(late_warnings)
                    yield writer.blocks(ending, last)
                case _:
                    events = [*held, *given]
                    # Only what ends the answer is held back, for the rest to join it.
                    held = events[-1:] if _ends(events[-1]) else []
                    if blocks := writer.blocks(events[: len(events) - len(held)], grounding):
                        grounding = {}
                        yield blocks
    yield DONE


def _whole(completion: dict[str, Any], grounded: Grounded, finished: Finished) -> dict[str, Any]:
    annotations = Annotations(grounded.sources)
    choices = []
    for choice in completion["choices"]:
        found = annotations.of(finished.attributions, choice.get("index", 0))
        message = choice["message"] | ({"annotations": found} if found else {})
        choices.append(choice | {"message": message})
    grounded = replace(grounded, warnings=grounded.warnings + finished.warnings)
    return {
        **completion,
        "choices": choices,
        **grounded.fields(),
        "attributions": dumped(finished.attributions),
        "timings": finished.timings,
    }


def _annotated(attributions: Sequence[Attribution], annotations: Annotations) -> list[AnswerEvent]:
    """Return a piece for each choice, whose chunk has its attributions beside OpenAI's fields."""
    events: list[AnswerEvent] = []
    for index in sorted({one.choice for one in attributions}):
        of_choice = [one for one in attributions if one.choice == index]
        found = annotations.of(of_choice, index)
        delta = {"annotations": found} if found else None
        chunk = {"attributions": dumped(of_choice)}
        events.append(Piece("", index, delta=delta, chunk=chunk))
    return events


def _ends(event: AnswerEvent) -> bool:
    match event:
        case Piece(choice_index=None) | TokenUsage():
            return True
        case Piece(finish_reason=reason):
            return reason is not None
    return False
