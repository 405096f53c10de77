"""Pictures: made in the background or while one waits, and fetched."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Header, Path, Request, Response

from deployments.errors import NotFound
from deployments.file_store import image_path
from serve_app.http.body_route import BodyRoute
from serve_app.http.errors import refusals
from serve_app.http.urls import base_url, local_url
from serve_app.images import images_spec
from serve_app.picture_formats import DEFAULT_QUALITY, MEDIA_TYPES, encode_picture
from serve_app.routes.dependencies import (  # noqa: TC001 - FastAPI reads annotations
    FilesDep,
    IdempotencyKey,
    ImagingDep,
    JobId,
    ServicesDep,
    SettingsDep,
)
from serve_app.routes.shapes import download, image_url, job_response, job_url
from serve_app.schemas.images import (
    ImagesAccepted,
    ImagesRequest,
    OpenAIImage,
    OpenAIImagesRequest,
    OpenAIImagesResponse,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

router = APIRouter(tags=["images"], route_class=BodyRoute)
_PICTURE = re.compile(rf"(0|[1-9][0-9]{{0,8}})\.({'|'.join(MEDIA_TYPES)})")
_CACHED = "private, max-age=31536000, immutable"


@router.post(
    "/generate/image/background",
    status_code=HTTPStatus.ACCEPTED,
    responses={
        202: {"headers": {"Location": {"description": "The job.", "schema": {"type": "string"}}}},
        **refusals(400, 409, 413),
    },
)
async def generate_images(  # noqa: PLR0913 - what FastAPI hands in
    request: ImagesRequest,
    *,
    services: ServicesDep,
    settings: SettingsDep,
    http: Request,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> ImagesAccepted:
    """Have pictures made in the background; follow the job to see them come."""
    spec = images_spec(settings, **request.model_dump(), key=idempotency_key)
    job = (await services.jobs.submit_images(spec, idempotency_key)).job
    response.headers["Location"] = local_url(http.scope, job_url(job.id))
    return ImagesAccepted(job_id=job.id, status=job.status, job=job_response(job, http.scope))


@router.get(
    "/v1/images/{job_id}/{picture}",
    response_class=Response,
    responses={
        **download("the bytes of a picture", *MEDIA_TYPES.values()),
        304: {"description": "It is the one that `If-None-Match` names."},
        **refusals(404),
    },
)
async def get_image(
    job_id: JobId,
    picture: Annotated[str, Path(examples=["0.png"], description="Also `0.jpeg` and `0.webp`.")],
    services: ServicesDep,
    files: FilesDep,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Fetch the n-th picture of a job, from 0, as soon as it is finished."""
    named = _PICTURE.fullmatch(picture)
    if named is None:
        raise _no_picture()
    number, form = named.groups()
    try:
        await services.jobs.job(job_id)  # is it the caller's?
        png = await files.get(image_path(job_id, int(number)))
    except NotFound:
        raise _no_picture() from None
    content = await asyncio.to_thread(encode_picture, png, form)
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {
        "ETag": etag,
        "Cache-Control": _CACHED,
        "Content-Disposition": f'inline; filename="{job_id}-{number}.{form}"',
        "X-Content-Type-Options": "nosniff",
    }
    if _names(if_none_match, etag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(content, media_type=MEDIA_TYPES[form], headers=headers)


@router.post(
    "/v1/images/generations",
    response_model_exclude_none=True,
    responses=refusals(400, 409, 413, 504),
)
async def create_images(  # noqa: PLR0913 - what FastAPI hands in
    request: OpenAIImagesRequest,
    *,
    imaging: ImagingDep,
    settings: SettingsDep,
    files: FilesDep,
    http: Request,
    idempotency_key: IdempotencyKey = None,
) -> OpenAIImagesResponse:
    """Have pictures made and wait for them, in OpenAI's shape.

    Addresses last as long as the job is kept. A client that leaves cancels what it asked for.
    """
    spec = images_spec(
        settings,
        prompt=request.prompt,
        count=request.n or 1,
        size=request.size,
        key=idempotency_key,
        count_param="n",
    )
    job = await imaging.made(spec, idempotency_key)
    numbers, form = range(spec.count), request.output_format or "png"
    urls: list[str | None] = [None] * spec.count
    contents: Sequence[str | None] = [None] * spec.count
    if request.response_format != "b64_json":
        base = base_url(http.scope, settings.public_url)
        urls = [base + image_url(job.id, number, form) for number in numbers]
    if request.response_format != "url":
        pngs = await asyncio.gather(*(files.get(image_path(job.id, n)) for n in numbers))
        quality = request.output_compression
        contents = await asyncio.gather(
            *(
                asyncio.to_thread(
                    _base64, png, form, DEFAULT_QUALITY if quality is None else quality
                )
                for png in pngs
            )
        )
    return OpenAIImagesResponse(
        created=int(job.created_at),
        data=[
            OpenAIImage(url=url, b64_json=content)
            for url, content in zip(urls, contents, strict=True)
        ],
        size=f"{spec.width}x{spec.height}",
        output_format=form,
        job_id=job.id,
    )


def _base64(png: bytes, form: str, quality: int) -> str:
    return base64.b64encode(encode_picture(png, form, quality)).decode()


def _names(if_none_match: str | None, etag: str) -> bool:
    tags = {tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")}
    return etag in tags or "*" in tags


def _no_picture() -> NotFound:
    msg = "there is no such picture, or not yet"
    return NotFound(msg)
