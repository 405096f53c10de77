"""The JSON of files: OpenAI's."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import UploadFile  # noqa: TC002 - pydantic reads annotations
from pydantic import Field, model_validator

from serve_app.schemas.fields import (
    FILE_ID_EXAMPLE,
    TIME_EXAMPLE,
    Request,
    example,
    refuse,
)
from serve_app.schemas.paging import Deleted, Listed, Paged, page_example

FilePurpose = Literal["assistants", "user_data", "batch", "fine-tune", "vision", "evals"]


class FileForm(Request):
    """The form of a file; its purpose is kept and means nothing here."""

    model_config = example({"file": "the bytes of report.pdf", "purpose": "user_data"})

    file: UploadFile
    purpose: Annotated[FilePurpose, Field(examples=["user_data"])]
    expires_after: Annotated[None, Field(description="Not supported: files do not expire.")] = None

    @model_validator(mode="before")
    @classmethod
    def _no_expiry(cls, form: object) -> object:
        # Clients send `expires_after[anchor]` and `expires_after[seconds]`, which would have to be
        # obeyed.
        if isinstance(form, dict) and any(name.startswith("expires_after") for name in form):
            refuse("expires_after: files do not expire here")
        return form


_EXAMPLE = {
    "id": FILE_ID_EXAMPLE,
    "object": "file",
    "bytes": 48_213,
    "created_at": TIME_EXAMPLE,
    "filename": "report.pdf",
    "purpose": "user_data",
    "status": "processed",
}


class FileResponse(Listed):
    """A kept file."""

    model_config = example(_EXAMPLE)

    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["processed"] = "processed"


class FileList(Paged[FileResponse]):
    """One page of files; pass `last_id` as `after` for the following one."""

    model_config = example(page_example(_EXAMPLE))


class FileDeleted(Deleted):
    """OpenAI's."""

    model_config = example({"id": FILE_ID_EXAMPLE, "object": "file", "deleted": True})

    object: Literal["file"] = "file"
