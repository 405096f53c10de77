"""The JSON of pictures: our own requests, and OpenAI's."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from deployments.types import JobStatus  # noqa: TC001 - pydantic reads annotations
from serve_app.picture_formats import PictureFormat  # noqa: TC001 - pydantic reads annotations
from serve_app.schemas.fields import (
    JOB_ID_EXAMPLE,
    TIME_EXAMPLE,
    Request,
    example,
    refused_unless,
    refused_value,
)
from serve_app.schemas.jobs import JOB_EXAMPLE, JobResponse

MAX_SEED = 2**32 - 1
_NOT_ANIMATED = "this model draws single pictures"

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


class ImagesRequest(Request):
    """Pictures of one prompt; upper bounds are the service's settings."""

    model_config = example(
        {"prompt": "a large red circle on a blue background", "count": 4, "seed": 7}
    )

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

    model_config = example({"job_id": JOB_ID_EXAMPLE, "status": "running", "job": JOB_EXAMPLE})

    job_id: str
    status: JobStatus
    job: JobResponse


class OpenAIImagesRequest(Request):
    """OpenAI's image generation request."""

    model_config = example({"prompt": "a small blue star", "n": 1})

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
    output_format: PictureFormat | None = None
    output_compression: (
        Annotated[int, Field(ge=0, le=100, description="The quality of JPEG and WebP.")] | None
    ) = None
    background: Annotated[
        Literal["auto", "opaque"] | None,
        refused_value("transparent", "this model draws no transparent background"),
    ] = None
    # Refused, as ignoring them would mislead.
    stream: Annotated[
        None,
        refused_unless(False, "pictures are sent whole: they are not streamed"),  # noqa: FBT003
    ] = None
    partial_images: Annotated[
        None, refused_unless(0, "pictures are sent whole: there are no partial ones")
    ] = None
    frame_count: Annotated[None, refused_unless(1, _NOT_ANIMATED)] = None
    frame_duration_ms: Annotated[None, refused_unless(None, _NOT_ANIMATED)] = None
    svg: Annotated[None, refused_unless(None, "this model draws pixels, no SVG")] = None
    # Accepted because OpenAI's clients send them; they have no effect: there is one image model.
    model: Annotated[str, Field(max_length=200)] | None = None
    quality: Annotated[str, Field(max_length=20)] | None = None
    complexity: Annotated[str, Field(max_length=20)] | None = None
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

    model_config = example(
        {
            "created": TIME_EXAMPLE,
            "data": [{"url": f"http://127.0.0.1:8000/v1/images/{JOB_ID_EXAMPLE}/0.png"}],
            "size": "128x128",
            "output_format": "png",
            "job_id": JOB_ID_EXAMPLE,
        }
    )

    created: int
    data: list[OpenAIImage]
    size: str
    output_format: PictureFormat = "png"
    job_id: str
