"""`POST /v1/embeddings`: OpenAI's shape."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Response

from deployments.bounds import MAX_TEXTS_PER_CALL
from deployments.errors import DeadlineExceeded, TooLarge
from serve_app.http.body_route import BodyRoute
from serve_app.http.errors import refusals
from serve_app.routes.dependencies import (  # noqa: TC001 - FastAPI reads annotations
    AllowanceDep,
    ServicesDep,
    SettingsDep,
)
from serve_app.routes.shapes import unknown_model
from serve_app.schemas.embeddings import (
    EmbeddingsRequest,
    EmbeddingsResponse,
    EmbeddingsWarning,
)
from serve_app.token_ids import decoded

if TYPE_CHECKING:
    from deployments.types import Embeddings

router = APIRouter(tags=["embeddings"], route_class=BodyRoute)


@router.post(
    "/v1/embeddings", response_model=EmbeddingsResponse, responses=refusals(400, 404, 413, 504)
)
async def create_embeddings(
    request: EmbeddingsRequest,
    services: ServicesDep,
    settings: SettingsDep,
    allowance: AllowanceDep,
) -> Response:
    """Embed texts as vectors of unit length, like documents.

    With `input_type: query`, texts are embedded like questions.
    """
    if request.model != settings.embedder.name:
        raise unknown_model(request.model, settings.embedder.name)
    texts, token_lists = request.texts(), request.token_lists()
    if (inputs := len(texts or token_lists)) > MAX_TEXTS_PER_CALL:
        msg = f"{inputs} inputs are over the bound of {MAX_TEXTS_PER_CALL}"
        raise TooLarge(msg, param="input")
    await allowance.check_tokens()
    if texts is None:
        texts = await asyncio.to_thread(decoded, token_lists)
    try:
        async with asyncio.timeout(settings.answer.total_timeout_s):
            embeddings = await services.embedder.embeddings(
                texts, request.dimensions, options=request.options()
            )
    except TimeoutError:
        msg = "embedding took longer than the time allowed for it; send fewer inputs at once"
        raise DeadlineExceeded(msg) from None
    await allowance.spend_tokens(sum(embeddings.tokens))
    # A thousand vectors take a while to write down: not on the event loop.
    content = await asyncio.to_thread(_written, embeddings, request)
    return Response(content, media_type="application/json")


def _written(embeddings: Embeddings, request: EmbeddingsRequest) -> str:
    data = []
    for index, row in enumerate(embeddings.vectors):
        vector = (
            json.dumps(base64.b64encode(row.astype("<f4").tobytes()).decode())
            if request.encoding_format == "base64"
            else json.dumps(row.tolist())
        )
        data.append(f'{{"object":"embedding","index":{index},"embedding":{vector}}}')
    tokens = sum(embeddings.tokens)
    rest: dict[str, Any] = {
        "model": request.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    if warnings := _warnings(embeddings):
        rest["warnings"] = [warning.model_dump() for warning in warnings]
    return f'{{"object":"list","data":[{",".join(data)}],{json.dumps(rest)[1:]}'


def _warnings(embeddings: Embeddings) -> list[EmbeddingsWarning]:
    windowed, truncated, most = embeddings.windowed, embeddings.truncated, embeddings.max_tokens
    in_windows = (
        f"{len(windowed)} inputs are longer than the {most} tokens that the model reads at once: "
        "the vector of each is the mean of those of its windows"
    )
    cut_off = f"{len(truncated)} inputs were cut off after {most} tokens"
    return [
        EmbeddingsWarning(code=code, message=message, inputs=list(inputs))
        for code, message, inputs in (
            ("input_in_windows", in_windows, windowed),
            ("input_truncated", cut_off, truncated),
        )
        if inputs
    ]
