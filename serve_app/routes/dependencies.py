"""What routes ask for: parts of the caller's account, settings, and ids that may exist.

Dependencies are coroutines: FastAPI would run a plain function in a thread of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Header, Path, Query, Request
from fastapi.dependencies.utils import get_flat_dependant
from pydantic import TypeAdapter, ValidationError

from deployments.catalogue.entries import DocumentStatus, PageQuery
from deployments.catalogue.owned import OwnedErasures
from deployments.errors import InvalidRequest, NotFound
from deployments.file_store import FileStore
from deployments.kept_files import document_id_of
from serve_app.access.rate_limits import Allowance
from serve_app.accounts import Account  # noqa: TC001 - FastAPI reads annotations
from serve_app.answering.answer import Answering
from serve_app.documents.attachments import Attachments
from serve_app.documents.documents import Documents
from serve_app.documents.exports import Exports
from serve_app.documents.file_batches import FileBatches
from serve_app.documents.file_content import FileContents
from serve_app.documents.files import KeptFiles, is_file_id
from serve_app.documents.imports import Imports
from serve_app.documents.originals import Originals
from serve_app.documents.uploads import Uploads
from serve_app.documents.vector_stores import VectorStores
from serve_app.images import Imaging
from serve_app.readiness import ReadinessProbe
from serve_app.responses.background import Background
from serve_app.responses.conversations import StoredConversations
from serve_app.responses.ids import is_conversation_id, is_item_id, is_response_id
from serve_app.responses.responding import Responding
from serve_app.responses.stored import StoredResponses
from serve_app.schemas.conversations import CONVERSATION_ID_EXAMPLE
from serve_app.schemas.fields import (
    DEFAULT_COLLECTION,
    ERASURE_ID_EXAMPLE,
    FILE_ID_EXAMPLE,
    IMPORT_ID_EXAMPLE,
    JOB_ID_EXAMPLE,
    UNKNOWN_PARAMETER,
    CollectionName,
    FileId,
)
from serve_app.schemas.file_batches import BATCH_ID_EXAMPLE
from serve_app.schemas.paging import Order, PageSize  # noqa: TC001 - FastAPI reads annotations
from serve_app.schemas.responses.examples import MESSAGE_ID_EXAMPLE, RESPONSE_ID_EXAMPLE
from serve_app.schemas.responses.items import MAX_ID_CHARS
from serve_app.schemas.responses.request import MAX_INCLUDED
from serve_app.services import Services
from serve_app.settings import AppSettings

if TYPE_CHECKING:
    from collections.abc import Callable

_SHOWN_CHARS = 100
_STORE_NAME: TypeAdapter[str] = TypeAdapter(CollectionName)
_BATCH_ID = re.compile(r"vsfb_[0-9a-f]{24}")
_JOB_ID = re.compile(r"job_[0-9a-f]{32}")
_IMPORT_ID = re.compile(r"imp_[0-9a-f]{32}")
_ERASURE_ID = re.compile(r"era_[0-9a-f]{32}")


def account_of(request: Request) -> Account:
    """Return the account of the request's owner, whom the guard has determined."""
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
            raise InvalidRequest(msg, code=UNKNOWN_PARAMETER, param=name[:_SHOWN_CHARS])


@dataclass(frozen=True, slots=True)
class FileListQuery:
    """A page of the files of a vector store or of a batch, of one `status` or of all."""

    page: PageQuery
    status: DocumentStatus | None


async def _file_list_query(
    *,
    filter: DocumentStatus | None = None,  # noqa: A002 - OpenAI's name
    limit: PageSize = 20,
    after: FileId | None = None,
    order: Order = "desc",
) -> FileListQuery:
    after_document = None if after is None else document_id_of(after)
    return FileListQuery(PageQuery(limit, after_document, newest_first=order == "desc"), filter)


FileListQueryDep = Annotated[FileListQuery, Depends(_file_list_query)]


def _of_application(name: str) -> Any:  # noqa: ANN401 - a dependency, as FastAPI types it
    async def part(request: Request) -> Any:  # noqa: ANN401 - typed where it is named
        return getattr(request.app.state, name)

    return Depends(part)


def _of_account(name: str) -> Any:  # noqa: ANN401 - as above
    async def part(request: Request) -> Any:  # noqa: ANN401 - as above
        return getattr(account_of(request), name)

    return Depends(part)


# An id that nothing can have is answered as one that does not exist: 404 rather than 400.
def _known_id(
    name: str, example: str, is_known: Callable[[str], object], what: str | None = None
) -> Any:  # noqa: ANN401 - as above
    """Return the dependency on an id in the path, which must have a form that ids have."""
    msg = f"there is no such {what or name.removesuffix('_id')}"

    async def known(value: str = Path(alias=name, examples=[example])) -> str:
        if not is_known(value):
            raise NotFound(msg, param=name)
        return value

    return Depends(known)


async def _store_id(
    vector_store_id: Annotated[
        str, Path(description="The name of a collection.", examples=[DEFAULT_COLLECTION])
    ],
) -> str:
    try:
        return _STORE_NAME.validate_python(vector_store_id)
    except ValidationError:
        msg = "there is no such vector store"
        raise NotFound(msg, param="vector_store_id") from None


async def _included(
    include: Annotated[
        list[str],
        Query(
            max_length=MAX_INCLUDED,
            description="Without effect: a response has what was included when it was created.",
        ),
    ] = [],  # noqa: B006 - FastAPI copies it
    include_: Annotated[
        list[str],
        Query(alias="include[]", max_length=MAX_INCLUDED, description="As OpenAI's SDK sends it."),
    ] = [],  # noqa: B006
) -> None:
    del include, include_


async def _item_list_query(
    limit: PageSize = 20,
    after: Annotated[str | None, Query(min_length=1, max_length=MAX_ID_CHARS)] = None,
    order: Order = "desc",
) -> PageQuery:
    if after is not None and not is_item_id(after):
        msg = "there is no such item"
        raise NotFound(msg, param="after")
    return PageQuery(limit, after, newest_first=order == "desc")


SettingsDep = Annotated[AppSettings, _of_application("settings")]
ProbeDep = Annotated[ReadinessProbe, _of_application("probe")]
"""Shared by all owners: it reveals nothing about any of them."""
FilesDep = Annotated[FileStore, _of_application("files")]
"""Shared by all owners: check first whose file it is."""
ServicesDep = Annotated[Services, _of_account("services")]
AllowanceDep = Annotated[Allowance, _of_account("allowance")]
AnsweringDep = Annotated[Answering, _of_account("answering")]
RespondingDep = Annotated[Responding, _of_account("responding")]
ResponsesDep = Annotated[StoredResponses, _of_account("responses")]
ConversationsDep = Annotated[StoredConversations, _of_account("conversations")]
BackgroundDep = Annotated[Background, _of_account("background")]
AttachmentsDep = Annotated[Attachments, _of_account("attachments")]
FileBatchesDep = Annotated[FileBatches, _of_account("file_batches")]
FileContentsDep = Annotated[FileContents, _of_account("file_contents")]
ErasuresDep = Annotated[OwnedErasures, _of_account("erasures")]
DocumentsDep = Annotated[Documents, _of_account("documents")]
UploadsDep = Annotated[Uploads, _of_account("uploads")]
ExportsDep = Annotated[Exports, _of_account("exports")]
ImportsDep = Annotated[Imports, _of_account("imports")]
OriginalsDep = Annotated[Originals, _of_account("originals")]
ImagingDep = Annotated[Imaging, _of_account("imaging")]
KeptFilesDep = Annotated[KeptFiles, _of_account("kept_files")]
VectorStoresDep = Annotated[VectorStores, _of_account("vector_stores")]
ImportId = Annotated[str, _known_id("import_id", IMPORT_ID_EXAMPLE, _IMPORT_ID.fullmatch)]
ErasureId = Annotated[str, _known_id("erasure_id", ERASURE_ID_EXAMPLE, _ERASURE_ID.fullmatch)]
JobId = Annotated[str, _known_id("job_id", JOB_ID_EXAMPLE, _JOB_ID.fullmatch)]
KnownFileId = Annotated[str, _known_id("file_id", FILE_ID_EXAMPLE, is_file_id)]
BatchId = Annotated[str, _known_id("batch_id", BATCH_ID_EXAMPLE, _BATCH_ID.fullmatch, "file batch")]
StoreId = Annotated[str, Depends(_store_id)]
ResponseId = Annotated[str, _known_id("response_id", RESPONSE_ID_EXAMPLE, is_response_id)]
ConversationId = Annotated[
    str, _known_id("conversation_id", CONVERSATION_ID_EXAMPLE, is_conversation_id)
]
ItemId = Annotated[
    str, _known_id("item_id", MESSAGE_ID_EXAMPLE, is_item_id, "item in this conversation")
]
ItemListQueryDep = Annotated[PageQuery, Depends(_item_list_query)]
ACCEPTS_INCLUDE = Depends(_included)
"""Accept `include` in the query."""

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
