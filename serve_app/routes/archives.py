"""Archives of collections: export one, and import one as a new vector store."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Path, Query, Request, Response

from deployments.archives.tape import PART_BYTES
from deployments.types import ImportSpec
from serve_app.documents.exports import ExportRequest
from serve_app.http.body_route import BodyRoute
from serve_app.http.closing_response import ClosingResponse
from serve_app.http.errors import refusals
from serve_app.http.urls import local_url
from serve_app.routes.dependencies import (  # noqa: TC001 - FastAPI reads annotations
    ExportsDep,
    ImportId,
    ImportsDep,
    StoreId,
)
from serve_app.routes.shapes import download, job_url
from serve_app.schemas.archives import (
    ImportDeleted,
    ImportPart,
    ImportParts,
    ImportRequest,
    ImportResponse,
)
from serve_app.schemas.fields import DocumentId  # noqa: TC001 - as above

router = APIRouter(tags=["archives"], route_class=BodyRoute)
_MAX_PARTS = 999_999
_LOCATION = {"Location": {"description": "The job.", "schema": {"type": "string"}}}
_TAR = "application/x-tar"
_PART_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/octet-stream": {
                "schema": {"type": "string", "format": "binary"},
                "example": "bytes of an archive",
            }
        },
    }
}


@router.get(
    "/v1/vector_stores/{vector_store_id}/export",
    response_class=Response,
    responses=download("an archive of the collection", _TAR) | refusals(404, 409),
)
async def export_collection(  # noqa: PLR0913 - what FastAPI hands in
    vector_store_id: StoreId,
    exports: ExportsDep,
    *,
    vectors: Annotated[
        bool, Query(description="With vectors, which another installation of the same model takes.")
    ] = False,
    after: Annotated[
        DocumentId | None,
        Query(description="Go on after this document; the manifest is left out."),
    ] = None,
    exported: Annotated[
        int, Query(ge=0, le=2**53, description="The number of documents up to `after`.")
    ] = 0,
    fingerprint: Annotated[
        str | None,
        Query(
            pattern=r"^[0-9a-f]{8,64}$",
            description="Of the manifest, to go on only if the vectors are still of that model.",
        ),
    ] = None,
) -> Response:
    """Export a vector store, or any other collection by its name, as one archive.

    Documents come in their current versions, with attributes, passages and originals. One that is
    changed meanwhile comes whole, as it was before or after. A stream that ends before `end.json`
    is not whole.
    """
    request = ExportRequest(vectors, after, exported, fingerprint)
    pieces = await exports.open(vector_store_id, request)
    name = quote(f"{vector_store_id}.tar", safe="")
    return ClosingResponse(
        pieces,
        _TAR,
        {"Content-Disposition": f"attachment; filename={name}"},
    )


@router.put(
    "/v1/imports/{import_id}/parts/{number}",
    responses=refusals(400, 404, 408, 413),
    openapi_extra=_PART_BODY,
)
async def send_part(
    import_id: ImportId,
    number: Annotated[int, Path(ge=0, le=_MAX_PARTS, examples=[0])],
    imports: ImportsDep,
    http: Request,
) -> ImportPart:
    """Send a part of an archive, counted from 0: 16,777,216 bytes each, the last one less.

    Parts may be sent in any order, and again. Those of an import that is not begun are deleted
    after a day.
    """
    size = await imports.receive(import_id, number, http.stream())
    return ImportPart(import_id=import_id, number=number, size_bytes=size)


@router.get("/v1/imports/{import_id}", responses=refusals(404))
async def list_parts(import_id: ImportId, imports: ImportsDep) -> ImportParts:
    """List the parts that were received, to go on after an interruption."""
    parts = await imports.parts(import_id)
    return ImportParts(import_id=import_id, part_bytes=PART_BYTES, parts=parts)


@router.delete("/v1/imports/{import_id}", responses=refusals(404))
async def delete_parts(import_id: ImportId, imports: ImportsDep) -> ImportDeleted:
    """Delete the parts of an archive. To stop an import that was begun, cancel its job."""
    await imports.remove(import_id)
    return ImportDeleted(id=import_id)


@router.post(
    "/v1/imports",
    status_code=HTTPStatus.ACCEPTED,
    responses={202: {"headers": _LOCATION}, **refusals(400, 404, 409, 413, 422)},
)
async def begin_import(
    request: ImportRequest, imports: ImportsDep, http: Request, response: Response
) -> ImportResponse:
    """Import an archive as a new vector store, in the background.

    Passages are taken as they are, so that sources are the same. Vectors are too if they are of the
    present embedding model; else the passages are embedded. If the job fails or is cancelled,
    nothing of it is left.
    """
    submitted = await imports.begin(request.import_id, request.size_bytes, request.name)
    job = submitted.job
    assert isinstance(job.spec, ImportSpec)  # noqa: S101 - as submit_import promises
    response.headers["Location"] = local_url(http.scope, job_url(job.id))
    return ImportResponse(job_id=job.id, vector_store_id=job.spec.collection, status=job.status)
