"""Erasures: of a document, or of everything that belongs to an API key."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi import APIRouter

from deployments.errors import InvalidRequest
from serve_app.http.body_route import BodyRoute
from serve_app.http.errors import refusals
from serve_app.routes.dependencies import (  # noqa: TC001 - FastAPI reads annotations
    ErasureId,
    ErasuresDep,
)
from serve_app.schemas.erasures import (
    WITHOUT_KEYS,
    ErasureRequest,
    ErasureResponse,
    RemovedCounts,
)

if TYPE_CHECKING:
    from deployments.catalogue.entries import ErasureEntry

router = APIRouter(prefix="/v1/erasures", tags=["erasures"], route_class=BodyRoute)


@router.post("", status_code=HTTPStatus.ACCEPTED, responses=refusals(400, 409))
async def create_erasure(request: ErasureRequest, erasures: ErasuresDep) -> ErasureResponse:
    """Erase a document in all its versions, or everything of the API key, in the background.

    Vectors, uploads, kept files, pictures, jobs with their inputs, stored responses, conversations
    and entries are removed from the disk too; a deletion leaves some of that for a while. While
    everything is being erased, nothing new is accepted: 409 with the code `being_erased`. The kept
    file that a document was made of is erased with it, unless it is in another vector store too.
    It cannot be undone.
    """
    if request.document_id is not None:
        erasure = await erasures.request_document(request.collection, request.document_id)
        return _shaped(erasure)
    name = erasures.owner or WITHOUT_KEYS
    if request.confirm != name:
        msg = f"nothing was erased: to erase everything, set `confirm` to {name!r}"
        raise InvalidRequest(msg, code="not_confirmed", param="confirm")
    return _shaped(await erasures.request_everything())


@router.get("/{erasure_id}", responses=refusals(404))
async def get_erasure(erasure_id: ErasureId, erasures: ErasuresDep) -> ErasureResponse:
    """Show what an erasure has removed, and whether it is completed."""
    return _shaped(await erasures.get(erasure_id))


def _shaped(erasure: ErasureEntry) -> ErasureResponse:
    removed, finished_at = erasure.removed, erasure.finished_at
    return ErasureResponse(
        id=erasure.id,
        status="in_progress" if finished_at is None else "completed",
        created_at=int(erasure.created_at),
        completed_at=None if finished_at is None else int(finished_at),
        document_id=erasure.document_id,
        collection=erasure.collection,
        removed=RemovedCounts(
            collections=removed.collections,
            documents=removed.documents,
            versions=removed.versions,
            files=removed.files,
            jobs=removed.jobs,
            bytes=removed.size_bytes,
            responses=removed.responses,
            conversations=removed.conversations,
        ),
    )
