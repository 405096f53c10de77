"""The JSON of documents."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class DocumentResponse(BaseModel):
    """A searchable document."""

    id: str
    object: Literal["document"] = "document"
    collection: str
    filename: str
    title: str
    media_type: str
    size_bytes: int
    pages: int | None
    chunks: int
    created_at: int


class DocumentListResponse(BaseModel):
    """One page of documents; pass `next_after` as `after` for the following one."""

    object: Literal["list"] = "list"
    data: list[DocumentResponse]
    has_more: bool
    next_after: str | None
