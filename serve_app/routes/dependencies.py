"""What routes ask for: the capabilities and the settings of this application.

Coroutines, for FastAPI would look a plain function up in a thread of its own.
"""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import Depends, Header, Path, Request
from fastapi.dependencies.utils import get_flat_dependant

from deployments.errors import InvalidRequest, NotFound, Unprocessable
from deployments.file_store import FileStore
from serve_app.access.rate_limits import Allowance
from serve_app.accounts import Account  # noqa: TC001 - as the others
from serve_app.answering.answer import Answering
from serve_app.documents.files import KeptFiles
from serve_app.documents.uploads import Uploads
from serve_app.documents.vector_stores import VectorStores
from serve_app.images import Imaging
from serve_app.readiness import ReadinessProbe
from serve_app.services import Services
from serve_app.settings import AppSettings

_SHOWN_CHARS = 100
_JOB_ID = re.compile(r"job_[0-9a-f]{32}")


def account_of(request: Request) -> Account:
    """Look up what belongs to whoever sent a request; the guard has said who that is."""
    account: Account = request.app.state.accounts[request.state.owner]
    return account


async def known_parameters_only(request: Request) -> None:
    """Refuse a query that would be ignored, such as a filter under another name."""
    if not request.query_params:
        return
    known = {
        field.alias for field in get_flat_dependant(request.scope["route"].dependant).query_params
    }
    for name in request.query_params:
        if name not in known:
            msg = f"{name[:_SHOWN_CHARS]}: there is no such parameter here"
            raise Unprocessable(msg, code=InvalidRequest.code, param=name[:_SHOWN_CHARS])


async def _probe(request: Request) -> ReadinessProbe:
    probe: ReadinessProbe = request.app.state.probe
    return probe


async def _settings(request: Request) -> AppSettings:
    settings: AppSettings = request.app.state.settings
    return settings


async def _files(request: Request) -> FileStore:
    files: FileStore = request.app.state.files
    return files


async def _services(request: Request) -> Services:
    return account_of(request).services


async def _allowance(request: Request) -> Allowance:
    return account_of(request).allowance


async def _answering(request: Request) -> Answering:
    return account_of(request).answering


async def _uploads(request: Request) -> Uploads:
    return account_of(request).uploads


async def _imaging(request: Request) -> Imaging:
    return account_of(request).imaging


async def _kept_files(request: Request) -> KeptFiles:
    return account_of(request).kept_files


async def _vector_stores(request: Request) -> VectorStores:
    return account_of(request).vector_stores


async def _job_id(job_id: Annotated[str, Path(examples=["job_" + "0" * 32])]) -> str:
    # An id that cannot be is one that is not there: 404 like any other, rather than 422.
    if not _JOB_ID.fullmatch(job_id):
        msg = "there is no such job"
        raise NotFound(msg, param="job_id")
    return job_id


SettingsDep = Annotated[AppSettings, Depends(_settings)]
ProbeDep = Annotated[ReadinessProbe, Depends(_probe)]
"""Of all owners: it tells nothing of any."""
FilesDep = Annotated[FileStore, Depends(_files)]
"""Of all owners: whose a file is must have been asked before."""
ServicesDep = Annotated[Services, Depends(_services)]
AllowanceDep = Annotated[Allowance, Depends(_allowance)]
AnsweringDep = Annotated[Answering, Depends(_answering)]
UploadsDep = Annotated[Uploads, Depends(_uploads)]
ImagingDep = Annotated[Imaging, Depends(_imaging)]
KeptFilesDep = Annotated[KeptFiles, Depends(_kept_files)]
VectorStoresDep = Annotated[VectorStores, Depends(_vector_stores)]
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
