"""New versions: which document an upload belongs to, and the rows that it adds."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from deployments.catalogue.attribute_changes import set_attributes
from deployments.catalogue.clock import now_ms
from deployments.catalogue.collections import ensure_collection, lock_collection
from deployments.catalogue.document_rows import (
    ENTRIES,
    change_counts,
    chunking_of,
    chunking_values,
    find_document,
    is_document,
    name_taken,
    newest_version,
    show_version,
    version_entry_of,
)
from deployments.catalogue.entries import (
    ACTIVE,
    CollectionEntry,
    DocumentStatus,
    VersionStatus,
)
from deployments.catalogue.expiry import record_use
from deployments.catalogue.names import free_name, is_numbered, start_of_numbered
from deployments.catalogue.removals import being_deleted, check_not_being_removed
from deployments.catalogue.tables import CURRENT, DOCUMENTS, VERSIONS
from deployments.catalogue.usage import add_usage, check_usage
from deployments.catalogue.waiting_files import (
    attributes_in_batch,
    begin_waiting,
    waiting_attributes,
)
from deployments.collection_names import (
    is_vector_store,
    owner_of,
    short_name,
    unknown_collection,
)

if TYPE_CHECKING:
    from deployments.catalogue.entries import Quotas, Upload, VersionEntry
    from deployments.filters import Attributes


def begin_version(connection: sa.Connection, upload: Upload, quotas: Quotas) -> VersionEntry:
    """Add a version of a document, which may be new; see `Versions.begin`."""
    collection = upload.collection
    if not is_vector_store(collection):
        named = CollectionEntry(collection, short_name(collection), 0)
        ensure_collection(connection, named, quotas)
    if not lock_collection(connection, collection):
        raise unknown_collection(collection) if is_vector_store(collection) else being_deleted()
    record_use(connection, collection)
    if upload.document_id is not None:
        attributes = _attributes_for(connection, upload, upload.document_id)
        upload = replace(upload, attributes=attributes)
    entry = _begin(connection, upload, quotas)
    document = entry.document
    if upload.batch_id is None:
        begin_waiting(connection, collection, document.id, document.version)
    if upload.attributes is not None:
        set_attributes(connection, collection, document.id, upload.attributes)
    return entry


def _attributes_for(
    connection: sa.Connection, upload: Upload, document_id: str
) -> Attributes | None:
    if upload.batch_id is not None:
        return attributes_in_batch(connection, upload.batch_id, document_id)
    if upload.attributes is not None:
        return upload.attributes
    return waiting_attributes(connection, upload.collection, document_id)


def _begin(connection: sa.Connection, upload: Upload, quotas: Quotas) -> VersionEntry:
    collection = upload.collection
    filename = upload.filename
    found = document_named_by(connection, upload)
    newest = None if found is None else newest_version(connection, collection, found.id)
    # What restores the current version, whose vectors are lost, makes a new one of it.
    again = newest is not None and newest.number == upload.restored_from
    if newest is not None and not again and newest.status in ACTIVE and is_same(newest, upload):
        return version_entry_of(newest)
    taken = found is not None and found.status in ACTIVE and upload.document_id is None
    if taken and upload.on_conflict == "reject":
        raise name_taken(filename)
    if taken and upload.on_conflict == "keep":
        if (kept := _kept_before(connection, upload)) is not None:
            return version_entry_of(kept)
        filename = free_name(filename, _names_like(connection, upload))
        found = newest = None
    if found is None:
        document_id = upload.document_id or _new_id()
        check_not_being_removed(connection, collection, document_id)
        connection.execute(
            DOCUMENTS.insert().values(
                collection=collection,
                id=document_id,
                name=_name_for(connection, upload, filename),
                status=DocumentStatus.IN_PROGRESS.value,
                version=1,
                attributes=dict(upload.attributes or {}),
            )
        )
        if upload.room_bytes > upload.size_bytes:
            check_usage(connection, owner_of(collection), quotas, size_bytes=upload.room_bytes)
        added = {"documents": 1, "size_bytes": upload.size_bytes}
        add_usage(connection, owner_of(collection), quotas, **added)
        change_counts(connection, collection, {DocumentStatus.IN_PROGRESS.value: 1}, 0)
    else:
        document_id = found.id
        shown = connection.execute(ENTRIES.where(is_document(collection, document_id))).one()
        grown = upload.size_bytes - shown.size_bytes
        check_usage(connection, owner_of(collection), quotas, size_bytes=max(0, grown))
    number = 1 if newest is None else newest.number + 1
    connection.execute(
        VERSIONS.insert().values(
            collection=collection,
            document_id=document_id,
            number=number,
            status=VersionStatus.IN_PROGRESS.value,
            digest=upload.digest,
            author=upload.author,
            filename=filename,
            title="",
            media_type="",
            size_bytes=upload.size_bytes,
            chunks=0,
            created_ms=int((upload.created_at or time.time()) * 1000),
            job_id=upload.job_id,
            **chunking_values(upload.chunking),
            restored_from=upload.restored_from,
        )
    )
    if found is not None and found.status != DocumentStatus.COMPLETED.value:
        show_version(connection, found, number, DocumentStatus.IN_PROGRESS)
    return version_entry_of(newest_version(connection, collection, document_id))


def document_named_by(connection: sa.Connection, upload: Upload) -> Any:  # noqa: ANN401 - a row
    """Return the row of the document that an upload names, or None."""
    if upload.document_id is not None:
        return find_document(connection, DOCUMENTS.c.id == upload.document_id, upload.collection)
    # Version 0.1 may have kept several documents of one name.
    of_0_1 = is_document(upload.collection, f"doc_{upload.digest[:32]}")
    row = connection.execute(ENTRIES.where(of_0_1)).first()
    if row is not None and (row.document_name or row.filename) == upload.filename:
        return find_document(connection, DOCUMENTS.c.id == row.id, upload.collection)
    return find_document(connection, DOCUMENTS.c.name == upload.filename, upload.collection)


def is_same(newest: Any, upload: Upload) -> bool:  # noqa: ANN401 - of the versions
    """Return whether an upload is of the same file as a version, and cut in the same way."""
    if chunking_of(newest) != upload.chunking:
        return False
    if newest.digest and upload.digest:
        return bool(newest.digest == upload.digest)
    # Version 0.1 kept the digest in the id of an upload, and an attached file never changes.
    of_upload = f"doc_{upload.digest[:32]}"
    return newest.document_id in {of_upload, upload.document_id}


def _name_for(connection: sa.Connection, upload: Upload, filename: str) -> str | None:
    """Return the name of a new document; None for one that is named by its id alone."""
    if upload.document_id is None:
        return filename
    taken = find_document(connection, DOCUMENTS.c.name == filename, upload.collection) is not None
    return filename if upload.named and not taken else None


def _names_like(connection: sa.Connection, upload: Upload) -> set[str]:
    """Return the names in a collection that begin as those of `free_name`."""
    start = start_of_numbered(upload.filename)
    select = sa.select(DOCUMENTS.c.name).where(
        DOCUMENTS.c.collection == upload.collection,
        DOCUMENTS.c.name.startswith(start, autoescape=True),
    )
    return set(connection.scalars(select).all())


def _kept_before(connection: sa.Connection, upload: Upload) -> Any:  # noqa: ANN401 - a row
    """Return the version that the same upload, with `keep`, has become before."""
    select = (
        sa.select(*VERSIONS.c, DOCUMENTS.c.name)
        .join(DOCUMENTS, CURRENT)
        .where(
            VERSIONS.c.collection == upload.collection,
            VERSIONS.c.digest == upload.digest,
            VERSIONS.c.status.in_(ACTIVE),
        )
    )
    rows = connection.execute(select).all()
    return next((row for row in rows if is_numbered(row.name or "", upload.filename)), None)


def _new_id() -> str:
    """Return an id for a document: ids begin with the time, so their order is that of creation."""
    return f"doc_{now_ms():012x}{secrets.token_hex(10)}"
