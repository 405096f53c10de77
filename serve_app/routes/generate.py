"""`POST /generate/text`: a prompt in, an answer with sources out."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from fastapi.sse import format_sse_event
from pydantic import TypeAdapter

from deployments.answer_events import Piece, TokenUsage
from serve_app.answering.answer import Answering, Attributed, Finished, Grounded
from serve_app.answering.engine_fields import WITH_USAGE
from serve_app.answering.grounding import Question
from serve_app.http.body_route import BodyRoute
from serve_app.http.bounds import check_answer_bounds
from serve_app.http.errors import body_of, refusals
from serve_app.http.event_streams import opened
from serve_app.routes.dependencies import AnsweringDep, SettingsDep  # noqa: TC001 - read by FastAPI
from serve_app.routes.shapes import streamable
from serve_app.schemas.answers import EVENT_EXAMPLE, GenerateRequest, GenerateResponse, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from deployments.errors import ServiceError
    from serve_app.settings import AppSettings

router = APIRouter(tags=["generate"], route_class=BodyRoute)
_ANYTHING: TypeAdapter[object] = TypeAdapter(object)


@router.post(
    "/generate/text",
    response_model=GenerateResponse,
    responses=streamable(EVENT_EXAMPLE) | refusals(400, 404, 413, 504),
)
async def generate_text(
    request: GenerateRequest, answering: AnsweringDep, settings: SettingsDep
) -> Response | GenerateResponse:
    """Answer from the pages named in the prompt and the uploaded documents.

    With `stream`, server-sent events: `sources` once, `token` many times, `attribution` for each
    sentence that has ended, `done` or `error`; which sources were `cited` is known at the end,
    and said in `done`, as are `warnings` that came late.
    """
    question = _question(request, settings)
    if request.stream:
        return await opened(_events(answering, question), _error_event)
    completion, grounded, finished = await answering.whole(question)
    choice = completion["choices"][0]
    return GenerateResponse(
        content=choice["message"]["content"] or "",
        finish_reason=choice["finish_reason"],
        sources=grounded.sources,
        pages=grounded.pages,
        warnings=grounded.warnings + finished.warnings,
        attributions=finished.attributions,
        usage=_usage(completion.get("usage")),
        timings=finished.timings,
    )


def _question(request: GenerateRequest, settings: AppSettings) -> Question:
    check_answer_bounds(
        settings,
        texts=[request.prompt],
        max_tokens=request.max_tokens,
        top_k=request.top_k,
        text_param="prompt",
    )
    sampling: dict[str, object] = {}
    if request.temperature is not None:
        sampling["temperature"] = request.temperature
    if request.stream:
        sampling |= WITH_USAGE
    return Question(
        messages=[{"role": "user", "content": request.prompt}],
        collections=[request.collection],
        top_k=request.top_k or settings.answer.top_k,
        attribution=request.attribution,
        max_tokens=request.max_tokens,
        sampling=sampling,
    )


async def _events(answering: Answering, question: Question) -> AsyncGenerator[str, None]:
    usage, finish_reason = Usage(), None
    stream = answering.stream(question)
    async with contextlib.aclosing(stream):
        async for given in stream:
            match given:
                case Grounded(sources, warnings, pages):
                    read = {"sources": sources, "pages": pages, "warnings": warnings}
                    yield _event("sources", read)
                case Attributed(attributions):
                    yield "".join(_event("attribution", one) for one in attributions)
                case Finished(timings, cited, warnings):
                    done = {"finish_reason": finish_reason, "cited": cited, "usage": usage}
                    yield _event("done", done | {"timings": timings, "warnings": warnings})
                case events:
                    for one in events:
                        match one:
                            case TokenUsage(tokens):
                                usage = _usage(tokens)
                            case Piece(finish_reason=reason, chunk=chunk):
                                finish_reason = reason or finish_reason
                                if chunk and "usage" in chunk:
                                    usage = _usage(chunk["usage"])
                    texts = [one.text for one in events if isinstance(one, Piece) and one.text]
                    if texts:
                        yield "".join(_event("token", {"text": text}) for text in texts)


def _event(name: str, data: object) -> str:
    return format_sse_event(event=name, data_str=_ANYTHING.dump_json(data).decode()).decode()


def _error_event(error: ServiceError) -> str:
    return _event("error", body_of(error))


def _usage(usage: Mapping[str, int] | None) -> Usage:
    return Usage.model_validate({} if usage is None else dict(usage))
