"""The JSON of documents."""

from __future__ import annotations

from typing import Literal

from fastapi import UploadFile  # noqa: TC002 - pydantic reads annotations
from pydantic import BaseModel

from deployments.types import JobStatus  # noqa: TC001 - pydantic reads annotations
from serve_app.schemas.fields import (
    DEFAULT_COLLECTION,
    DOCUMENT_ID_EXAMPLE,
    JOB_ID_EXAMPLE,
    TIME_EXAMPLE,
    CollectionName,
    Request,
    example,
)
from serve_app.schemas.paging import Listing, listing_example


class UploadForm(Request):
    """The form of an upload."""

    model_config = example({"file": "the bytes of report.pdf", "collection": "default"})

    file: UploadFile
    collection: CollectionName = DEFAULT_COLLECTION


class UploadResponse(BaseModel):
    """The job that makes the file searchable, or has done so; `filename` as it will be shown."""

    model_config = example(
        {
            "job_id": JOB_ID_EXAMPLE,
            "document_id": DOCUMENT_ID_EXAMPLE,
            "filename": "report.pdf",
            "status": "queued",
        }
    )

    job_id: str
    document_id: str
    filename: str
    status: JobStatus


_EXAMPLE = {
    "id": DOCUMENT_ID_EXAMPLE,
    "object": "document",
    "collection": "default",
    "filename": "report.pdf",
    "title": "Annual report",
    "media_type": "application/pdf",
    "size_bytes": 48_213,
    "pages": 12,
    "chunks": 96,
    "created_at": TIME_EXAMPLE,
}


class DocumentResponse(BaseModel):
    """A searchable document."""

    model_config = example(_EXAMPLE)

    id: str
    object: Literal["document"] = "document"
    collection: str
    filename: str
    title: str
    media_type: str
    size_bytes: int
    pages: int | None
    chunks: int
    created_at: int


class DocumentListResponse(Listing[DocumentResponse]):
    """One page of documents; pass `next_after` as `after` for the following one."""

    model_config = example(listing_example(_EXAMPLE))
