"""The JSON of documents."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from fastapi import UploadFile  # noqa: TC002 - pydantic reads annotations
from pydantic import BaseModel, Field, model_validator
from pydantic_core import PydanticCustomError

from deployments.types import JobStatus, OnConflict  # noqa: TC001 - pydantic reads annotations
from serve_app.schemas.fields import (
    DEFAULT_COLLECTION,
    DOCUMENT_ID_EXAMPLE,
    JOB_ID_EXAMPLE,
    TIME_EXAMPLE,
    CollectionName,
    DocumentName,
    Request,
    example,
)
from serve_app.schemas.filters import (
    ATTRIBUTES_EXAMPLE,
    Attributes,
    FormAttributes,
    ShownAttributes,
)
from serve_app.schemas.jobs import JobError  # noqa: TC001 - pydantic reads annotations
from serve_app.schemas.paging import Listing, listing_example
from serve_app.schemas.reading import WARNING_EXAMPLE, ReadingWarning


class UploadForm(Request):
    """The form of an upload."""

    model_config = example({"file": "the bytes of report.pdf", "collection": "default"})

    file: UploadFile
    collection: CollectionName = DEFAULT_COLLECTION
    on_conflict: Annotated[
        OnConflict,
        Field(
            description="What to do if a document of the collection has the name of the file: "
            "`replace` it by a new version, which is found once it is whole, `keep` it and give "
            "this one another name, or `reject` this one. The same file again changes nothing."
        ),
    ] = "replace"
    attributes: Annotated[
        FormAttributes | None,
        Field(
            description="The attributes of the document, as a JSON object. Without, a document "
            "that exists keeps its own."
        ),
    ] = None


class UploadResponse(BaseModel):
    """The job that makes the file searchable, or has done so; `filename` as it will be shown.

    The files of a ZIP file become documents of their own: then `document_id` and `version` are
    null.
    """

    model_config = example(
        {
            "job_id": JOB_ID_EXAMPLE,
            "document_id": DOCUMENT_ID_EXAMPLE,
            "filename": "report.pdf",
            "version": 1,
            "status": "queued",
        }
    )

    job_id: str
    document_id: str | None
    filename: str
    version: int | None
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
    "version": 1,
    "attributes": ATTRIBUTES_EXAMPLE,
    "warnings": [WARNING_EXAMPLE],
}


class DocumentResponse(BaseModel):
    """A searchable document, in its current version; `warnings` say what was not read of it."""

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
    version: int
    attributes: ShownAttributes
    warnings: list[ReadingWarning]


class DocumentChanges(Request):
    """Another name for a document, or other attributes in place of all it has."""

    model_config = example({"filename": "report-2026.pdf", "attributes": ATTRIBUTES_EXAMPLE})

    filename: DocumentName | None = None
    attributes: Attributes | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if self.filename is None and self.attributes is None:
            raise PydanticCustomError(
                "nothing_to_change",  # noqa: EM101 - a type, not a message
                "name what is to change: `filename` or `attributes`",
            )
        return self


class RestoreRequest(Request):
    """Which earlier version to restore: by default the one before the current version."""

    model_config = example({"version": 1})

    version: Annotated[int, Field(ge=1, le=999_999_999)] | None = None


_VERSION_EXAMPLE = {
    "id": "1",
    "object": "document.version",
    "status": "completed",
    "filename": "report.pdf",
    "size_bytes": 48_213,
    "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
    "author": "alice",
    "created_at": TIME_EXAMPLE,
    "job_id": JOB_ID_EXAMPLE,
    "chunker": "5.90",
    "language": "en",
    "restored_from": None,
    "warnings": [],
    "error": None,
}


class VersionResponse(BaseModel):
    """A version of a document; searches find the completed one.

    `author` is the name of the API key that uploaded it, `sha256` is unknown for what version 0.1
    has stored. `chunker` is the version of the chunker that cut it, with the most tokens of a chunk
    and how many of them overlap. `language` is an ISO 639 code, unknown if the text does not show
    it. `restored_from` is the version whose content it has again.
    """

    model_config = example(_VERSION_EXAMPLE)

    id: str
    object: Literal["document.version"] = "document.version"
    status: Literal["in_progress", "completed", "superseded", "failed", "cancelled"]
    filename: str
    size_bytes: int
    sha256: str | None
    author: str | None
    created_at: int
    job_id: str | None
    chunker: str | None
    language: str | None
    restored_from: int | None = None
    warnings: list[ReadingWarning]
    error: JobError | None = None


class VersionListResponse(Listing[VersionResponse]):
    """One page of versions; pass `next_after` as `after` for the following one."""

    model_config = example(listing_example(_VERSION_EXAMPLE))


class DocumentListResponse(Listing[DocumentResponse]):
    """One page of documents; pass `next_after` as `after` for the following one."""

    model_config = example(listing_example(_EXAMPLE))
