"""The JSON of jobs: what starts one, how it stands, and the pictures that come of it."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import UploadFile  # noqa: TC002 - pydantic reads annotations
from pydantic import BaseModel, Field

from deployments.types import JobKind, JobStatus  # noqa: TC001 - pydantic reads annotations
from serve_app.schemas.fields import DEFAULT_COLLECTION, CollectionName, Request

MAX_SEED = 2**32 - 1

ImagePrompt = Annotated[str, Field(min_length=1, examples=["a large red circle on a blue ground"])]
ImageSize = Annotated[
    str,
    Field(
        max_length=20,
        description="WIDTHxHEIGHT in pixels, both multiples of 8 within the service's bounds; "
        "`auto` or nothing for its usual size.",
        examples=["128x128"],
    ),
]


class UploadForm(Request):
    """The form of an upload."""

    file: UploadFile
    collection: CollectionName = DEFAULT_COLLECTION


class UploadResponse(BaseModel):
    """The job that makes the file searchable, or has done so; `filename` as it will be shown."""

    job_id: str
    document_id: str
    filename: str
    status: JobStatus


class JobProgress(BaseModel):
    """Chunks stored or images made; `total` is null until it is known."""

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


class IngestResult(BaseModel):
    """Where to find what was made searchable: `GET /v1/documents/{document_id}`."""

    document_id: str
    collection: str


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


class JobResponse(BaseModel):
    """A job as it stands; times are in seconds since the epoch."""

    id: str
    object: Literal["job"] = "job"
    kind: JobKind
    status: JobStatus
    created_at: float
    updated_at: float
    progress: JobProgress
    cancel_requested: bool
    input: IngestInput | ImagesInput
    result: IngestResult | ImagesResult | None
    error: JobError | None


class JobListResponse(BaseModel):
    """One page of jobs, newest first; pass `next_after` as `after` for the following one."""

    object: Literal["list"] = "list"
    data: list[JobResponse]
    has_more: bool
    next_after: str | None


class ImagesRequest(Request):
    """Pictures of one prompt; upper bounds are the service's settings."""

    prompt: ImagePrompt
    count: Annotated[int, Field(ge=1)] = 1
    size: ImageSize | None = None
    steps: Annotated[int, Field(ge=1, description="Denoising steps.")] | None = None
    seed: (
        Annotated[
            int,
            Field(
                ge=0, le=MAX_SEED, description="Of the first picture; drawn at random if missing."
            ),
        ]
        | None
    ) = None


class ImagesAccepted(BaseModel):
    """The job that makes the pictures; `job.input.seed` makes the same ones again."""

    job_id: str
    status: JobStatus
    job: JobResponse


class OpenAIImagesRequest(Request):
    """OpenAI's image generation request."""

    prompt: ImagePrompt
    n: Annotated[int, Field(ge=1, le=10)] | None = None
    size: ImageSize | None = None
    response_format: (
        Annotated[
            Literal["url", "b64_json"],
            Field(
                description="Both are given if missing: OpenAI's default was one, then the other."
            ),
        ]
        | None
    ) = None
    output_format: Literal["png"] | None = None
    background: Literal["auto", "opaque"] | None = None
    stream: Literal[False] | None = None
    # Taken from any client of OpenAI's, and without meaning here: there is one image model.
    model: Annotated[str, Field(max_length=200)] | None = None
    quality: Annotated[str, Field(max_length=20)] | None = None
    style: Annotated[str, Field(max_length=20)] | None = None
    moderation: Annotated[str, Field(max_length=20)] | None = None
    user: str | None = None
    safety_identifier: str | None = None


class OpenAIImage(BaseModel):
    """A picture by its address, as base64, or both."""

    url: str | None = None
    b64_json: str | None = None


class OpenAIImagesResponse(BaseModel):
    """OpenAI's answer, and the job behind it."""

    created: int
    data: list[OpenAIImage]
    size: str
    output_format: Literal["png"] = "png"
    job_id: str
