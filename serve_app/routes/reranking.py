"""`POST /v1/rerank`: documents by their relevance to a query, as Cohere, Jina and vLLM have it."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import numpy as np
from fastapi import APIRouter

from deployments.errors import DeadlineExceeded, TooLarge
from serve_app.http.body_route import BodyRoute
from serve_app.http.errors import refusals
from serve_app.routes.dependencies import (  # noqa: TC001 - FastAPI reads annotations
    AllowanceDep,
    ServicesDep,
    SettingsDep,
)
from serve_app.routes.shapes import unknown_model
from serve_app.schemas.reranking import (
    MAX_CHARS,
    MAX_DOCUMENTS,
    DocumentText,
    RerankMeta,
    RerankRequest,
    RerankResponse,
    RerankResult,
    RerankTokens,
    RerankUsage,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.types import Scores

router = APIRouter(tags=["reranking"], route_class=BodyRoute)


# vLLM's clients leave the version out, Cohere's present ones send 2; the body is the same.
@router.post("/rerank", response_model_exclude_none=True, include_in_schema=False)
@router.post("/v2/rerank", response_model_exclude_none=True, include_in_schema=False)
@router.post("/v1/rerank", response_model_exclude_none=True, responses=refusals(400, 404, 413, 504))
async def rerank(
    request: RerankRequest,
    services: ServicesDep,
    settings: SettingsDep,
    allowance: AllowanceDep,
) -> RerankResponse:
    """Order documents by their relevance to a query; also at `/v2/rerank` and `/rerank`."""
    model = settings.embedder.reranking_name
    if request.model not in {None, model}:
        raise unknown_model(str(request.model), model)
    texts = request.texts()
    _check_size(texts)
    await allowance.check_tokens()
    try:
        async with asyncio.timeout(settings.answer.total_timeout_s):
            scores = await services.embedder.relevance(request.query, texts, request.max_tokens())
    except TimeoutError:
        msg = "reranking took longer than the time allowed for it; send fewer documents at once"
        raise DeadlineExceeded(msg) from None
    await allowance.spend_tokens(scores.tokens)
    best = np.argsort(-scores.relevance, kind="stable")[: request.top_n or None].tolist()
    cut = set(scores.cut)
    shown = request.return_documents is not False
    return RerankResponse(
        id=f"rerank-{uuid.uuid4().hex}",
        model=model,
        scored_by="reranker" if settings.embedder.reranker else "embedder",
        results=[
            RerankResult(
                index=index,
                relevance_score=float(scores.relevance[index]),
                document=DocumentText(text=texts[index]) if shown else None,
                truncated=index in cut,
            )
            for index in best
        ],
        usage=RerankUsage(prompt_tokens=scores.tokens, total_tokens=scores.tokens),
        meta=RerankMeta(
            tokens=RerankTokens(input_tokens=scores.tokens), warnings=_warnings(scores) or None
        ),
    )


def _check_size(texts: Sequence[str]) -> None:
    if len(texts) > MAX_DOCUMENTS:
        msg = f"{len(texts)} documents are over the bound of {MAX_DOCUMENTS}"
        raise TooLarge(msg, param="documents")
    if (size := sum(map(len, texts))) > MAX_CHARS:
        msg = f"documents of {size} characters together are over the bound of {MAX_CHARS}"
        raise TooLarge(msg, param="documents")


def _warnings(scores: Scores) -> list[str]:
    warnings = []
    if scores.query_cut:
        warnings.append("the query is longer than the model reads: only its beginning was read")
    if scores.cut:
        warnings.append(f"documents of which only the beginning was read: {len(scores.cut)}")
    return warnings
