"""Documents chunked by another chunker than the present one, and the version in progress."""

from __future__ import annotations

from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from deployments.catalogue.change_progress import count_done
from deployments.catalogue.document_rows import ENTRIES, chunking_of, document_of, is_document
from deployments.catalogue.entries import ChangeProgress, DocumentStatus
from deployments.catalogue.expiry import NOT_REMOVED
from deployments.catalogue.tables import COLLECTIONS, DOCUMENTS, VERSIONS

if TYPE_CHECKING:
    from deployments.types import Chunking, Document

_WITH_COLLECTIONS = COLLECTIONS.c.id == DOCUMENTS.c.collection


@dataclass(frozen=True, slots=True)
class VersionInProgress:
    """The version that is rechunked.

    `job_id` distinguishes it from a version of a later document with the same id.
    """

    collection: str
    document_id: str
    version: int
    job_id: str | None


@dataclass(frozen=True, slots=True)
class OutdatedDocument:
    """The current version of a document; one that is not `named` is an attached file."""

    document: Document
    chunking: Chunking | None
    named: bool

    @property
    def version(self) -> VersionInProgress:
        """What is recorded while it is in progress."""
        one = self.document
        return VersionInProgress(one.collection, one.id, one.version, one.job_id)

    def chunker(self, present: str) -> str:
        """Return the name of the chunker for this document.

        `present` is the name of the default chunker.
        """
        if self.chunking is None:
            return present
        sizes = self.chunking.max_tokens, self.chunking.overlap_tokens
        return ".".join(map(str, filter(None, (present.partition(".")[0], *sizes))))


_CAN_BE_RECHUNKED = (
    DOCUMENTS.c.status == DocumentStatus.COMPLETED.value,
    VERSIONS.c.chunker.is_not(None),  # version 0.1 has kept no contents
    NOT_REMOVED,
)
_COMPLETED = ENTRIES.join(COLLECTIONS, _WITH_COLLECTIONS).where(*_CAN_BE_RECHUNKED)
_COLUMNS = ("collection", "document_id", "version", "job_id")


def _is_chunked_by(chunker: str) -> sa.ColumnElement[bool]:
    """Match versions that this chunker has chunked; see `OutdatedDocument.chunker`."""
    version = sa.literal(f"{chunker.partition('.')[0]}.")
    tokens = sa.cast(VERSIONS.c.chunk_tokens, sa.String)
    overlap = sa.cast(VERSIONS.c.overlap_tokens, sa.String)
    name = sa.case(
        (VERSIONS.c.chunk_tokens.is_(None), sa.literal(chunker)),
        (sa.func.coalesce(VERSIONS.c.overlap_tokens, 0) == 0, version + tokens),
        else_=version + tokens + sa.literal(".") + overlap,
    )
    return VERSIONS.c.chunker == name


def outdated_documents(
    connection: sa.Connection, chunker: str, limit: int, after: tuple[str, str] | None = None
) -> list[OutdatedDocument]:
    """List current versions chunked by another chunker, in the order of their keys."""
    key = DOCUMENTS.c.collection, DOCUMENTS.c.id
    select = _COMPLETED.where(~_is_chunked_by(chunker)).order_by(*key).limit(limit)
    if after is not None:
        select = select.where(sa.tuple_(*key) > sa.tuple_(*map(sa.literal, after)))
    return list(map(_outdated_document, connection.execute(select).all()))


def current_version(
    connection: sa.Connection, version: VersionInProgress
) -> OutdatedDocument | None:
    """Return a version if it is still the current one of its document."""
    which = is_document(version.collection, version.document_id)
    row = connection.execute(_COMPLETED.where(which)).first()
    found = None if row is None else _outdated_document(row)
    return found if found is not None and found.version == version else None


def progress(connection: sa.Connection, chunker: str) -> ChangeProgress:
    """Count completed documents and their chunks, and those that this chunker has chunked."""
    return ChangeProgress(*count_done(connection, _is_chunked_by(chunker), *_CAN_BE_RECHUNKED))


def _outdated_document(row: Any) -> OutdatedDocument:  # noqa: ANN401 - of ENTRIES
    return OutdatedDocument(document_of(row), chunking_of(row), row.document_name is not None)


def columns_of(version: VersionInProgress | None) -> dict[str, Any]:
    """Return the columns of a version in progress, or of none."""
    values = (None,) * len(_COLUMNS) if version is None else astuple(version)
    return dict(zip(_COLUMNS, values, strict=True))
