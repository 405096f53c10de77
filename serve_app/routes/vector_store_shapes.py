"""Shapes of vector stores and their files that several routes share: OpenAI's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from deployments.catalogue.entries import LOST, DocumentStatus
from deployments.errors import (
    DeadlineExceeded,
    Overloaded,
    ServiceError,
    Unavailable,
    UnsupportedMedia,
)
from deployments.kept_files import file_id_of
from deployments.types import Chunking
from serve_app.schemas.reading import ReadingWarning
from serve_app.schemas.vector_store_files import (
    ChunkSizes,
    FileError,
    OtherChunking,
    StaticChunking,
    VectorStoreFile,
)
from serve_app.schemas.vector_stores import ExpiresAfter, FileCounts, VectorStoreResponse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deployments.catalogue.entries import CollectionEntry, DocumentEntry
    from serve_app.schemas.vector_store_files import Strategy

_ERROR_CODES: dict[str, Literal["server_error", "unsupported_file"]] = {
    LOST: "server_error",
    UnsupportedMedia.code: "unsupported_file",
    ServiceError.code: "server_error",
    Unavailable.code: "server_error",
    Overloaded.code: "server_error",
    DeadlineExceeded.code: "server_error",
}


def chunking_of(strategy: Strategy | None) -> Chunking | None:
    """Return the chunking that a request asks for; None for the service's own."""
    if not isinstance(strategy, StaticChunking):
        return None
    sizes = strategy.static
    return Chunking(sizes.max_chunk_size_tokens, sizes.chunk_overlap_tokens)


def counts_shaped(files: Mapping[str, int]) -> FileCounts:
    """Return the numbers of files by their status, with their sum."""
    counts = {status.value: files.get(status.value, 0) for status in DocumentStatus}
    return FileCounts(**counts, total=sum(counts.values()))


def store_shaped(store: CollectionEntry) -> VectorStoreResponse:
    """Return a vector store in OpenAI's shape."""
    counts = counts_shaped(
        {status.value: getattr(store, status.value) for status in DocumentStatus}
    )
    status: Literal["in_progress", "completed", "expired"] = "completed"
    if store.expired:
        status = "expired"
    elif counts.in_progress:
        status = "in_progress"
    days = store.expires_days
    return VectorStoreResponse(
        id=store.id,
        created_at=store.created_at,
        name=store.name,
        usage_bytes=store.size_bytes,
        file_counts=counts,
        status=status,
        expires_after=None if days is None else ExpiresAfter(anchor="last_active_at", days=days),
        expires_at=store.expires_at,
        last_active_at=store.active_at or store.created_at or None,
        metadata=dict(store.metadata),
    )


def file_shaped(entry: DocumentEntry, store_id: str) -> VectorStoreFile:
    """Return a file in a vector store in OpenAI's shape."""
    document, error = entry.document, None
    if entry.status is DocumentStatus.FAILED:
        error = FileError(
            code=_ERROR_CODES.get(entry.error_code or "", "invalid_file"),
            message=entry.error_message or "the file could not be read",
        )
    return VectorStoreFile(
        id=file_id_of(document.id),
        created_at=int(document.created_at),
        vector_store_id=store_id,
        status=entry.status.value,
        last_error=error,
        attributes=dict(document.attributes),
        chunking_strategy=_strategy_shaped(entry.chunking),
        warnings=list(map(ReadingWarning.model_validate, document.warnings)),
        usage_bytes=document.size_bytes if entry.status is DocumentStatus.COMPLETED else 0,
    )


def _strategy_shaped(chunking: Chunking | None) -> StaticChunking | OtherChunking:
    if chunking is None:
        return OtherChunking()
    sizes = ChunkSizes(
        max_chunk_size_tokens=chunking.max_tokens, chunk_overlap_tokens=chunking.overlap_tokens
    )
    return StaticChunking(type="static", static=sizes)
