"""Shapes that several routes share: jobs and their URLs, an unknown model, an error event."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from deployments.errors import NotFound
from deployments.llm.grammars.bounds import check_constraints_in_thread
from deployments.types import (
    ImportSpec,
    IngestSpec,
    Job,
    JobKind,
    JobStatus,
    ResponseSpec,
    ZipSpec,
)
from serve_app.http.bounds import check_answer_bounds
from serve_app.http.errors import body_of
from serve_app.http.urls import local_url
from serve_app.schemas.jobs import (
    ImagesInput,
    ImagesResult,
    ImportInput,
    ImportResult,
    IngestInput,
    IngestResult,
    JobError,
    JobImage,
    JobProgress,
    JobResponse,
    ResponseInput,
    ResponseResult,
    UnreadZipFile,
    ZipInput,
    ZipResult,
)
from serve_app.schemas.reading import ReadingWarning
from serve_app.settings import ANSWERING_MODEL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.types import Scope

    from deployments.errors import ServiceError
    from serve_app.schemas.chat import ChatRequest
    from serve_app.schemas.messages.requests import CountTokensRequest
    from serve_app.settings import AppSettings

_SHOWN_CHARS = 100
_INPUTS: dict[JobKind, type[IngestInput | ImagesInput | ImportInput | ZipInput | ResponseInput]] = {
    JobKind.INGEST: IngestInput,
    JobKind.IMAGES: ImagesInput,
    JobKind.IMPORT: ImportInput,
    JobKind.ZIP: ZipInput,
    JobKind.RESPONSE: ResponseInput,
}


def job_url(job_id: str) -> str:
    """Return the path of a job on this service."""
    return f"/v1/jobs/{job_id}"


def image_url(job_id: str, number: int, form: str = "png") -> str:
    """Return the path of a picture on this service."""
    return f"/v1/images/{job_id}/{number}.{form}"


def job_response(job: Job, scope: Scope) -> JobResponse:
    """Return a job as the caller of a request sees it."""
    fields = asdict(job.spec)
    error = None
    if job.status is JobStatus.FAILED:
        error = JobError(
            code=job.error_code or "internal_error", message=job.error_message or "the job failed"
        )
    return JobResponse(
        id=job.id,
        kind=job.kind,
        status=job.status,
        created_at=round(job.created_at, 3),
        updated_at=round(job.updated_at, 3),
        progress=JobProgress(done=job.done, total=job.total),
        cancel_requested=job.cancel_requested,
        input=_INPUTS[job.kind].model_validate(fields),
        result=_result(job, scope),
        error=error,
    )


def unknown_model(model_id: str, *known: str) -> NotFound:
    """Return the error for a model that a route does not have, naming those that it has."""
    names = " or ".join(f"`{name}`" for name in known)
    msg = f"there is no model `{model_id[:_SHOWN_CHARS]}` for this: use {names}"
    return NotFound(msg, param="model", code="model_not_found")


def check_answering_model(model_id: str, settings: AppSettings) -> None:
    """Raise NotFound for a model that is neither `genserve` nor the bare LLM."""
    if model_id not in {ANSWERING_MODEL, settings.llm.served_name}:
        raise unknown_model(model_id, ANSWERING_MODEL, settings.llm.served_name)


async def check_conversation(
    request: ChatRequest | CountTokensRequest,
    settings: AppSettings,
    *,
    texts: Sequence[str],
    max_tokens: int | None,
) -> None:
    """Check the model, the bounds and the schemas of a request with `messages`."""
    check_answering_model(request.model, settings)
    check_answer_bounds(
        settings,
        texts=texts,
        max_tokens=max_tokens,
        top_k=request.context.top_k,
        text_param="messages",
    )
    await check_constraints_in_thread(request.constraints())


def error_event(error: ServiceError) -> str:
    """Return the event that reports an error in the middle of a stream, as OpenAI does."""
    return f"data: {body_of(error).model_dump_json()}\n\n"


def streamable(event: str, whole: dict[str, Any] | None = None) -> dict[int | str, dict[str, Any]]:
    """Describe a response that is JSON or, on request, a stream of events, each by an example.

    `whole` is the example of the JSON where no response model has one.
    """
    content: dict[str, Any] = {"text/event-stream": {"example": event}}
    if whole is not None:
        content["application/json"] = {"example": whole}
    return {200: {"content": content}}


def shown_as(example: Mapping[str, Any]) -> dict[int | str, dict[str, Any]]:
    """Describe a response that has no schema by an example of its JSON."""
    return {200: {"content": {"application/json": {"example": example}}}}


def download(shown: str, *media_types: str) -> dict[int | str, dict[str, Any]]:
    """Describe a response that is a file, by words in place of its bytes."""
    binary = {"schema": {"type": "string", "format": "binary"}, "example": shown}
    return {200: {"content": dict.fromkeys(media_types, binary)}}


def _result(  # noqa: PLR0911 - one for each kind
    job: Job, scope: Scope
) -> IngestResult | ImagesResult | ImportResult | ZipResult | ResponseResult | None:
    if isinstance(job.spec, ZipSpec):
        return _zip_result(job, job.spec.collection)
    if isinstance(job.spec, ResponseSpec):
        return ResponseResult(response_id=job.spec.response_id)
    if isinstance(job.spec, IngestSpec | ImportSpec) and job.status is not JobStatus.SUCCEEDED:
        return None
    if isinstance(job.spec, ImportSpec):
        return ImportResult(vector_store_id=job.spec.collection)
    if isinstance(job.spec, IngestSpec):
        return IngestResult(
            document_id=job.spec.document_id,
            collection=job.spec.collection,
            warnings=list(map(ReadingWarning.model_validate, job.warnings)),
        )
    if job.status in {JobStatus.FAILED, JobStatus.CANCELLED}:
        return None  # its pictures are removed
    return ImagesResult(
        images=[
            JobImage(number=n, url=local_url(scope, image_url(job.id, n))) for n in range(job.done)
        ]
    )


def _zip_result(job: Job, collection: str) -> ZipResult | None:
    if job.outcome is None:
        return None
    return ZipResult(
        collection=collection,
        documents=job.outcome.documents,
        unchanged=job.outcome.unchanged,
        not_read=job.outcome.not_read,
        unread_files=list(map(UnreadZipFile.model_validate, job.outcome.unread)),
        warnings=list(map(ReadingWarning.model_validate, job.warnings)),
    )
