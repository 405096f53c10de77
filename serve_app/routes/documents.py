"""Documents: upload, list, show, delete."""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Form, Query, Request, Response

from deployments.errors import NotFound
from deployments.types import VECTOR_STORE_PREFIX, IngestSpec, JobStatus
from serve_app.http.body_route import BodyRoute
from serve_app.http.errors import refusals
from serve_app.http.urls import local_url
from serve_app.routes.dependencies import (  # noqa: TC001 - FastAPI reads annotations
    IdempotencyKey,
    ServicesDep,
    UploadsDep,
    VectorStoresDep,
)
from serve_app.routes.shapes import job_url
from serve_app.schemas.documents import (
    DocumentListResponse,
    DocumentResponse,
    UploadForm,
    UploadResponse,
)
from serve_app.schemas.fields import DEFAULT_COLLECTION, CollectionName, DocumentId

if TYPE_CHECKING:
    from deployments.types import Document


router = APIRouter(tags=["documents"], route_class=BodyRoute)
_MAX_LISTED = 100
_LOCATION = {"Location": {"description": "The job.", "schema": {"type": "string"}}}


@router.post(
    "/upload",
    status_code=HTTPStatus.ACCEPTED,
    responses={
        200: {
            "model": UploadResponse,
            "headers": _LOCATION,
            "description": "The same file is searchable already.",
        },
        202: {"headers": _LOCATION},
        **refusals(400, 404, 409, 413, 415),
    },
)
async def upload(  # noqa: PLR0913 - what FastAPI hands in
    form: Annotated[UploadForm, Form(media_type="multipart/form-data")],
    *,
    uploads: UploadsDep,
    services: ServicesDep,
    http: Request,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> UploadResponse:
    """Take a PDF, text, Markdown or HTML file and make it searchable in the background.

    The document can be searched once the job has succeeded. The same file again is the same
    document, and 200 says that it is searchable already.
    """
    if form.collection.startswith(VECTOR_STORE_PREFIX):
        await services.retriever.collection(form.collection)  # an upload does not make it
    submitted = await uploads.accept(form.file, form.collection, idempotency_key)
    job = submitted.job
    assert isinstance(job.spec, IngestSpec)  # noqa: S101 - as submit_ingest promises
    if not submitted.created and job.status is JobStatus.SUCCEEDED:
        response.status_code = HTTPStatus.OK
    response.headers["Location"] = local_url(http.scope, job_url(job.id))
    return UploadResponse(
        job_id=job.id,
        document_id=job.spec.document_id,
        filename=job.spec.filename,
        status=job.status,
    )


@router.get("/v1/documents", responses=refusals(404))
async def list_documents(
    services: ServicesDep,
    collection: CollectionName = DEFAULT_COLLECTION,
    limit: Annotated[int, Query(ge=1, le=_MAX_LISTED)] = 20,
    after: Annotated[str | None, Query(max_length=100)] = None,
) -> DocumentListResponse:
    """List searchable documents, a page at a time."""
    listed = await services.retriever.documents(collection, limit, after)
    return DocumentListResponse.of(list(map(_shaped, listed.documents)), listed.next_after)


@router.get("/v1/documents/{document_id}", responses=refusals(404))
async def get_document(
    document_id: DocumentId,
    services: ServicesDep,
    collection: CollectionName = DEFAULT_COLLECTION,
) -> DocumentResponse:
    """Show one document."""
    return _shaped(await services.retriever.document(collection, document_id))


@router.delete(
    "/v1/documents/{document_id}", status_code=HTTPStatus.NO_CONTENT, responses=refusals(404)
)
async def delete_document(
    document_id: DocumentId,
    services: ServicesDep,
    vector_stores: VectorStoresDep,
    collection: CollectionName = DEFAULT_COLLECTION,
) -> None:
    """Forget a document and everything made of it."""
    if not await services.retriever.delete(collection, document_id):
        msg = "there is no such document"
        raise NotFound(msg, param="document_id")
    await vector_stores.forget(collection, document_id)


def _shaped(document: Document) -> DocumentResponse:
    fields = asdict(document) | {"created_at": int(document.created_at)}
    return DocumentResponse.model_validate(fields)
