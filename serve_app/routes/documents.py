"""Documents: upload, list, show, delete."""

from __future__ import annotations

from dataclasses import asdict
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Request, Response

from deployments.catalogue.entries import PageQuery
from deployments.types import VECTOR_STORE_PREFIX, IngestSpec, JobStatus, ZipSpec
from serve_app.documents.originals import MEDIA_TYPES
from serve_app.http.body_route import BodyRoute
from serve_app.http.closing_response import ClosingResponse
from serve_app.http.errors import refusals
from serve_app.http.urls import local_url
from serve_app.routes.dependencies import (  # noqa: TC001 - FastAPI reads annotations
    DocumentsDep,
    IdempotencyKey,
    OriginalsDep,
    UploadsDep,
)
from serve_app.routes.shapes import download, job_url
from serve_app.schemas.documents import (
    DocumentChanges,
    DocumentListResponse,
    DocumentResponse,
    RestoreRequest,
    UploadForm,
    UploadResponse,
    VersionListResponse,
    VersionResponse,
)
from serve_app.schemas.fields import DEFAULT_COLLECTION, CollectionName, DocumentId
from serve_app.schemas.jobs import JobError
from serve_app.schemas.reading import ReadingWarning

if TYPE_CHECKING:
    from deployments.catalogue.entries import VersionEntry
    from deployments.types import Document, Submitted
    from serve_app.documents.originals import Original


router = APIRouter(tags=["documents"], route_class=BodyRoute)
_MAX_LISTED = 100
_MAX_VERSION = 999_999_999
_THE_ONE_BEFORE = RestoreRequest()
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
        **refusals(400, 404, 409, 413, 415, 422),
    },
)
async def upload(  # noqa: PLR0913 - what FastAPI hands in
    form: Annotated[UploadForm, Form(media_type="multipart/form-data")],
    *,
    uploads: UploadsDep,
    documents: DocumentsDep,
    http: Request,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> UploadResponse:
    """Take a file and make it searchable in the background.

    Files that are read: PDF, Word, PowerPoint, Excel, OpenDocument, RTF, EPUB, mails, web pages,
    plain text, Markdown, CSV, JSON, XML, notebooks, source code, subtitles, ZIP files of these, and
    images as PNG, JPEG, TIFF or WebP.

    Each file in a ZIP file becomes a document of its own, named by its path there: the job (kind
    `zip`) says how many are done, and which could not be read. A document or a mail with
    attachments stays one document.

    The document can be searched once the job has succeeded. Another file of the same name becomes a
    new version of it, unless `on_conflict` says otherwise. The same file again changes nothing, and
    200 says that it is searchable already.
    """
    if form.collection.startswith(VECTOR_STORE_PREFIX):
        await documents.check_collection(form.collection)  # an upload does not create it
    submitted = await uploads.accept(
        form.file, form.collection, idempotency_key, form.on_conflict, form.attributes
    )
    job = submitted.job
    if form.attributes is not None and isinstance(job.spec, IngestSpec):
        await documents.apply_attributes(form.collection, job.spec.document_id)
    if not submitted.created and job.status is JobStatus.SUCCEEDED:
        response.status_code = HTTPStatus.OK
    response.headers["Location"] = local_url(http.scope, job_url(job.id))
    return _submitted_shaped(submitted)


@router.get("/v1/documents", responses=refusals(404))
async def list_documents(
    documents: DocumentsDep,
    collection: CollectionName = DEFAULT_COLLECTION,
    limit: Annotated[int, Query(ge=1, le=_MAX_LISTED)] = 20,
    after: DocumentId | None = None,
) -> DocumentListResponse:
    """List searchable documents, a page at a time."""
    page = await documents.searchable(collection, PageQuery(limit, after))
    found = [entry.document for entry in page.entries]
    return DocumentListResponse.of(list(map(_shaped, found)), found[-1].id if page.more else None)


@router.get("/v1/documents/{document_id}", responses=refusals(404))
async def get_document(
    document_id: DocumentId,
    documents: DocumentsDep,
    collection: CollectionName = DEFAULT_COLLECTION,
) -> DocumentResponse:
    """Show one document."""
    return _shaped(await documents.get(collection, document_id))


@router.post("/v1/documents/{document_id}", responses=refusals(400, 404, 409))
async def change_document(
    document_id: DocumentId,
    request: DocumentChanges,
    documents: DocumentsDep,
    collection: CollectionName = DEFAULT_COLLECTION,
) -> DocumentResponse:
    """Give a document another name or other attributes."""
    await documents.get(collection, document_id)  # one that cannot be shown is not changed
    if request.filename is not None:
        await documents.rename(collection, document_id, request.filename)
    if request.attributes is not None:
        await documents.set_attributes(collection, document_id, request.attributes)
    return _shaped(await documents.get(collection, document_id))


@router.post(
    "/v1/documents/{document_id}/restore",
    status_code=HTTPStatus.ACCEPTED,
    responses={202: {"headers": _LOCATION}, **refusals(400, 404, 409)},
)
async def restore_document(  # noqa: PLR0913 - what FastAPI hands in
    document_id: DocumentId,
    documents: DocumentsDep,
    http: Request,
    response: Response,
    *,
    request: RestoreRequest = _THE_ONE_BEFORE,
    collection: CollectionName = DEFAULT_COLLECTION,
) -> UploadResponse:
    """Make the content of an earlier version a new version, in the background.

    The content of the version before the current one is kept; that of older ones is not.
    """
    submitted = await documents.restore(collection, document_id, request.version)
    response.headers["Location"] = local_url(http.scope, job_url(submitted.job.id))
    return _submitted_shaped(submitted)


@router.get("/v1/documents/{document_id}/versions", responses=refusals(404))
async def list_versions(
    document_id: DocumentId,
    documents: DocumentsDep,
    collection: CollectionName = DEFAULT_COLLECTION,
    limit: Annotated[int, Query(ge=1, le=_MAX_LISTED)] = 20,
    after: Annotated[str | None, Query(pattern=r"^[0-9]{1,9}$")] = None,
) -> VersionListResponse:
    """List the versions of a document, newest first, a page at a time."""
    query = PageQuery(limit, after, newest_first=True)
    page = await documents.versions(collection, document_id, query)
    found = list(map(_version_shaped, page.entries))
    return VersionListResponse.of(found, found[-1].id if page.more else None)


@router.get(
    "/v1/documents/{document_id}/content",
    response_class=Response,
    responses=download("the bytes of report.pdf", *MEDIA_TYPES) | refusals(404),
)
async def get_document_content(
    document_id: DocumentId,
    originals: OriginalsDep,
    collection: CollectionName = DEFAULT_COLLECTION,
    version: Annotated[int | None, Query(ge=1, le=_MAX_VERSION)] = None,
) -> Response:
    """Fetch the original of a document, byte for byte.

    PDFs and pictures (PNG, JPEG, WebP) have their own media type, plain texts `text/plain`:
    browsers show them. All others are to be saved. The originals of the current version and of the
    one before are kept.
    """
    original = await originals.open(collection, document_id, version)
    return ClosingResponse(original.pieces, original.media_type, _content_headers(original))


@router.delete(
    "/v1/documents/{document_id}", status_code=HTTPStatus.NO_CONTENT, responses=refusals(404)
)
async def delete_document(
    document_id: DocumentId,
    documents: DocumentsDep,
    collection: CollectionName = DEFAULT_COLLECTION,
) -> None:
    """Delete a document and everything made of it."""
    await documents.remove(collection, document_id)


def _content_headers(original: Original) -> dict[str, str]:
    """Return headers with which nothing in a file can act as a page of this service."""
    how = "inline" if original.shown else "attachment"
    return {
        # Here, or Starlette would declare an encoding.
        "Content-Type": original.media_type,
        "Content-Disposition": f"{how}; filename*=UTF-8''{quote(original.filename, safe='')}",
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; sandbox",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }


def _submitted_shaped(submitted: Submitted) -> UploadResponse:
    job = submitted.job
    assert isinstance(job.spec, IngestSpec | ZipSpec)  # noqa: S101 - as it was submitted
    of_zip = isinstance(job.spec, ZipSpec)
    return UploadResponse(
        job_id=job.id,
        document_id=None if isinstance(job.spec, ZipSpec) else job.spec.document_id,
        filename=job.spec.filename,
        version=None if of_zip else submitted.version,
        status=job.status,
    )


def _shaped(document: Document) -> DocumentResponse:
    fields = asdict(document) | {"created_at": int(document.created_at)}
    return DocumentResponse.model_validate(fields)


def _version_shaped(entry: VersionEntry) -> VersionResponse:
    document, error = entry.document, None
    if entry.error_code is not None:
        error = JobError(code=entry.error_code, message=entry.error_message or "")
    return VersionResponse(
        id=str(document.version),
        status=entry.status.value,
        filename=document.filename,
        size_bytes=document.size_bytes,
        sha256=entry.digest or None,
        author=entry.author or None,
        created_at=int(document.created_at),
        job_id=document.job_id,
        chunker=document.chunker or None,
        language=document.language or None,
        restored_from=entry.restored_from,
        warnings=list(map(ReadingWarning.model_validate, document.warnings)),
        error=error,
    )
