"""The JSON of erasures: what is to be erased, and what was removed."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from serve_app.schemas.fields import (
    DEFAULT_COLLECTION,
    DOCUMENT_ID_EXAMPLE,
    ERASURE_ID_EXAMPLE,
    TIME_EXAMPLE,
    CollectionName,
    DocumentId,
    Request,
    example,
)

WITHOUT_KEYS = "everything"
"""What confirms the erasure of everything where there are no API keys."""


class ErasureRequest(Request):
    """A document to erase, or the confirmation that everything of the API key is to be erased."""

    model_config = example({"document_id": DOCUMENT_ID_EXAMPLE, "collection": "default"})

    document_id: Annotated[
        DocumentId | None,
        Field(description="A document, also one that has been deleted already."),
    ] = None
    collection: Annotated[CollectionName, Field(description="The collection of the document.")] = (
        DEFAULT_COLLECTION
    )
    confirm: Annotated[
        str | None,
        Field(
            max_length=100,
            description="The name of the API key, to erase everything that belongs to it; "
            f"`{WITHOUT_KEYS}` where there are no API keys.",
        ),
    ] = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.document_id is None) == (self.confirm is None):
            msg = "name a document_id, or confirm that everything is to be erased"
            raise ValueError(msg)
        return self


class RemovedCounts(BaseModel):
    """How much was removed so far; `bytes` are those of documents and files as uploaded."""

    collections: int
    documents: int
    versions: int
    files: int
    jobs: int
    bytes: int
    responses: int
    conversations: int


_EXAMPLE: dict[str, Any] = {
    "id": ERASURE_ID_EXAMPLE,
    "object": "erasure",
    "status": "completed",
    "created_at": TIME_EXAMPLE,
    "completed_at": TIME_EXAMPLE + 17,
    "document_id": DOCUMENT_ID_EXAMPLE,
    "collection": "default",
    "removed": {
        "collections": 0,
        "documents": 1,
        "versions": 3,
        "files": 0,
        "jobs": 3,
        "bytes": 48_213,
        "responses": 0,
        "conversations": 0,
    },
}


class ErasureResponse(BaseModel):
    """An erasure; without `document_id` it is of everything."""

    model_config = example(_EXAMPLE)

    id: str
    object: Literal["erasure"] = "erasure"
    status: Literal["in_progress", "completed"]
    created_at: int
    completed_at: int | None
    document_id: str | None
    collection: str | None
    removed: RemovedCounts
