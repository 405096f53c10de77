"""`POST /v1/vector_stores/{id}/search`: OpenAI's shape; a vector store is a collection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import TypeAdapter, ValidationError

from deployments.errors import DeadlineExceeded, InvalidRequest, NotFound
from serve_app.dependencies import ServicesDep, SettingsDep  # noqa: TC001 - read by FastAPI
from serve_app.schemas import DEFAULT_COLLECTION, CollectionName
from serve_app.search_schemas import (
    RankingOptions,
    SearchContent,
    SearchPage,
    SearchRequest,
    SearchResult,
)

if TYPE_CHECKING:
    from deployments.types import Passage
    from serve_app.settings import AppSettings

router = APIRouter(prefix="/v1/vector_stores", tags=["vector stores"])
_NAME: TypeAdapter[str] = TypeAdapter(CollectionName)
_ATTRIBUTE_CHARS = 512  # OpenAI's bound.


async def _collection(
    vector_store_id: Annotated[
        str, Path(description="The name of a collection.", examples=[DEFAULT_COLLECTION])
    ],
) -> str:
    # A name that cannot be is one that is not there: 404 like any other, rather than 422.
    try:
        return _NAME.validate_python(vector_store_id)
    except ValidationError:
        msg = "there is no such collection"
        raise NotFound(msg, param="vector_store_id") from None


@router.post("/{vector_store_id}/search")
async def search_vector_store(
    collection: Annotated[str, Depends(_collection)],
    request: SearchRequest,
    services: ServicesDep,
    settings: SettingsDep,
) -> SearchPage:
    """Find the passages of a collection that answer a question, best first."""
    ranking = request.ranking_options or RankingOptions()
    _check_ranker(ranking, settings)
    queries = request.queries()
    try:
        async with asyncio.timeout(settings.answer.context_timeout_s):
            passages = await services.retriever.search(
                queries, collection, request.max_num_results, request.max_characters
            )
    except TimeoutError:
        msg = "the search took longer than the time allowed for it"
        raise DeadlineExceeded(msg) from None
    found = [_shaped(passage) for passage in passages]
    return SearchPage(
        search_query=queries,
        data=[result for result in found if result.score >= ranking.score_threshold],
    )


def _check_ranker(ranking: RankingOptions, settings: AppSettings) -> None:
    """Raise InvalidRequest rather than rerank for somebody who asked that it not be done."""
    if ranking.ranker == "none" and settings.retriever.rerank:
        msg = "this service reranks what it finds, which a request cannot switch off: use `auto`"
        raise InvalidRequest(msg, param="ranking_options.ranker")


def _shaped(passage: Passage) -> SearchResult:
    known = {
        "title": passage.title[:_ATTRIBUTE_CHARS],
        "section": passage.section[:_ATTRIBUTE_CHARS],
        "page": passage.page_start,
        "page_end": passage.page_end,
    }
    return SearchResult(
        file_id=passage.document_id,
        filename=passage.filename,
        score=min(max(passage.score, 0.0), 1.0),  # OpenAI's scores are from 0 to 1
        attributes={name: value for name, value in known.items() if value},
        content=[SearchContent(text=passage.text)],
    )
