"""`/v1/vector_stores/{id}/search`: OpenAI's shape."""

from __future__ import annotations

import asyncio
from itertools import groupby
from typing import TYPE_CHECKING

from fastapi import APIRouter

from deployments.errors import DeadlineExceeded, InvalidRequest
from deployments.kept_files import file_id_of
from serve_app.http.body_route import BodyRoute
from serve_app.http.errors import refusals
from serve_app.routes.dependencies import (  # noqa: TC001 - FastAPI reads annotations
    ServicesDep,
    SettingsDep,
    StoreId,
)
from serve_app.schemas.passages import content_uri, own_title, place_of
from serve_app.schemas.searches import (
    RankingOptions,
    SearchContent,
    SearchPage,
    SearchRequest,
    SearchResult,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.types import Passage
    from serve_app.settings import AppSettings

router = APIRouter(prefix="/v1/vector_stores", tags=["vector stores"], route_class=BodyRoute)
_ATTRIBUTE_CHARS = 512  # OpenAI's bound.


@router.post("/{vector_store_id}/search", responses=refusals(400, 404, 413, 504))
async def search_vector_store(
    vector_store_id: StoreId,
    request: SearchRequest,
    services: ServicesDep,
    settings: SettingsDep,
) -> SearchPage:
    """Find the documents of a collection that answer a question, best first."""
    ranking = request.ranking_options or RankingOptions()
    _check_ranker(ranking, settings)
    queries = request.queries()
    try:
        async with asyncio.timeout(settings.answer.context_timeout_s):
            passages = await services.retriever.search(
                queries,
                vector_store_id,
                request.max_num_results,
                request.max_characters,
                request.filters.parsed() if request.filters else None,
                by_document=True,
            )
    except TimeoutError:
        msg = "the search took longer than the time allowed for it"
        raise DeadlineExceeded(msg) from None
    found = [
        _result_shaped(list(of_one))
        for _, of_one in groupby(passages, key=lambda passage: passage.document_id)
    ]
    return SearchPage(
        search_query=queries,
        data=[result for result in found if result.score >= ranking.score_threshold],
    )


def _check_ranker(ranking: RankingOptions, settings: AppSettings) -> None:
    """Raise InvalidRequest rather than rerank for somebody who asked that it not be done."""
    if ranking.ranker == "none" and settings.retriever.rerank:
        msg = "this service reranks what it finds, which a request cannot switch off: use `auto`"
        raise InvalidRequest(msg, param="ranking_options.ranker")


def _result_shaped(passages: Sequence[Passage]) -> SearchResult:
    """Shape the passages of a document, the best one first."""
    passage = passages[0]
    known = {
        "document_id": passage.document_id,
        "version": passage.version,
        "content_uri": content_uri(passage),
        "title": (own_title(passage) or "")[:_ATTRIBUTE_CHARS],
        "section": passage.section[:_ATTRIBUTE_CHARS],
        "place": place_of(passage),
        "page": passage.page_start,
        "page_end": passage.page_end,
    }
    return SearchResult(
        file_id=file_id_of(passage.document_id),
        filename=passage.filename,
        # OpenAI's scores are from 0 to 1.
        score=min(max(0.0, *(each.score for each in passages)), 1.0),
        attributes={
            **{name: value for name, value in known.items() if value},
            **passage.attributes,
        },
        content=[SearchContent(text=each.text) for each in passages],
    )
