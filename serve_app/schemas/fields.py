"""The kinds of field that several bodies have, and what all requests share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

CollectionName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


DocumentId = Annotated[str, StringConstraints(pattern=r"^doc_[0-9a-f]{32}$")]


Temperature = Annotated[float, Field(ge=0, le=2)]


TokenCount = Annotated[int, Field(ge=1, le=1_000_000)]


TopK = Annotated[int, Field(ge=1, le=1000)]


DEFAULT_COLLECTION = "default"

JOB_ID_EXAMPLE = "job_" + "5e" * 16
DOCUMENT_ID_EXAMPLE = "doc_" + "7c" * 16
FILE_ID_EXAMPLE = "file-" + "7c" * 16
TIME_EXAMPLE = 1_795_546_410


class Request(BaseModel):
    """A body of one of our own routes: what it does not know, it refuses."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class StreamOptions(Request):
    """OpenAI's."""

    include_usage: bool = False
    include_obfuscation: bool | None = None
