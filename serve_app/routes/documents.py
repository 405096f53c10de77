"""Documents: upload, list, show, delete."""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Form, Query, Response, UploadFile

from deployments.errors import NotFound
from serve_app.dependencies import (  # noqa: TC001 - FastAPI reads annotations
    IngestionDep,
    ServicesDep,
)
from serve_app.schemas import (
    DEFAULT_COLLECTION,
    CollectionName,
    DocumentId,
    DocumentListResponse,
    DocumentResponse,
    UploadResponse,
)

if TYPE_CHECKING:
    from deployments.types import Document

router = APIRouter(tags=["documents"])
_MAX_LISTED = 100


@router.post("/upload", status_code=HTTPStatus.CREATED, responses={200: {"model": UploadResponse}})
async def upload(
    file: UploadFile,
    ingestion: IngestionDep,
    response: Response,
    collection: Annotated[CollectionName, Form()] = DEFAULT_COLLECTION,
) -> UploadResponse:
    """Take a PDF, text, Markdown or HTML file; answer once it can be searched.

    201 when it is new, 200 with the same ids when this very file is already there.
    """
    document, created = await ingestion.add(file, collection)
    if not created:
        response.status_code = HTTPStatus.OK
    return UploadResponse(
        document_id=document.id, filename=document.filename, document=_shaped(document)
    )


@router.get("/v1/documents")
async def list_documents(
    services: ServicesDep,
    collection: CollectionName = DEFAULT_COLLECTION,
    limit: Annotated[int, Query(ge=1, le=_MAX_LISTED)] = 20,
    after: Annotated[str | None, Query(max_length=100)] = None,
) -> DocumentListResponse:
    """List searchable documents, a page at a time."""
    listed = await services.retriever.documents(collection, limit, after)
    return DocumentListResponse(
        data=[_shaped(document) for document in listed.documents],
        has_more=listed.next_after is not None,
        next_after=listed.next_after,
    )


@router.get("/v1/documents/{document_id}")
async def get_document(
    document_id: DocumentId,
    services: ServicesDep,
    collection: CollectionName = DEFAULT_COLLECTION,
) -> DocumentResponse:
    """Show one document."""
    return _shaped(await services.retriever.document(collection, document_id))


@router.delete("/v1/documents/{document_id}", status_code=HTTPStatus.NO_CONTENT)
async def delete_document(
    document_id: DocumentId,
    services: ServicesDep,
    collection: CollectionName = DEFAULT_COLLECTION,
) -> None:
    """Forget a document and everything made of it."""
    if not await services.retriever.delete(collection, document_id):
        msg = "there is no such document"
        raise NotFound(msg, param="document_id")


def _shaped(document: Document) -> DocumentResponse:
    fields = asdict(document) | {"created_at": int(document.created_at)}
    return DocumentResponse.model_validate(fields)
