"""Rows of documents and versions: look-ups, entries made of them, and the counts they change.

What changes them must hold the lock of the collection.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import cache
from typing import Any

import sqlalchemy as sa

from deployments.catalogue.entries import (
    DocumentEntry,
    DocumentStatus,
    VersionEntry,
    VersionStatus,
)
from deployments.catalogue.tables import COLLECTIONS, CURRENT, DOCUMENTS, VERSIONS
from deployments.catalogue.usage import change_usage
from deployments.collection_names import owner_of
from deployments.errors import Conflict, NotFound
from deployments.records import warnings_from
from deployments.types import Chunking, Document

# A document, and the version in which it is shown.
ENTRIES = sa.select(
    DOCUMENTS.c.id,
    DOCUMENTS.c.status.label("document_status"),
    DOCUMENTS.c.name.label("document_name"),
    DOCUMENTS.c.attributes,
    *VERSIONS.c,
).join(VERSIONS, CURRENT)

_OF_DOCUMENT = sa.and_(
    VERSIONS.c.collection == sa.bindparam("of"), VERSIONS.c.document_id == sa.bindparam("document")
)
_VERSION = VERSIONS.select().where(_OF_DOCUMENT, VERSIONS.c.number == sa.bindparam("version"))
_NEWEST_VERSION = VERSIONS.select().where(_OF_DOCUMENT).order_by(VERSIONS.c.number.desc()).limit(1)
_IS_DOCUMENT = sa.and_(
    DOCUMENTS.c.collection == sa.bindparam("of"), DOCUMENTS.c.id == sa.bindparam("document")
)
_ENTRY = ENTRIES.where(_IS_DOCUMENT)
_SHOW_VERSION = (
    DOCUMENTS.update()
    .where(_IS_DOCUMENT)
    .values(version=sa.bindparam("shown"), status=sa.bindparam("new_status"))
)

_MOST_LANGUAGES = 64  # of a collection: questions are read in each of them
_LANGUAGES = sa.select(COLLECTIONS.c.languages).where(COLLECTIONS.c.id == sa.bindparam("of"))
_SET_LANGUAGES = (
    COLLECTIONS.update()
    .where(COLLECTIONS.c.id == sa.bindparam("of"))
    .values(languages=sa.bindparam("all"))
)


def find_document(connection: sa.Connection, which: sa.ColumnElement[bool], collection: str) -> Any:  # noqa: ANN401
    """Return the row of a document, or None."""
    select = DOCUMENTS.select().where(DOCUMENTS.c.collection == collection, which)
    return connection.execute(select).first()


def find_version(connection: sa.Connection, document: Document) -> Any:  # noqa: ANN401 - a row
    """Return the row of a version, or None."""
    of = {"of": document.collection, "document": document.id, "version": document.version}
    return connection.execute(_VERSION, of).first()


def newest_version(connection: sa.Connection, collection: str, document_id: str) -> Any:  # noqa: ANN401
    """Return the row of the version with the highest number, or None."""
    of = {"of": collection, "document": document_id}
    return connection.execute(_NEWEST_VERSION, of).first()


def is_document(collection: str, document_id: str) -> sa.ColumnElement[bool]:
    """Match the row of a document."""
    return sa.and_(DOCUMENTS.c.collection == collection, DOCUMENTS.c.id == document_id)


def is_version(document: Document, number: int | None = None) -> sa.ColumnElement[bool]:
    """Match the row of a version; `number` selects another version of the document."""
    return sa.and_(
        VERSIONS.c.collection == document.collection,
        VERSIONS.c.document_id == document.id,
        VERSIONS.c.number == (number or document.version),
    )


def show_version(
    connection: sa.Connection,
    before: Any,  # noqa: ANN401 - a row of a document
    version: int,
    status: DocumentStatus,
) -> None:
    """Set the shown version of a document in a locked collection and update the counts."""
    of = {"of": before.collection, "document": before.id}
    old = connection.execute(_ENTRY, of).one()
    connection.execute(_SHOW_VERSION, {**of, "shown": version, "new_status": status.value})
    new = connection.execute(_ENTRY, of).one()
    moved = {old.document_status: 0, new.document_status: 0}
    moved[old.document_status] -= 1
    moved[new.document_status] += 1
    change_counts(connection, before.collection, moved, completed_bytes(new) - completed_bytes(old))
    if grown := new.size_bytes - old.size_bytes:
        change_usage(connection, owner_of(before.collection), size_bytes=grown)


def change_counts(
    connection: sa.Connection, collection: str, moved: dict[str, int], size_bytes: int
) -> None:
    """Add to the counts of a collection: documents by status, and completed bytes."""
    changes = {status: number for status, number in moved.items() if number}
    if size_bytes:
        changes["size_bytes"] = size_bytes
    if changes:
        more = {f"{name}_more": number for name, number in changes.items()}
        connection.execute(_change_counts(tuple(changes)), {"of": collection, **more})


@cache
def _change_counts(names: tuple[str, ...]) -> sa.Update:
    return (
        COLLECTIONS.update()
        .where(COLLECTIONS.c.id == sa.bindparam("of"))
        .values({name: COLLECTIONS.c[name] + sa.bindparam(f"{name}_more") for name in names})
    )


def add_language(connection: sa.Connection, document: Document) -> None:
    """Record the language of a document that is completed in its collection."""
    known = connection.scalar(_LANGUAGES, {"of": document.collection}) or []
    if document.language and document.language not in known and len(known) < _MOST_LANGUAGES:
        languages = sorted([*known, document.language])
        connection.execute(_SET_LANGUAGES, {"of": document.collection, "all": languages})


def completed_bytes(row: Any) -> int:  # noqa: ANN401 - of ENTRIES
    """Return the bytes that a row of ENTRIES adds to its collection."""
    return row.size_bytes if row.document_status == DocumentStatus.COMPLETED.value else 0


def document_of(row: Any) -> Document:  # noqa: ANN401 - of the versions
    """Return the version of a row as a Document."""
    return Document(
        row.document_id,
        row.collection,
        row.filename,
        row.title,
        row.media_type,
        row.size_bytes,
        row.pages,
        row.chunks,
        row.created_ms / 1000,
        row.job_id,
        row.number,
        chunker=row.chunker or "",
        warnings=warnings_from(row.warnings or ()),
        language=row.language or "",
    )


def chunking_of(row: Any) -> Chunking | None:  # noqa: ANN401 - of versions or files of batches
    """Return the chunking that was asked for."""
    if row.chunk_tokens is None:
        return None
    return Chunking(row.chunk_tokens, row.overlap_tokens)


def chunking_values(chunking: Chunking | None) -> dict[str, int | None]:
    """Return the columns of a chunking."""
    if chunking is None:
        return {"chunk_tokens": None, "overlap_tokens": None}
    return {"chunk_tokens": chunking.max_tokens, "overlap_tokens": chunking.overlap_tokens}


def entry_of(row: Any) -> DocumentEntry:  # noqa: ANN401 - of ENTRIES
    """Return the entry of a row of ENTRIES."""
    filename = row.document_name or row.filename
    document = replace(document_of(row), filename=filename, attributes=row.attributes)
    status = DocumentStatus(row.document_status)
    return DocumentEntry(document, status, row.error_code, row.error_message, chunking_of(row))


def version_entry_of(row: Any) -> VersionEntry:  # noqa: ANN401 - of the versions
    """Return the entry of a row of a version."""
    return VersionEntry(
        document_of(row),
        VersionStatus(row.status),
        row.digest,
        row.author,
        row.error_code,
        row.error_message,
        row.restored_from,
        chunking_of(row),
    )


def warnings_value(document: Document) -> list[dict[str, Any]] | None:
    """Return the column of the warnings of a version."""
    return [asdict(each) for each in document.warnings] or None


def unknown_document() -> NotFound:
    """Return the error for a document that does not exist."""
    msg = "there is no such document"
    return NotFound(msg, param="document_id")


def name_taken(name: str) -> Conflict:
    """Return the error for a name that another document has."""
    msg = f"there is a document with the name {name!r} in this collection"
    return Conflict(msg, code="name_taken")
