"""The JSON of files: OpenAI's."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import UploadFile  # noqa: TC002 - pydantic reads annotations
from pydantic import BaseModel, Field

from serve_app.schemas.fields import Request
from serve_app.schemas.paging import Listed, Paged

FilePurpose = Literal["assistants", "user_data", "batch", "fine-tune", "vision", "evals"]


class FileForm(Request):
    """The form of a file; its purpose is kept and means nothing here."""

    file: UploadFile
    purpose: Annotated[FilePurpose, Field(examples=["user_data"])]
    # What OpenAI's clients send for an expiry would have to be obeyed.
    expires_after: Annotated[None, Field(description="Not supported: nothing expires.")] = None


class FileResponse(Listed):
    """A kept file."""

    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"


class FileList(Paged[FileResponse]):
    """One page of files; pass `last_id` as `after` for the following one."""


class FileDeleted(BaseModel):
    """OpenAI's."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True
