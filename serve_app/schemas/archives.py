"""The JSON of imports of collections."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from deployments.types import JobStatus  # noqa: TC001 - pydantic reads annotations
from serve_app.schemas.fields import (
    IMPORT_ID_EXAMPLE,
    JOB_ID_EXAMPLE,
    STORE_ID_EXAMPLE,
    Request,
    example,
)
from serve_app.schemas.paging import Deleted
from serve_app.schemas.vector_stores import StoreName  # noqa: TC001 - as above


class ImportRequest(Request):
    """An archive whose parts have all been sent."""

    model_config = example(
        {"import_id": IMPORT_ID_EXAMPLE, "size_bytes": 48_213_504, "name": "reports"}
    )

    import_id: Annotated[
        str,
        Field(
            pattern=r"^imp_[0-9a-f]{32}$",
            description="Chosen by the client, which sent the parts under it. The same again gives "
            "the job that was begun the first time.",
            examples=[IMPORT_ID_EXAMPLE],
        ),
    ]
    size_bytes: Annotated[
        int, Field(ge=1, le=2**53, description="Of the archive, all parts together.")
    ]
    name: Annotated[
        StoreName | None,
        Field(description="Of the new vector store; without, as in the archive."),
    ] = None


class ImportResponse(BaseModel):
    """The job that imports the archive as a new vector store, which exists once it has begun."""

    model_config = example(
        {"job_id": JOB_ID_EXAMPLE, "vector_store_id": STORE_ID_EXAMPLE, "status": "queued"}
    )

    job_id: str
    vector_store_id: str
    status: JobStatus


class ImportPart(BaseModel):
    """A part of an archive that was received."""

    model_config = example({"import_id": IMPORT_ID_EXAMPLE, "number": 0, "size_bytes": 16_777_216})

    import_id: str
    number: int
    size_bytes: int


class ImportDeleted(Deleted):
    """The parts of an archive are deleted."""

    model_config = example({"id": IMPORT_ID_EXAMPLE, "object": "import.deleted", "deleted": True})

    object: Literal["import.deleted"] = "import.deleted"


class ImportParts(BaseModel):
    """The parts of an archive that were received; a part has `part_bytes`, the last one less."""

    model_config = example(
        {"import_id": IMPORT_ID_EXAMPLE, "part_bytes": 16_777_216, "parts": [0, 1]}
    )

    import_id: str
    part_bytes: int
    parts: list[int]
