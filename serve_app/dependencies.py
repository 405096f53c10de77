"""What routes ask for: the capabilities and the settings of this application.

Coroutines, for FastAPI would look a plain function up in a thread of its own.
"""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Depends, Header, Path, Request

from deployments.errors import NotFound
from deployments.file_store import FileStore
from serve_app.answering.answer import Answering
from serve_app.imaging import Imaging
from serve_app.services import Services
from serve_app.settings import AppSettings
from serve_app.uploads import Uploads

_JOB_ID = re.compile(r"job_[0-9a-f]{32}")


async def _services(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


async def _settings(request: Request) -> AppSettings:
    settings: AppSettings = request.app.state.settings
    return settings


async def _answering(request: Request) -> Answering:
    answering: Answering = request.app.state.answering
    return answering


async def _files(request: Request) -> FileStore:
    files: FileStore = request.app.state.files
    return files


async def _uploads(request: Request) -> Uploads:
    uploads: Uploads = request.app.state.uploads
    return uploads


async def _imaging(request: Request) -> Imaging:
    imaging: Imaging = request.app.state.imaging
    return imaging


async def _job_id(job_id: Annotated[str, Path(examples=["job_" + "0" * 32])]) -> str:
    # An id that cannot be is one that is not there: 404 like any other, rather than 422.
    if not _JOB_ID.fullmatch(job_id):
        msg = "there is no such job"
        raise NotFound(msg, param="job_id")
    return job_id


ServicesDep = Annotated[Services, Depends(_services)]
SettingsDep = Annotated[AppSettings, Depends(_settings)]
AnsweringDep = Annotated[Answering, Depends(_answering)]
FilesDep = Annotated[FileStore, Depends(_files)]
UploadsDep = Annotated[Uploads, Depends(_uploads)]
ImagingDep = Annotated[Imaging, Depends(_imaging)]
JobId = Annotated[str, Depends(_job_id)]

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x20-\x7e]+$",
        description="Sent again with the same key, a request gives the job that it began the "
        "first time. 409 if the key was used for something else.",
    ),
]
"""Of the routes that begin a job."""
