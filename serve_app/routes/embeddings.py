"""`POST /v1/embeddings`: OpenAI's shape."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING

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
from serve_app.schemas.embeddings import EmbeddingsRequest, EmbeddingsResponse

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
    """Turn texts into vectors of unit length, as documents are embedded for searching."""
    if request.model != settings.embedder.name:
        raise unknown_model(request.model, settings.embedder.name)
    texts, most = request.texts(), MAX_TEXTS_PER_CALL
    if len(texts) > most:
        msg = f"{len(texts)} inputs are over the bound of {most}"
        raise TooLarge(msg, param="input")
    await allowance.check_tokens()
    try:
        async with asyncio.timeout(settings.answer.total_timeout_s):
            embeddings = await services.embedder.embeddings(texts, request.dimensions)
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
    usage = json.dumps({"prompt_tokens": tokens, "total_tokens": tokens})
    return (
        f'{{"object":"list","data":[{",".join(data)}],'
        f'"model":{json.dumps(request.model)},"usage":{usage}}}'
    )
