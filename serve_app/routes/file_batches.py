"""`/v1/vector_stores/{id}/file_batches`: OpenAI's shape."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fastapi import APIRouter

from deployments.catalogue.entries import BatchFile
from deployments.errors import InvalidRequest
from deployments.kept_files import document_id_of
from serve_app.http.body_route import BodyRoute
from serve_app.http.errors import refusals
from serve_app.routes.dependencies import (  # noqa: TC001 - FastAPI reads annotations
    BatchId,
    FileBatchesDep,
    FileListQueryDep,
    StoreId,
)
from serve_app.routes.vector_store_shapes import chunking_of, counts_shaped, file_shaped
from serve_app.schemas.file_batches import FileBatchRequest, FileBatchResponse
from serve_app.schemas.vector_store_files import AttachRequest, VectorStoreFileList

if TYPE_CHECKING:
    from deployments.catalogue.entries import BatchEntry

router = APIRouter(prefix="/v1/vector_stores", tags=["vector stores"], route_class=BodyRoute)


@router.post("/{vector_store_id}/file_batches", responses=refusals(400, 404, 409, 413))
async def create_file_batch(
    vector_store_id: StoreId, request: FileBatchRequest, batches: FileBatchesDep
) -> FileBatchResponse:
    """Have kept files made searchable in a vector store, in turns with the files of other keys."""
    return _shaped(await batches.create(vector_store_id, _files_of(request)))


@router.get("/{vector_store_id}/file_batches/{batch_id}", responses=refusals(404))
async def get_file_batch(
    vector_store_id: StoreId, batch_id: BatchId, batches: FileBatchesDep
) -> FileBatchResponse:
    """Show how the files of a batch stand."""
    return _shaped(await batches.get(vector_store_id, batch_id))


@router.post("/{vector_store_id}/file_batches/{batch_id}/cancel", responses=refusals(404))
async def cancel_file_batch(
    vector_store_id: StoreId, batch_id: BatchId, batches: FileBatchesDep
) -> FileBatchResponse:
    """Stop the files of a batch that are not searchable yet; the others stay."""
    return _shaped(await batches.cancel(vector_store_id, batch_id))


@router.get("/{vector_store_id}/file_batches/{batch_id}/files", responses=refusals(404))
async def list_files_of_batch(
    vector_store_id: StoreId,
    batch_id: BatchId,
    batches: FileBatchesDep,
    query: FileListQueryDep,
) -> VectorStoreFileList:
    """List the files of a batch, a page at a time."""
    page = await batches.files(vector_store_id, batch_id, query.page, query.status)
    shaped = [file_shaped(entry, vector_store_id) for entry in page.entries]
    return VectorStoreFileList.of(shaped, more=page.more)


def _files_of(request: FileBatchRequest) -> list[BatchFile]:
    """Return the files that a request names, each once; raise InvalidRequest if it names none."""
    if (request.file_ids is None) == (request.files is None):
        msg = "name the files either in `file_ids` or in `files`"
        raise InvalidRequest(msg, param="file_ids")
    if request.files is not None:
        named = {file.file_id: file for file in request.files}
    else:
        shared = request.chunking_strategy, request.attributes
        named = {
            file_id: AttachRequest(
                file_id=file_id, chunking_strategy=shared[0], attributes=shared[1]
            )
            for file_id in request.file_ids or ()
        }
    return [
        BatchFile(
            document_id_of(file_id),
            chunking=chunking_of(file.chunking_strategy),
            attributes=file.attributes,
        )
        for file_id, file in named.items()
    ]


def _shaped(batch: BatchEntry) -> FileBatchResponse:
    counts = counts_shaped({status.value: number for status, number in batch.files.items()})
    status: Literal["in_progress", "completed", "cancelled"] = "completed"
    if batch.cancelled:
        status = "cancelled"
    elif counts.in_progress:
        status = "in_progress"
    return FileBatchResponse(
        id=batch.id,
        created_at=batch.created_at,
        vector_store_id=batch.collection,
        status=status,
        file_counts=counts,
    )
