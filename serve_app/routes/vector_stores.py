"""`/v1/vector_stores`: OpenAI's shape; a vector store is a collection."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Depends, Path
from pydantic import TypeAdapter, ValidationError

from deployments.errors import (
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    Overloaded,
    ServiceError,
    Unavailable,
    UnsupportedMedia,
)
from serve_app.documents.attachments import AttachmentStatus, file_id_of
from serve_app.http.errors import refusals
from serve_app.routes.dependencies import (  # noqa: TC001 - FastAPI reads annotations
    KnownFileId,
    ServicesDep,
    SettingsDep,
    VectorStoresDep,
)
from serve_app.schemas.fields import DEFAULT_COLLECTION, CollectionName
from serve_app.schemas.paging import Order, PageSize  # noqa: TC001 - as above
from serve_app.schemas.vector_stores import (
    AttachRequest,
    FileCounts,
    FileError,
    FileId,
    RankingOptions,
    SearchContent,
    SearchPage,
    SearchRequest,
    SearchResult,
    VectorStoreChanges,
    VectorStoreDeleted,
    VectorStoreFile,
    VectorStoreFileDeleted,
    VectorStoreFileList,
    VectorStoreList,
    VectorStoreRequest,
    VectorStoreResponse,
)

if TYPE_CHECKING:
    from deployments.types import Passage
    from serve_app.documents.attachments import Attachment
    from serve_app.documents.vector_stores import VectorStore
    from serve_app.settings import AppSettings

router = APIRouter(prefix="/v1/vector_stores", tags=["vector stores"])
_NAME: TypeAdapter[str] = TypeAdapter(CollectionName)
_ATTRIBUTE_CHARS = 512  # OpenAI's bound.
_ERROR_CODES: dict[str, Literal["server_error", "unsupported_file"]] = {
    UnsupportedMedia.code: "unsupported_file",
    ServiceError.code: "server_error",
    Unavailable.code: "server_error",
    Overloaded.code: "server_error",
    DeadlineExceeded.code: "server_error",
}


async def _store_id(
    vector_store_id: Annotated[
        str, Path(description="The name of a collection.", examples=[DEFAULT_COLLECTION])
    ],
) -> str:
    # A name that cannot be is one that is not there: 404 like any other, rather than 422.
    try:
        return _NAME.validate_python(vector_store_id)
    except ValidationError:
        msg = "there is no such vector store"
        raise NotFound(msg, param="vector_store_id") from None


StoreId = Annotated[str, Depends(_store_id)]


@router.post("", responses=refusals(400, 404, 413))
async def create_vector_store(
    request: VectorStoreRequest, vector_stores: VectorStoresDep
) -> VectorStoreResponse:
    """Make a vector store, with kept files if any are named."""
    store = await vector_stores.create(request.name or "", request.metadata or {}, request.file_ids)
    return _store_shaped(store)


@router.get("")
async def list_vector_stores(
    vector_stores: VectorStoresDep,
    limit: PageSize = 20,
    after: CollectionName | None = None,
    order: Order = "desc",
) -> VectorStoreList:
    """List vector stores and all other collections, a page at a time."""
    stores, more = await vector_stores.stores(
        limit=limit, after=after, newest_first=order == "desc"
    )
    return VectorStoreList.of([_store_shaped(store) for store in stores], more=more)


@router.get("/{vector_store_id}", responses=refusals(404))
async def get_vector_store(
    vector_store_id: StoreId, vector_stores: VectorStoresDep
) -> VectorStoreResponse:
    """Show a vector store and how many files of it can be searched."""
    return _store_shaped(await vector_stores.get(vector_store_id))


@router.post("/{vector_store_id}", responses=refusals(400, 404, 413))
async def change_vector_store(
    vector_store_id: StoreId, request: VectorStoreChanges, vector_stores: VectorStoresDep
) -> VectorStoreResponse:
    """Give a vector store another name or other metadata."""
    return _store_shaped(
        await vector_stores.change(vector_store_id, request.name, request.metadata)
    )


@router.delete("/{vector_store_id}", responses=refusals(404))
async def delete_vector_store(
    vector_store_id: StoreId, vector_stores: VectorStoresDep
) -> VectorStoreDeleted:
    """Remove a vector store and everything that can be searched in it; kept files stay."""
    await vector_stores.delete(vector_store_id)
    return VectorStoreDeleted(id=vector_store_id)


@router.post("/{vector_store_id}/files", responses=refusals(400, 404, 413))
async def attach_file(
    vector_store_id: StoreId, request: AttachRequest, vector_stores: VectorStoresDep
) -> VectorStoreFile:
    """Have a kept file made searchable in a vector store; ask for it to see when it is."""
    return _file_shaped(
        vector_store_id, await vector_stores.attach(vector_store_id, request.file_id)
    )


@router.get("/{vector_store_id}/files", responses=refusals(404))
async def list_attached_files(  # noqa: PLR0913 - OpenAI's parameters
    vector_store_id: StoreId,
    vector_stores: VectorStoresDep,
    *,
    filter: AttachmentStatus | None = None,  # noqa: A002 - OpenAI's name
    limit: PageSize = 20,
    after: FileId | None = None,
    order: Order = "desc",
) -> VectorStoreFileList:
    """List the files that were attached, a page at a time."""
    attachments, more = await vector_stores.attachments(
        vector_store_id, status=filter, limit=limit, after=after, newest_first=order == "desc"
    )
    return VectorStoreFileList.of(
        [_file_shaped(vector_store_id, attachment) for attachment in attachments], more=more
    )


@router.get("/{vector_store_id}/files/{file_id}", responses=refusals(404))
async def get_attached_file(
    vector_store_id: StoreId, file_id: KnownFileId, vector_stores: VectorStoresDep
) -> VectorStoreFile:
    """Show how a file stands in a vector store."""
    return _file_shaped(vector_store_id, await vector_stores.attachment(vector_store_id, file_id))


@router.delete("/{vector_store_id}/files/{file_id}", responses=refusals(404))
async def detach_file(
    vector_store_id: StoreId, file_id: KnownFileId, vector_stores: VectorStoresDep
) -> VectorStoreFileDeleted:
    """Take a file out of a vector store; the file itself stays."""
    await vector_stores.detach(vector_store_id, file_id)
    return VectorStoreFileDeleted(id=file_id)


@router.post("/{vector_store_id}/search", responses=refusals(400, 404, 413, 504))
async def search_vector_store(
    vector_store_id: StoreId,
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
                queries, vector_store_id, request.max_num_results, request.max_characters
            )
    except TimeoutError:
        msg = "the search took longer than the time allowed for it"
        raise DeadlineExceeded(msg) from None
    found = [_result_shaped(passage) for passage in passages]
    return SearchPage(
        search_query=queries,
        data=[result for result in found if result.score >= ranking.score_threshold],
    )


def _check_ranker(ranking: RankingOptions, settings: AppSettings) -> None:
    """Raise InvalidRequest rather than rerank for somebody who asked that it not be done."""
    if ranking.ranker == "none" and settings.retriever.rerank:
        msg = "this service reranks what it finds, which a request cannot switch off: use `auto`"
        raise InvalidRequest(msg, param="ranking_options.ranker")


def _result_shaped(passage: Passage) -> SearchResult:
    known = {
        "document_id": passage.document_id,
        "title": passage.title[:_ATTRIBUTE_CHARS],
        "section": passage.section[:_ATTRIBUTE_CHARS],
        "page": passage.page_start,
        "page_end": passage.page_end,
    }
    return SearchResult(
        file_id=file_id_of(passage.document_id),
        filename=passage.filename,
        score=min(max(passage.score, 0.0), 1.0),  # OpenAI's scores are from 0 to 1
        attributes={name: value for name, value in known.items() if value},
        content=[SearchContent(text=passage.text)],
    )


def _store_shaped(store: VectorStore) -> VectorStoreResponse:
    statuses = [attachment.status for attachment in store.unfinished]
    counts = FileCounts(
        completed=store.holds.documents,
        in_progress=statuses.count("in_progress"),
        failed=statuses.count("failed"),
        cancelled=statuses.count("cancelled"),
        total=store.holds.documents + len(statuses),
    )
    return VectorStoreResponse(
        id=store.id,
        created_at=store.created_at,
        name=store.name,
        usage_bytes=store.holds.size_bytes,
        file_counts=counts,
        status="in_progress" if counts.in_progress else "completed",
        last_active_at=store.created_at or None,
        metadata=dict(store.metadata),
    )


def _file_shaped(store_id: str, attachment: Attachment) -> VectorStoreFile:
    error = None
    if attachment.status == "failed":
        error = FileError(
            code=_ERROR_CODES.get(attachment.error_code or "", "invalid_file"),
            message=attachment.error_message or "the file could not be read",
        )
    return VectorStoreFile(
        id=attachment.file_id,
        created_at=attachment.created_at,
        vector_store_id=store_id,
        status=attachment.status,
        last_error=error,
        usage_bytes=attachment.size_bytes if attachment.status == "completed" else 0,
    )
