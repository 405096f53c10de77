"""`/v1/files`: OpenAI's shape; a file is kept whole until it is deleted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated
from urllib.parse import quote

from fastapi import APIRouter, Form, Query, Response
from fastapi.responses import StreamingResponse

from deployments.catalogue.entries import PageQuery
from serve_app.http.body_route import BodyRoute
from serve_app.http.errors import refusals
from serve_app.routes.dependencies import (  # noqa: TC001 - FastAPI reads annotations
    AttachmentsDep,
    KeptFilesDep,
    KnownFileId,
)
from serve_app.routes.shapes import download
from serve_app.schemas.fields import FileId  # noqa: TC001 - as above
from serve_app.schemas.files import FileDeleted, FileForm, FileList, FilePurpose, FileResponse
from serve_app.schemas.paging import Order  # noqa: TC001 - as above

if TYPE_CHECKING:
    from deployments.catalogue.entries import FileEntry

router = APIRouter(tags=["files"], route_class=BodyRoute)
_files = APIRouter(prefix="/v1/files", route_class=BodyRoute)


@_files.post("", responses=refusals(400, 413, 422))
async def create_file(
    form: Annotated[FileForm, Form(media_type="multipart/form-data")], kept: KeptFilesDep
) -> FileResponse:
    """Keep a file. It can be searched once it is attached to a vector store."""
    return _shaped(await kept.keep(form.file, form.purpose))


@_files.get("")
async def list_files(
    kept: KeptFilesDep,
    purpose: FilePurpose | None = None,
    limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
    after: FileId | None = None,
    order: Order = "desc",
) -> FileList:
    """List files, a page at a time."""
    page = await kept.files(PageQuery(limit, after, newest_first=order == "desc"), purpose)
    return FileList.of([_shaped(file) for file in page.entries], more=page.more)


@_files.get("/{file_id}", responses=refusals(404))
async def get_file(file_id: KnownFileId, kept: KeptFilesDep) -> FileResponse:
    """Show one file."""
    return _shaped(await kept.file(file_id))


@_files.get(
    "/{file_id}/content",
    response_class=Response,
    responses=download("the bytes of report.pdf", "application/octet-stream") | refusals(404),
)
async def get_file_content(file_id: KnownFileId, kept: KeptFilesDep) -> Response:
    """Fetch what was uploaded, byte for byte."""
    file = await kept.file(file_id)
    return StreamingResponse(
        kept.content(file_id),
        media_type="application/octet-stream",
        headers={
            "Content-Length": str(file.size_bytes),
            # To be saved, never to be shown as if it were a page of this service.
            "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.filename, safe='')}",
            "X-Content-Type-Options": "nosniff",
        },
    )


@_files.delete("/{file_id}", responses=refusals(404))
async def delete_file(
    file_id: KnownFileId, kept: KeptFilesDep, attachments: AttachmentsDep
) -> FileDeleted:
    """Delete a file, and take it out of all vector stores."""
    await kept.file(file_id)
    await attachments.remove_everywhere(file_id)
    await kept.remove(file_id)
    return FileDeleted(id=file_id)


router.include_router(_files)


def _shaped(file: FileEntry) -> FileResponse:
    return FileResponse(
        id=file.id,
        bytes=file.size_bytes,
        created_at=file.created_at,
        filename=file.filename,
        purpose=file.purpose,
    )
