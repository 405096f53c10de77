"""The kinds of field that several bodies have, and what all requests share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, StringConstraints

from deployments.document_ids import DOCUMENT_ID

CollectionName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")]


Temperature = Annotated[float, Field(ge=0, le=2)]


TokenCount = Annotated[int, Field(ge=1, le=1_000_000)]


TopK = Annotated[int, Field(ge=1, le=1000)]


DEFAULT_COLLECTION = "default"

# In the examples of the API reference.
JOB_ID_EXAMPLE = "job_" + "5e" * 16
DOCUMENT_ID_EXAMPLE = "doc_" + "7c" * 16
FILE_ID_EXAMPLE = "file-" + "7c" * 16
ERASURE_ID_EXAMPLE = "era_" + "7c" * 16
IMPORT_ID_EXAMPLE = "imp_" + "7c" * 16
STORE_ID_EXAMPLE = "vs_4f1c09ab7d2e4c6f8a1b2c3d"
TIME_EXAMPLE = 1_795_546_410

DocumentId = Annotated[
    str, StringConstraints(pattern=rf"^{DOCUMENT_ID}$"), Field(examples=[DOCUMENT_ID_EXAMPLE])
]
DocumentName = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, pattern=r"^[^/\\\x00-\x1f\x7f]+$"),
    Field(examples=["report.pdf"]),
]
FileId = Annotated[
    str, StringConstraints(pattern=r"^file-[0-9a-f]{32}$"), Field(examples=[FILE_ID_EXAMPLE])
]


def example(body: dict[str, Any]) -> ConfigDict:
    """Return the configuration of a model that the API reference shows by this body.

    FastAPI drops null from the reference, so an example has to show required fields filled.
    """
    return ConfigDict(json_schema_extra={"examples": [body]})


TEXT_OR_LIST = Discriminator(lambda value: "list" if isinstance(value, list) else "text")
"""Chooses between the tags `text` and `list` of a union.

Without it, the error for a list that is too long says that it is not a string.
"""


class Request(BaseModel):
    """A body of one of our own routes: what it does not know, it refuses."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class StreamOptions(Request):
    """OpenAI's."""

    include_usage: bool = False
    include_obfuscation: bool | None = None
