"""The JSON of jobs: their status, progress and result."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from deployments.types import (  # noqa: TC001 - pydantic reads annotations
    JobKind,
    JobStatus,
)
from serve_app.schemas.fields import (
    JOB_ID_EXAMPLE,
    TIME_EXAMPLE,
    example,
)
from serve_app.schemas.paging import Listing, listing_example
from serve_app.schemas.reading import ReadingWarning  # noqa: TC001 - pydantic reads annotations


class JobProgress(BaseModel):
    """Chunks stored, images made, documents imported, files of a ZIP file or responses done.

    `total` is null until it is known.
    """

    done: int
    total: int | None


class IngestInput(BaseModel):
    """What an ingest job was given."""

    document_id: str
    collection: str
    filename: str
    size_bytes: int


class ImagesInput(BaseModel):
    """What an images job was given; the n-th picture, from 0, has the seed `seed` + n."""

    prompt: str
    count: int
    width: int
    height: int
    steps: int
    seed: int


class ImportInput(BaseModel):
    """What an import job was given; `name` is null if that in the archive is taken."""

    collection: str
    name: str | None
    size_bytes: int


class ZipInput(BaseModel):
    """What a zip job was given."""

    collection: str
    filename: str
    size_bytes: int


class ResponseInput(BaseModel):
    """The input of a response job; the response is at `GET /v1/responses/{response_id}`."""

    response_id: str
    model: str


class UnreadZipFile(BaseModel):
    """A file of a ZIP file that became no document, and why."""

    model_config = ConfigDict(from_attributes=True)

    filename: str
    code: str
    message: str


class ZipResult(BaseModel):
    """What became of the files of a ZIP file, also while others are still being read.

    `documents` were made searchable, by their paths in the ZIP file as names; `unchanged` were so
    before; `not_read` became no documents, of which `unread_files` names at most 200. `warnings`
    are those of the documents, each beginning with a name; the documents have those beyond 200.
    """

    collection: str
    documents: int
    unchanged: int
    not_read: int
    unread_files: list[UnreadZipFile]
    warnings: list[ReadingWarning]


class ImportResult(BaseModel):
    """The vector store that was imported."""

    vector_store_id: str


class ResponseResult(BaseModel):
    """The response, while it is generated and afterwards."""

    response_id: str


class IngestResult(BaseModel):
    """Where to find what was made searchable: `GET /v1/documents/{document_id}`."""

    document_id: str
    collection: str
    warnings: list[ReadingWarning]


class JobImage(BaseModel):
    """A finished picture; `url` is a path below the address of this service."""

    number: int
    url: str


class ImagesResult(BaseModel):
    """The pictures that are finished, also while others are still being made."""

    images: list[JobImage]


class JobError(BaseModel):
    """Why a job failed."""

    code: str
    message: str


JOB_EXAMPLE: dict[str, Any] = {
    "id": JOB_ID_EXAMPLE,
    "object": "job",
    "kind": "images",
    "status": "running",
    "created_at": float(TIME_EXAMPLE),
    "updated_at": TIME_EXAMPLE + 1.5,
    "progress": {"done": 1, "total": 4},
    "cancel_requested": False,
    "input": {
        "prompt": "a large red circle on a blue background",
        "count": 4,
        "width": 128,
        "height": 128,
        "steps": 20,
        "seed": 7,
    },
    "result": {"images": [{"number": 0, "url": f"/v1/images/{JOB_ID_EXAMPLE}/0.png"}]},
}
JOB_EVENT_EXAMPLE = 'event: job\ndata: {"id": "...", "status": "running"}\n\n'


class JobResponse(BaseModel):
    """A job as it stands; times are in seconds since the epoch."""

    model_config = example(JOB_EXAMPLE)

    id: str
    object: Literal["job"] = "job"
    kind: JobKind
    status: JobStatus
    created_at: float
    updated_at: float
    progress: JobProgress
    cancel_requested: bool
    input: IngestInput | ImagesInput | ImportInput | ZipInput | ResponseInput
    result: IngestResult | ImagesResult | ImportResult | ZipResult | ResponseResult | None
    error: JobError | None = None


class JobListResponse(Listing[JobResponse]):
    """One page of jobs, newest first; pass `next_after` as `after` for the following one."""

    model_config = example(listing_example(JOB_EXAMPLE))
