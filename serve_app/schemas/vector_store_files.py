"""The JSON of files in vector stores: OpenAI's."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from serve_app.schemas.fields import (
    FILE_ID_EXAMPLE,
    STORE_ID_EXAMPLE,
    TIME_EXAMPLE,
    FileId,
    Request,
    example,
)
from serve_app.schemas.filters import ATTRIBUTES_EXAMPLE, Attributes, ShownAttributes
from serve_app.schemas.paging import Deleted, Listed, Paged, page_example
from serve_app.schemas.reading import ReadingWarning  # noqa: TC001 - pydantic reads annotations


class AutoChunking(Request):
    """OpenAI's `auto`: the service cuts documents itself, at its own settings."""

    type: Literal["auto"]


class ChunkSizes(Request):
    """OpenAI's sizes and bounds, in tokens of the embedding model."""

    max_chunk_size_tokens: Annotated[int, Field(ge=100, le=4096)]
    chunk_overlap_tokens: Annotated[
        int, Field(ge=0, le=2048, description="At most half of `max_chunk_size_tokens`.")
    ]

    @field_validator("chunk_overlap_tokens")
    @classmethod
    def _at_most_half(cls, value: int, info: ValidationInfo) -> int:
        if value > info.data.get("max_chunk_size_tokens", 4096) // 2:
            raise PydanticCustomError(
                "too_long",  # noqa: EM101 - a type, not a message
                "at most half of max_chunk_size_tokens",
            )
        return value


class StaticChunking(Request):
    """OpenAI's `static`: chunks of this length, each repeating the end of the one before."""

    type: Literal["static"]
    static: ChunkSizes


class OtherChunking(BaseModel):
    """OpenAI's for a strategy that has no sizes: the service's own."""

    type: Literal["other"] = "other"


Strategy = Annotated[AutoChunking | StaticChunking, Field(discriminator="type")]


class AttachRequest(Request):
    """OpenAI's request to put a file into a vector store."""

    model_config = example({"file_id": FILE_ID_EXAMPLE, "attributes": ATTRIBUTES_EXAMPLE})

    file_id: FileId
    attributes: Attributes | None = None
    chunking_strategy: Strategy | None = None


class AttachmentChanges(Request):
    """OpenAI's request to replace the attributes of a file in a vector store."""

    model_config = example({"attributes": ATTRIBUTES_EXAMPLE})

    attributes: Attributes | None


class FileError(BaseModel):
    """Why a file could not be made searchable."""

    code: Literal["server_error", "unsupported_file", "invalid_file"]
    message: str


_EXAMPLE: dict[str, Any] = {
    "id": FILE_ID_EXAMPLE,
    "object": "vector_store.file",
    "created_at": TIME_EXAMPLE,
    "vector_store_id": STORE_ID_EXAMPLE,
    "status": "failed",
    "last_error": {"code": "unsupported_file", "message": "The file's format is not read."},
    "usage_bytes": 0,
    "attributes": ATTRIBUTES_EXAMPLE,
    "chunking_strategy": {"type": "other"},
    "warnings": [],
}


class VectorStoreFile(Listed):
    """A file in a vector store; it can be searched once `status` is `completed`.

    `warnings`, which OpenAI does not have, say what was not read of it.
    """

    model_config = example(_EXAMPLE)

    object: Literal["vector_store.file"] = "vector_store.file"
    created_at: int
    vector_store_id: str
    status: Literal["in_progress", "completed", "failed", "cancelled"]
    last_error: FileError | None
    usage_bytes: int
    attributes: ShownAttributes
    chunking_strategy: StaticChunking | OtherChunking
    warnings: list[ReadingWarning]


class FileContentItem(BaseModel):
    """A part of the text of a file, with the white space before it."""

    type: Literal["text"] = "text"
    text: str


class FileContentPage(BaseModel):
    """The text of a file as it was read: OpenAI's. There is one page only."""

    model_config = example(
        {
            "object": "vector_store.file_content.page",
            "data": [{"type": "text", "text": "Costs fell by a tenth in 2026."}],
            "has_more": False,
            "next_page": None,
        }
    )

    object: Literal["vector_store.file_content.page"] = "vector_store.file_content.page"
    data: list[FileContentItem]
    has_more: Literal[False] = False
    next_page: None = None


class VectorStoreFileList(Paged[VectorStoreFile]):
    """One page of files in a vector store; pass `last_id` as `after` for the following one."""

    model_config = example(page_example(_EXAMPLE))


class VectorStoreFileDeleted(Deleted):
    """OpenAI's."""

    model_config = example(
        {"id": FILE_ID_EXAMPLE, "object": "vector_store.file.deleted", "deleted": True}
    )

    object: Literal["vector_store.file.deleted"] = "vector_store.file.deleted"
