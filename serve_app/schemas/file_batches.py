"""The JSON of file batches in vector stores: OpenAI's."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from serve_app.schemas.fields import (
    FILE_ID_EXAMPLE,
    STORE_ID_EXAMPLE,
    TIME_EXAMPLE,
    FileId,
    Request,
    example,
)
from serve_app.schemas.filters import Attributes  # noqa: TC001 - pydantic reads annotations
from serve_app.schemas.vector_store_files import (  # noqa: TC001 - pydantic reads annotations
    AttachRequest,
    Strategy,
)
from serve_app.schemas.vector_stores import FileCounts  # noqa: TC001 - as above

MAX_BATCH_FILES = 2000
"""OpenAI's bound."""
BATCH_ID_EXAMPLE = "vsfb_" + "3d" * 12


class FileBatchRequest(Request):
    """OpenAI's request to put many files into a vector store: `file_ids` or `files`.

    `attributes` and `chunking_strategy` are for `file_ids`; each of the `files` has its own.
    """

    model_config = example({"file_ids": [FILE_ID_EXAMPLE]})

    file_ids: Annotated[list[FileId], Field(min_length=1, max_length=MAX_BATCH_FILES)] | None = None
    files: (
        Annotated[list[AttachRequest], Field(min_length=1, max_length=MAX_BATCH_FILES)] | None
    ) = None
    attributes: Attributes | None = None
    chunking_strategy: Strategy | None = None


_EXAMPLE: dict[str, Any] = {
    "id": BATCH_ID_EXAMPLE,
    "object": "vector_store.files_batch",
    "created_at": TIME_EXAMPLE,
    "vector_store_id": STORE_ID_EXAMPLE,
    "status": "in_progress",
    "file_counts": {"in_progress": 1, "completed": 3, "failed": 0, "cancelled": 0, "total": 4},
}


class FileBatchResponse(BaseModel):
    """A file batch; a file that fails does not fail the batch.

    A file that was taken out of the store since counts as cancelled.
    """

    model_config = example(_EXAMPLE)

    id: str
    object: Literal["vector_store.files_batch"] = "vector_store.files_batch"
    created_at: int
    vector_store_id: str
    status: Literal["in_progress", "completed", "cancelled", "failed"]
    file_counts: FileCounts
