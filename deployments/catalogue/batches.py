"""File batches: kept files that are attached to a collection together.

A file waits until Jobs submits the job of its version. From then on its status is that of the
version, so that a restart changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from deployments.catalogue.collections import lock_collection
from deployments.catalogue.document_rows import chunking_of
from deployments.catalogue.entries import (
    BatchEntry,
    BatchFile,
    DocumentEntry,
    DocumentStatus,
    EntryPage,
    VersionStatus,
)
from deployments.catalogue.new_batches import add_batch
from deployments.catalogue.statements import page_of
from deployments.catalogue.tables import BATCH_FILES, BATCHES, DOCUMENTS, VERSIONS
from deployments.catalogue.waiting_files import (
    IS_WAITING,
    FileStatus,
    begun_values,
    cancel_waiting,
    set_waiting_attributes,
)
from deployments.errors import NotFound
from deployments.types import Document

if TYPE_CHECKING:
    from deployments.catalogue.database import Database
    from deployments.catalogue.entries import PageQuery
    from deployments.catalogue.new_batches import NewBatch
    from deployments.filters import Attributes

# The version that a file of a batch became; none while it waits, and once it is removed.
_WITH_VERSION = sa.outerjoin(
    BATCH_FILES,
    VERSIONS,
    sa.and_(
        VERSIONS.c.collection == BATCH_FILES.c.collection,
        VERSIONS.c.document_id == BATCH_FILES.c.document_id,
        VERSIONS.c.number == BATCH_FILES.c.version,
    ),
)
_STATUS = sa.case(
    (BATCH_FILES.c.status == FileStatus.WAITING.value, DocumentStatus.IN_PROGRESS.value),
    (BATCH_FILES.c.status != FileStatus.BEGUN.value, BATCH_FILES.c.status),
    (VERSIONS.c.status.is_(None), DocumentStatus.CANCELLED.value),  # removed since
    (VERSIONS.c.status == VersionStatus.SUPERSEDED.value, DocumentStatus.COMPLETED.value),
    else_=VERSIONS.c.status,
)
# A file of a batch, with its version and its document as far as there are any.
_FILES = sa.select(
    *BATCH_FILES.c,
    _STATUS.label("file_status"),
    DOCUMENTS.c.attributes.label("document_attributes"),
    VERSIONS.c.created_ms.label("version_ms"),
    VERSIONS.c.size_bytes,
    VERSIONS.c.filename,
    VERSIONS.c.error_code.label("version_error_code"),
    VERSIONS.c.error_message.label("version_error_message"),
).select_from(
    _WITH_VERSION.outerjoin(
        DOCUMENTS,
        sa.and_(
            DOCUMENTS.c.collection == BATCH_FILES.c.collection,
            DOCUMENTS.c.id == BATCH_FILES.c.document_id,
        ),
    )
)


class Batches:
    """The batches of all owners. Ids begin with the creation time, so they sort by it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, batch: NewBatch) -> None:
        """Add a batch, whose files then wait.

        Raises:
            NotFound: there is no such collection, or no such file.
            Conflict: everything of the owner is being erased.
            Overloaded: too many files of the owner wait.
        """
        await self._database.write(lambda connection: add_batch(connection, batch))

    async def get(self, collection: str, batch_id: str) -> BatchEntry:
        """Find a batch with the number of its files of each status; raise NotFound."""

        def get(connection: sa.Connection) -> BatchEntry:
            row = _find(connection, collection, batch_id)
            counts = connection.execute(
                sa.select(_STATUS.label("file_status"), sa.func.count().label("files"))
                .select_from(_WITH_VERSION)
                .where(BATCH_FILES.c.batch_id == batch_id)
                .group_by(sa.literal_column("file_status"))
            )
            files = {DocumentStatus(count.file_status): count.files for count in counts}
            return BatchEntry(batch_id, collection, row.created_ms // 1000, row.cancelled, files)

        return await self._database.read(get)

    async def files(
        self, collection: str, batch_id: str, query: PageQuery, status: DocumentStatus | None
    ) -> EntryPage[DocumentEntry]:
        """List the files of a batch as documents; raise NotFound."""
        select = _FILES.where(BATCH_FILES.c.batch_id == batch_id)
        if status is not None:
            select = select.where(sa.literal(status.value) == _STATUS)
        after = None if query.after is None else (query.after,)

        def page(connection: sa.Connection) -> EntryPage[DocumentEntry]:
            batch = _find(connection, collection, batch_id)
            key = (BATCH_FILES.c.document_id,)
            rows, more = page_of(connection, select, key, after, query)
            return EntryPage(tuple(_entry(row, batch.created_ms) for row in rows), more)

        return await self._database.read(page)

    async def cancel(self, collection: str, batch_id: str) -> list[str]:
        """Cancel what waits, and return the jobs of what is in progress; raise NotFound."""

        def cancel(connection: sa.Connection) -> list[str]:
            lock_collection(connection, collection)
            _find(connection, collection, batch_id)
            waiting = connection.execute(
                BATCH_FILES.update()
                .where(
                    BATCH_FILES.c.batch_id == batch_id,
                    BATCH_FILES.c.status == FileStatus.WAITING.value,
                )
                .values(status=FileStatus.CANCELLED.value)
                .returning(BATCH_FILES.c.document_id)
            ).all()
            jobs = connection.scalars(
                sa.select(VERSIONS.c.job_id)
                .select_from(_WITH_VERSION)
                .where(
                    BATCH_FILES.c.batch_id == batch_id,
                    VERSIONS.c.status == VersionStatus.IN_PROGRESS.value,
                    VERSIONS.c.job_id.is_not(None),
                )
            ).all()
            if waiting or jobs:
                connection.execute(
                    BATCHES.update().where(BATCHES.c.id == batch_id).values(cancelled=True)
                )
            return list(jobs)

        return await self._database.write(cancel)

    async def waiting_file(self, collection: str, document_id: str) -> DocumentEntry | None:
        """Return the newest file that waits to become a document, or None."""
        select = (
            _FILES.add_columns(BATCHES.c.created_ms.label("batch_ms"))
            .join(BATCHES, BATCHES.c.id == BATCH_FILES.c.batch_id)
            .where(
                IS_WAITING,
                BATCH_FILES.c.collection == collection,
                BATCH_FILES.c.document_id == document_id,
            )
            .order_by(BATCH_FILES.c.batch_id.desc())
            .limit(1)
        )
        row = await self._database.read(lambda connection: connection.execute(select).first())
        return None if row is None else _entry(row, row.batch_ms)

    async def cancel_file(self, collection: str, document_id: str) -> bool:
        """Cancel the files that wait to become a document; return whether there were any."""

        def cancel(connection: sa.Connection) -> bool:
            lock_collection(connection, collection)
            return cancel_waiting(connection, collection, document_id)

        return await self._database.write(cancel)

    async def set_attributes(
        self, collection: str, document_id: str, attributes: Attributes
    ) -> bool:
        """Replace the attributes that a document will get; return whether a file of it waits."""

        def change(connection: sa.Connection) -> bool:
            lock_collection(connection, collection)
            return set_waiting_attributes(connection, collection, document_id, attributes)

        return await self._database.write(change)

    async def waiting_owners(self) -> list[str]:
        """Name the owners of files that wait."""
        select = sa.select(BATCH_FILES.c.owner).where(IS_WAITING).distinct()
        return await self._database.read(lambda connection: list(connection.scalars(select).all()))

    async def waiting(self, owner: str, limit: int) -> list[BatchFile]:
        """List files of an owner that wait, those of the oldest batches first."""
        select = (
            BATCH_FILES.select()
            .where(IS_WAITING, BATCH_FILES.c.owner == owner)
            .order_by(BATCH_FILES.c.batch_id, BATCH_FILES.c.document_id)
            .limit(limit)
        )
        rows = await self._database.read(lambda connection: connection.execute(select).all())
        return [
            BatchFile(
                row.document_id, row.collection, row.batch_id, chunking_of(row), row.attributes
            )
            for row in rows
        ]

    async def begun(self, file: BatchFile, version: int) -> bool:
        """Record the version of a file whose job is submitted.

        Return False if the file does not wait any more, because the batch was cancelled.
        """

        def begin(connection: sa.Connection) -> bool:
            update = BATCH_FILES.update().where(_is(file), IS_WAITING)
            connection.execute(update.values(begun_values(version)))
            status = connection.scalar(sa.select(BATCH_FILES.c.status).where(_is(file)))
            return status == FileStatus.BEGUN.value

        return await self._database.write(begin)

    async def failed(self, file: BatchFile, code: str, message: str) -> None:
        """Record why no job was submitted for a file."""
        values = {
            "status": FileStatus.FAILED.value,
            "error_code": code,
            "error_message": message,
        }
        update = BATCH_FILES.update().where(_is(file), IS_WAITING).values(values)
        await self._database.write(lambda connection: connection.execute(update))


def _find(connection: sa.Connection, collection: str, batch_id: str) -> Any:  # noqa: ANN401 - a row
    """Return the row of a batch; raise NotFound."""
    select = BATCHES.select().where(BATCHES.c.id == batch_id, BATCHES.c.collection == collection)
    row = connection.execute(select).first()
    if row is None:
        msg = "there is no such file batch"
        raise NotFound(msg, param="batch_id")
    return row


def _is(file: BatchFile) -> sa.ColumnElement[bool]:
    return sa.and_(
        BATCH_FILES.c.batch_id == file.batch_id, BATCH_FILES.c.document_id == file.document_id
    )


def _entry(row: Any, batch_ms: int) -> DocumentEntry:  # noqa: ANN401 - a row
    attributes = row.attributes if row.document_attributes is None else row.document_attributes
    document = Document(
        row.document_id,
        row.collection,
        row.filename or "",
        title="",
        media_type="",
        size_bytes=row.size_bytes or 0,
        pages=None,
        chunks=0,
        created_at=(row.version_ms or batch_ms) / 1000,
        version=row.version or 1,
        attributes=attributes or {},
    )
    return DocumentEntry(
        document,
        DocumentStatus(row.file_status),
        row.error_code or row.version_error_code,
        row.error_message or row.version_error_message,
        chunking_of(row),
    )
