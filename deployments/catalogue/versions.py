"""Versions of documents, from the submission of their job to their end."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from deployments.catalogue.collections import lock_collection
from deployments.catalogue.document_rows import (
    add_language,
    document_of,
    find_document,
    find_version,
    is_version,
    newest_version,
    show_version,
    unknown_document,
    version_entry_of,
    warnings_value,
)
from deployments.catalogue.entries import (
    KEPT_EARLIER,
    DocumentStatus,
    EntryPage,
    Upload,
    VersionEntry,
    VersionStatus,
)
from deployments.catalogue.new_versions import begin_version, document_named_by, is_same
from deployments.catalogue.statements import page_of
from deployments.catalogue.tables import DOCUMENTS, VERSIONS
from deployments.collection_names import (
    owner_of,
    unknown_collection,
)
from deployments.errors import NotFound
from deployments.filters import same_attributes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.catalogue.database import Database
    from deployments.catalogue.entries import PageQuery, Quotas
    from deployments.types import Document

_MAX_SUPERSEDED = 100  # older ones were discarded long ago
_FAILED = (VersionStatus.FAILED.value, VersionStatus.CANCELLED.value)

_COMPLETE = VERSIONS.update().where(
    VERSIONS.c.collection == sa.bindparam("of"),
    VERSIONS.c.document_id == sa.bindparam("document"),
    VERSIONS.c.number == sa.bindparam("version"),
)
# The newest: a job whose submission was interrupted may have been submitted again under its id.
_OF_JOB = (
    sa.select(VERSIONS.c.number)
    .where(
        VERSIONS.c.collection == sa.bindparam("of"),
        VERSIONS.c.document_id == sa.bindparam("document"),
        VERSIONS.c.job_id == sa.bindparam("job"),
    )
    .order_by(VERSIONS.c.number.desc())
)


class Versions:
    """A document is listed once its first version has begun, and found once one is completed.

    Versions are numbered from 1. Of the completed ones the highest number is current.
    """

    def __init__(self, database: Database, quotas: Quotas) -> None:
        self._database = database
        self._quotas = quotas

    async def begin(self, upload: Upload) -> VersionEntry:
        """Add a version of a document, which may be new, and return its entry.

        If the newest version is of the same file, and in progress or completed, that is returned.
        Creates the collection, unless it is a vector store.

        Raises:
            NotFound: there is no such vector store.
            Conflict: another document has the name, and `on_conflict` is `reject`.
            InvalidRequest: it is over a quota.
        """
        return await self._database.write(
            lambda connection: begin_version(connection, upload, self._quotas)
        )

    async def find_same(self, upload: Upload) -> VersionEntry | None:
        """Return the newest version of the document if it is of the same file and completed.

        Return None if the upload changes the attributes of the document.
        """

        def find(connection: sa.Connection) -> VersionEntry | None:
            found = document_named_by(connection, upload)
            if found is None or _changes_attributes(upload, found):
                return None
            newest = newest_version(connection, upload.collection, found.id)
            if newest is None or newest.status != VersionStatus.COMPLETED.value:
                return None
            return version_entry_of(newest) if is_same(newest, upload) else None

        return await self._database.read(find)

    async def assign(self, document: Document, job_id: str) -> None:
        """Set the job of a version that is in progress."""
        update = (
            VERSIONS.update()
            .where(is_version(document))
            .where(VERSIONS.c.status == VersionStatus.IN_PROGRESS.value)
            .values(job_id=job_id)
        )
        await self._database.write(lambda connection: connection.execute(update))

    async def complete(self, document: Document) -> Sequence[int]:
        """Make a version that has been stored whole the current one, unless a newer one is.

        Return the numbers of the versions whose chunks must be discarded: those before, or this
        one. Raises NotFound if the document has been removed meanwhile, or its job has ended.
        """
        return await self._database.write(lambda connection: _complete(connection, document))

    async def settle(
        self,
        document: Document,
        status: VersionStatus,
        error_code: str | None = None,
        error_message: str | None = None,
    ) -> VersionStatus | None:
        """End a version that is in progress, if `document.job_id` is its job.

        Return the status that it has then; None if it does not exist any more.
        """
        values = {"status": status.value, "error_code": error_code, "error_message": error_message}

        def settle(connection: sa.Connection) -> VersionStatus | None:
            if not lock_collection(connection, document.collection):
                return None
            connection.execute(
                VERSIONS.update()
                .where(
                    is_version(document),
                    VERSIONS.c.status == VersionStatus.IN_PROGRESS.value,
                    VERSIONS.c.job_id.is_not_distinct_from(document.job_id),
                )
                .values(values)
            )
            _settle_document(connection, document)
            version = find_version(connection, document)
            return None if version is None else VersionStatus(version.status)

        return await self._database.write(settle)

    async def add_failed(self, upload: Upload, error_code: str, error_message: str) -> None:
        """Add a version that was refused before a job could begin."""
        error = {"error_code": error_code, "error_message": error_message}

        def add(connection: sa.Connection) -> None:
            entry = begin_version(connection, upload, self._quotas)
            if entry.status is VersionStatus.IN_PROGRESS:
                connection.execute(
                    VERSIONS.update()
                    .where(is_version(entry.document))
                    .values(status=VersionStatus.FAILED.value, **error)
                )
                _settle_document(connection, entry.document)

        await self._database.write(add)

    async def import_completed(self, documents: Sequence[Document]) -> None:
        """Add documents that version 0.1 has stored; those that exist become completed."""

        def add(connection: sa.Connection) -> None:
            for document in documents:
                if find_version(connection, document) is None:
                    begin_version(connection, _upload_of(document), self._quotas)
                _complete(connection, document, even_if_failed=True)

        await self._database.write(add)

    async def page(
        self, collection: str, document_id: str, query: PageQuery
    ) -> EntryPage[VersionEntry]:
        """List the versions of a document by their numbers; raise NotFound."""
        select = VERSIONS.select().where(
            VERSIONS.c.collection == collection, VERSIONS.c.document_id == document_id
        )
        after = None if query.after is None else (int(query.after),)
        rows, more = await self._database.read(
            lambda connection: page_of(connection, select, (VERSIONS.c.number,), after, query)
        )
        if not rows and query.after is None:
            raise unknown_document()
        return EntryPage(tuple(map(version_entry_of, rows)), more)

    async def to_restore(
        self, collection: str, document_id: str, number: int | None
    ) -> VersionEntry:
        """Return a superseded version, by default the newest one; raise NotFound."""
        select = VERSIONS.select().where(
            VERSIONS.c.collection == collection,
            VERSIONS.c.document_id == document_id,
            VERSIONS.c.status == VersionStatus.SUPERSEDED.value,
        )
        if number is not None:
            select = select.where(VERSIONS.c.number == number)
        select = select.order_by(VERSIONS.c.number.desc()).limit(1)
        row = await self._database.read(lambda connection: connection.execute(select).first())
        if row is None:
            msg = "there is no such earlier version"
            raise NotFound(msg, param="version")
        return version_entry_of(row)

    async def restorable(self, collection: str, document_id: str) -> set[int]:
        """Return the numbers of the versions of a document whose contents are kept.

        They are the completed one, `KEPT_EARLIER` superseded ones, and those that are being
        restored. There are none if the document does not exist.
        """
        of_document = sa.and_(
            VERSIONS.c.collection == collection, VERSIONS.c.document_id == document_id
        )

        def numbers(status: VersionStatus) -> sa.Select[int]:
            return (
                sa.select(VERSIONS.c.number)
                .where(of_document, VERSIONS.c.status == status.value)
                .order_by(VERSIONS.c.number.desc())
            )

        restoring = sa.select(VERSIONS.c.restored_from).where(
            of_document,
            VERSIONS.c.status == VersionStatus.IN_PROGRESS.value,
            VERSIONS.c.restored_from.is_not(None),
        )
        earlier = numbers(VersionStatus.SUPERSEDED).limit(KEPT_EARLIER)

        def read(connection: sa.Connection) -> set[int]:
            queries = numbers(VersionStatus.COMPLETED), earlier, restoring
            return {number for query in queries for number in connection.scalars(query)}

        return await self._database.read(read)

    async def of_job(self, collection: str, document_id: str, job_id: str) -> int:
        """Return the version that a job ingests; raise NotFound."""
        of = {"of": collection, "document": document_id, "job": job_id}
        number = await self._database.read(lambda connection: connection.scalar(_OF_JOB, of))
        if number is None:
            raise unknown_document()
        return int(number)

    async def in_progress(
        self, collection: str, document_id: str | None = None
    ) -> list[VersionEntry]:
        """List the versions in progress of a document, or of all in a collection."""
        select = VERSIONS.select().where(
            VERSIONS.c.collection == collection,
            VERSIONS.c.status == VersionStatus.IN_PROGRESS.value,
        )
        if document_id is not None:
            select = select.where(VERSIONS.c.document_id == document_id)
        rows = await self._database.read(lambda connection: connection.execute(select).all())
        return list(map(version_entry_of, rows))

    async def unfinished(
        self, age_s: float, limit: int, after: Document | None = None
    ) -> list[Document]:
        """List versions that have been in progress for at least this long, the oldest first."""
        key = VERSIONS.c.created_ms, VERSIONS.c.collection, VERSIONS.c.document_id
        select = (
            VERSIONS.select()
            .where(VERSIONS.c.status == VersionStatus.IN_PROGRESS.value)
            .where(VERSIONS.c.created_ms <= int((time.time() - age_s) * 1000))
            .order_by(*key)
            .limit(limit)
        )
        if after is not None:
            last = round(after.created_at * 1000), after.collection, after.id
            select = select.where(sa.tuple_(*key) > sa.tuple_(*map(sa.literal, last)))
        rows = await self._database.read(lambda connection: connection.execute(select).all())
        return [document_of(row) for row in rows]


def _changes_attributes(upload: Upload, found: Any) -> bool:  # noqa: ANN401 - a row
    given = upload.attributes
    return given is not None and not same_attributes(found.attributes, given)


def _complete(
    connection: sa.Connection, document: Document, *, even_if_failed: bool = False
) -> Sequence[int]:
    """Complete a version; see `Versions.complete`."""
    if not lock_collection(connection, document.collection):
        raise unknown_collection(document.collection)
    found = find_document(connection, DOCUMENTS.c.id == document.id, document.collection)
    version = None if found is None else find_version(connection, document)
    if version is None:
        raise unknown_document()
    if version.status in _FAILED and not even_if_failed:
        raise unknown_document()
    completed = found.status == DocumentStatus.COMPLETED.value
    late = completed and found.version > document.version
    status = VersionStatus.SUPERSEDED if late else VersionStatus.COMPLETED
    values = {
        "status": status.value,
        "title": document.title,
        "media_type": document.media_type,
        "size_bytes": document.size_bytes,
        "pages": document.pages,
        "chunks": document.chunks,
        "chunker": document.chunker or None,
        "warnings": warnings_value(document),
        "language": document.language or None,
        "job_id": document.job_id,
        "error_code": None,
        "error_message": None,
    }
    of = {"of": document.collection, "document": document.id, "version": document.version}
    connection.execute(_COMPLETE, {**of, **values})
    add_language(connection, document)
    if late:
        return [document.version]
    if completed and found.version != document.version:
        connection.execute(
            VERSIONS.update()
            .where(is_version(document, found.version))
            .values(status=VersionStatus.SUPERSEDED.value)
        )
    show_version(connection, found, document.version, DocumentStatus.COMPLETED)
    return _superseded(connection, document) if document.version > 1 else []


def _superseded(connection: sa.Connection, document: Document) -> list[int]:
    select = (
        sa.select(VERSIONS.c.number)
        .where(
            VERSIONS.c.collection == document.collection,
            VERSIONS.c.document_id == document.id,
            VERSIONS.c.number < document.version,
            VERSIONS.c.status == VersionStatus.SUPERSEDED.value,
        )
        .order_by(VERSIONS.c.number.desc())
        .limit(_MAX_SUPERSEDED)
    )
    return list(connection.scalars(select).all())


def _settle_document(connection: sa.Connection, document: Document) -> None:
    """Set the status of a document of which a version has ended."""
    found = find_document(connection, DOCUMENTS.c.id == document.id, document.collection)
    if found is None or found.status == DocumentStatus.COMPLETED.value:
        return
    in_progress = connection.scalar(
        sa.select(sa.func.max(VERSIONS.c.number)).where(
            VERSIONS.c.collection == document.collection,
            VERSIONS.c.document_id == document.id,
            VERSIONS.c.status == VersionStatus.IN_PROGRESS.value,
        )
    )
    if in_progress is not None:
        show_version(connection, found, in_progress, DocumentStatus.IN_PROGRESS)
    else:
        newest = newest_version(connection, document.collection, document.id)
        show_version(connection, found, newest.number, DocumentStatus(newest.status))


def _upload_of(document: Document) -> Upload:
    return Upload(
        document.collection,
        document.filename,
        document.size_bytes,
        digest="",
        job_id=document.job_id,
        document_id=document.id,
        author=owner_of(document.collection),
        created_at=document.created_at,
        named=True,
    )
