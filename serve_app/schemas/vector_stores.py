"""The JSON of OpenAI's vector stores."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StringConstraints

from serve_app.schemas.fields import (
    STORE_ID_EXAMPLE,
    TIME_EXAMPLE,
    FileId,
    Request,
    example,
    refused_unless,
)
from serve_app.schemas.paging import Deleted, Listed, Paged, page_example
from serve_app.schemas.vector_store_files import Strategy  # noqa: TC001 - read by pydantic

StoreName = Annotated[str, StringConstraints(max_length=256)]
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(max_length=64)],
        Annotated[str, StringConstraints(max_length=512)],
    ],
    Field(max_length=16),
]


class ExpiresAfter(Request):
    """OpenAI's: how many days after its last use a vector store expires.

    Attaching, uploading and searching are uses. An expired vector store can be renewed for a day,
    by setting this again; then it is deleted with everything in it.
    """

    anchor: Literal["last_active_at"]
    days: Annotated[int, Field(ge=1, le=365)]


class VectorStoreRequest(Request):
    """OpenAI's request to make a vector store."""

    model_config = example({"name": "reports", "metadata": {"year": "2026"}})

    name: Annotated[StoreName | None, Field(examples=["reports"])] = None
    file_ids: Annotated[list[FileId], Field(max_length=100, default_factory=list)]
    metadata: Metadata | None = None
    description: Annotated[
        None, refused_unless("", "a vector store has no description here: use `metadata`")
    ] = None
    chunking_strategy: Strategy | None = None
    expires_after: ExpiresAfter | None = None


class VectorStoreChanges(Request):
    """OpenAI's request to change one; what is left out stays. Null removes `expires_after`."""

    model_config = example({"name": "reports of 2026"})

    name: StoreName | None = None
    metadata: Metadata | None = None
    expires_after: ExpiresAfter | None = None


class FileCounts(BaseModel):
    """Documents by how they stand."""

    in_progress: int
    completed: int
    failed: int
    cancelled: int
    total: int


_EXAMPLE: dict[str, Any] = {
    "id": STORE_ID_EXAMPLE,
    "object": "vector_store",
    "created_at": TIME_EXAMPLE,
    "name": "reports",
    "usage_bytes": 48_213,
    "file_counts": {"in_progress": 0, "completed": 1, "failed": 0, "cancelled": 0, "total": 1},
    "status": "completed",
    "last_active_at": TIME_EXAMPLE,
    "metadata": {"year": "2026"},
}


class VectorStoreResponse(Listed):
    """OpenAI's; the id is the name of a collection. `usage_bytes` is the size of the files."""

    model_config = example(_EXAMPLE)

    object: Literal["vector_store"] = "vector_store"
    created_at: int
    name: str
    usage_bytes: int
    file_counts: FileCounts
    status: Literal["in_progress", "completed", "expired"]
    expires_after: ExpiresAfter | None = None
    expires_at: int | None = None
    last_active_at: int | None = None
    metadata: dict[str, str]


class VectorStoreList(Paged[VectorStoreResponse]):
    """One page of vector stores; pass `last_id` as `after` for the following one."""

    model_config = example(page_example(_EXAMPLE))


class VectorStoreDeleted(Deleted):
    """OpenAI's."""

    model_config = example(
        {"id": STORE_ID_EXAMPLE, "object": "vector_store.deleted", "deleted": True}
    )

    object: Literal["vector_store.deleted"] = "vector_store.deleted"
