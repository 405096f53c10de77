"""`/v1/vector_stores`: OpenAI's shape; a vector store is a collection."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from deployments.catalogue.entries import Expiry, PageQuery
from serve_app.http.body_route import BodyRoute
from serve_app.http.errors import refusals
from serve_app.routes.dependencies import (  # noqa: TC001 - FastAPI reads annotations
    AttachmentsDep,
    FileContentsDep,
    FileListQueryDep,
    KnownFileId,
    StoreId,
    VectorStoresDep,
)
from serve_app.routes.vector_store_shapes import chunking_of, file_shaped, store_shaped
from serve_app.schemas.fields import CollectionName  # noqa: TC001 - as above
from serve_app.schemas.paging import Order, PageSize  # noqa: TC001 - as above
from serve_app.schemas.vector_store_files import (
    AttachmentChanges,
    AttachRequest,
    FileContentPage,
    VectorStoreFile,
    VectorStoreFileDeleted,
    VectorStoreFileList,
)
from serve_app.schemas.vector_stores import (
    VectorStoreChanges,
    VectorStoreDeleted,
    VectorStoreList,
    VectorStoreRequest,
    VectorStoreResponse,
)

router = APIRouter(prefix="/v1/vector_stores", tags=["vector stores"], route_class=BodyRoute)


@router.post("", responses=refusals(400, 404, 413))
async def create_vector_store(
    request: VectorStoreRequest, vector_stores: VectorStoresDep
) -> VectorStoreResponse:
    """Make a vector store, with kept files if any are named."""
    store = await vector_stores.create(
        request.name or "",
        request.metadata or {},
        request.file_ids,
        chunking_of(request.chunking_strategy),
        request.expires_after.days if request.expires_after else None,
    )
    return store_shaped(store)


@router.get("")
async def list_vector_stores(
    vector_stores: VectorStoresDep,
    limit: PageSize = 20,
    after: CollectionName | None = None,
    order: Order = "desc",
) -> VectorStoreList:
    """List vector stores and all other collections, a page at a time."""
    page = await vector_stores.stores(PageQuery(limit, after, newest_first=order == "desc"))
    return VectorStoreList.of(list(map(store_shaped, page.entries)), more=page.more)


@router.get("/{vector_store_id}", responses=refusals(404))
async def get_vector_store(
    vector_store_id: StoreId, vector_stores: VectorStoresDep
) -> VectorStoreResponse:
    """Show a vector store and how many files of it can be searched."""
    return store_shaped(await vector_stores.get(vector_store_id))


@router.post("/{vector_store_id}", responses=refusals(400, 404, 413))
async def change_vector_store(
    vector_store_id: StoreId, request: VectorStoreChanges, vector_stores: VectorStoresDep
) -> VectorStoreResponse:
    """Give a vector store another name, other metadata or another expiry; null removes that."""
    expiry: Expiry | None = None
    if "expires_after" in request.model_fields_set:
        expiry = Expiry(request.expires_after.days if request.expires_after else None)
    store = await vector_stores.change(vector_store_id, request.name, request.metadata, expiry)
    return store_shaped(store)


@router.delete("/{vector_store_id}", responses=refusals(404))
async def delete_vector_store(
    vector_store_id: StoreId, vector_stores: VectorStoresDep
) -> VectorStoreDeleted:
    """Remove a vector store and everything that can be searched in it; kept files stay."""
    await vector_stores.delete(vector_store_id)
    return VectorStoreDeleted(id=vector_store_id)


@router.post("/{vector_store_id}/files", responses=refusals(400, 404, 409, 413))
async def attach_file(
    vector_store_id: StoreId,
    request: AttachRequest,
    vector_stores: VectorStoresDep,
    attachments: AttachmentsDep,
) -> VectorStoreFile:
    """Have a kept file made searchable in a vector store; ask for it to see when it is."""
    await vector_stores.get(vector_store_id)
    chunking = chunking_of(request.chunking_strategy)
    entry = await attachments.add(vector_store_id, request.file_id, request.attributes, chunking)
    return file_shaped(entry, vector_store_id)


@router.get("/{vector_store_id}/files", responses=refusals(404))
async def list_attached_files(
    vector_store_id: StoreId,
    attachments: AttachmentsDep,
    query: FileListQueryDep,
) -> VectorStoreFileList:
    """List the files that were attached, a page at a time."""
    page = await attachments.page(vector_store_id, query.page, query.status)
    shaped = [file_shaped(entry, vector_store_id) for entry in page.entries]
    return VectorStoreFileList.of(shaped, more=page.more)


@router.get("/{vector_store_id}/files/{file_id}", responses=refusals(404))
async def get_attached_file(
    vector_store_id: StoreId, file_id: KnownFileId, attachments: AttachmentsDep
) -> VectorStoreFile:
    """Show how a file stands in a vector store."""
    return file_shaped(await attachments.one(vector_store_id, file_id), vector_store_id)


@router.get(
    "/{vector_store_id}/files/{file_id}/content",
    response_class=Response,
    responses={200: {"model": FileContentPage}, **refusals(404)},
)
async def get_file_text(
    vector_store_id: StoreId,
    file_id: KnownFileId,
    attachments: AttachmentsDep,
    contents: FileContentsDep,
) -> Response:
    """Fetch the text of a file as it was read; the items together are the whole text."""
    entry = await attachments.one(vector_store_id, file_id)
    return StreamingResponse(await contents.json(entry), media_type="application/json")


@router.post("/{vector_store_id}/files/{file_id}", responses=refusals(400, 404, 413))
async def change_attached_file(
    vector_store_id: StoreId,
    file_id: KnownFileId,
    request: AttachmentChanges,
    attachments: AttachmentsDep,
) -> VectorStoreFile:
    """Replace the attributes of a file in a vector store; nothing is embedded again."""
    attributes = request.attributes or {}
    entry = await attachments.set_attributes(vector_store_id, file_id, attributes)
    return file_shaped(entry, vector_store_id)


@router.delete("/{vector_store_id}/files/{file_id}", responses=refusals(404))
async def detach_file(
    vector_store_id: StoreId, file_id: KnownFileId, attachments: AttachmentsDep
) -> VectorStoreFileDeleted:
    """Take a file out of a vector store; the file itself stays."""
    await attachments.remove(vector_store_id, file_id)
    return VectorStoreFileDeleted(id=file_id)
