"""Documents of collections and their versions, from the submission of a job on."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from deployments.catalogue.collections import ensure_collection, lock_collection
from deployments.catalogue.entries import (
    CollectionEntry,
    CurrentVersion,
    DocumentEntry,
    DocumentStatus,
    EntryPage,
    Upload,
    VersionEntry,
    VersionStatus,
)
from deployments.catalogue.names import free_name, is_numbered, numbered
from deployments.catalogue.removals import Removal, add_removal, check_not_being_removed
from deployments.catalogue.statements import page_of
from deployments.catalogue.tables import COLLECTIONS, CURRENT, DOCUMENTS, VERSIONS
from deployments.catalogue.usage import add_usage, change_usage, check_usage
from deployments.collection_names import (
    is_vector_store,
    owner_of,
    short_name,
    unknown_collection,
)
from deployments.errors import Conflict, NotFound
from deployments.types import Document

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.catalogue.database import Database
    from deployments.catalogue.entries import PageQuery, Quotas

_SUPERSEDED = 100  # more were discarded long ago
_FAILED = (VersionStatus.FAILED.value, VersionStatus.CANCELLED.value)
_ACTIVE = (VersionStatus.IN_PROGRESS.value, VersionStatus.COMPLETED.value)
# A document, and the version in which it is shown.
_ENTRIES = sa.select(
    DOCUMENTS.c.id,
    DOCUMENTS.c.status.label("document_status"),
    DOCUMENTS.c.name.label("document_name"),
    *VERSIONS.c,
).join(VERSIONS, CURRENT)


class Documents:
    """A document is listed from `begin` on and found from `complete` on, until it is removed.

    Its versions are numbered from 1. The one that `complete` was called for last is current, unless
    a higher number came before.
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
        return await self._database.write(lambda connection: self._begin(connection, upload))

    async def find_same(self, upload: Upload) -> VersionEntry | None:
        """Return the newest version of the document if it is of the same file and completed."""

        def find(connection: sa.Connection) -> VersionEntry | None:
            found = _find_named(connection, upload)
            newest = None if found is None else _newest(connection, upload.collection, found.id)
            if newest is None or newest.status != VersionStatus.COMPLETED.value:
                return None
            return _version_entry(newest) if _is_same(newest, upload) else None

        return await self._database.read(find)

    async def assign(self, document: Document, job_id: str) -> None:
        """Set the job of a version that is in progress."""
        update = (
            VERSIONS.update()
            .where(_is_version(document))
            .where(VERSIONS.c.status == VersionStatus.IN_PROGRESS.value)
            .values(job_id=job_id)
        )
        await self._database.write(lambda connection: connection.execute(update))

    async def complete(self, document: Document) -> Sequence[int]:
        """Make a version that has been stored whole the current one, unless a newer one is.

        Return the numbers of the versions whose chunks are of no use any more: those before, or
        this one. Raises NotFound if the document has been removed meanwhile, or its job has ended.
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
                    _is_version(document),
                    VERSIONS.c.status == VersionStatus.IN_PROGRESS.value,
                    VERSIONS.c.job_id.is_not_distinct_from(document.job_id),
                )
                .values(values)
            )
            _settle_document(connection, document)
            version = _version(connection, document)
            return None if version is None else VersionStatus(version.status)

        return await self._database.write(settle)

    async def add_failed(self, upload: Upload, error_code: str, error_message: str) -> None:
        """Add a version that was refused before a job could begin."""
        error = {"error_code": error_code, "error_message": error_message}

        def add(connection: sa.Connection) -> None:
            entry = self._begin(connection, upload)
            if entry.status is VersionStatus.IN_PROGRESS:
                connection.execute(
                    VERSIONS.update()
                    .where(_is_version(entry.document))
                    .values(status=VersionStatus.FAILED.value, **error)
                )
                _settle_document(connection, entry.document)

        await self._database.write(add)

    async def import_completed(self, documents: Sequence[Document]) -> None:
        """Add documents that version 0.1 has stored; those that exist become completed."""

        def add(connection: sa.Connection) -> None:
            for document in documents:
                if _version(connection, document) is None:
                    self._begin(connection, _upload_of(document))
                _complete(connection, document, whatever_became_of_its_job=True)

        await self._database.write(add)

    async def get(self, collection: str, document_id: str) -> DocumentEntry:
        """Find a document of any status; raise NotFound."""
        select = _ENTRIES.where(_is(collection, document_id))
        row = await self._database.read(lambda connection: connection.execute(select).first())
        if row is None:
            raise _unknown_document()
        return _entry(row)

    async def page(
        self, collection: str, query: PageQuery, status: DocumentStatus | None = None
    ) -> EntryPage[DocumentEntry]:
        """List the documents of a collection; there are none in an unknown one."""
        select = _ENTRIES.where(DOCUMENTS.c.collection == collection)
        if status is not None:
            select = select.where(DOCUMENTS.c.status == status.value)
        after = None if query.after is None else (query.after,)
        rows, more = await self._database.read(
            lambda connection: page_of(connection, select, (DOCUMENTS.c.id,), after, query)
        )
        return EntryPage(tuple(map(_entry, rows)), more)

    async def versions(
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
            raise _unknown_document()
        return EntryPage(tuple(map(_version_entry, rows)), more)

    async def version_of_job(self, collection: str, document_id: str, job_id: str) -> int:
        """Return the version that a job ingests; raise NotFound."""
        select = sa.select(VERSIONS.c.number).where(
            VERSIONS.c.collection == collection,
            VERSIONS.c.document_id == document_id,
            VERSIONS.c.job_id == job_id,
        )
        number = await self._database.read(lambda connection: connection.scalar(select))
        if number is None:
            raise _unknown_document()
        return int(number)

    async def current(
        self, collection: str, document_ids: Sequence[str]
    ) -> dict[str, CurrentVersion]:
        """Return the current versions of completed documents, by id; others are left out."""
        select = _ENTRIES.where(
            DOCUMENTS.c.collection == collection,
            DOCUMENTS.c.id.in_(document_ids),
            DOCUMENTS.c.status == DocumentStatus.COMPLETED.value,
        )
        rows = await self._database.read(lambda connection: connection.execute(select).all())
        return {
            row.id: CurrentVersion(row.number, row.document_name or row.filename) for row in rows
        }

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
        return list(map(_version_entry, rows))

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
        return [_document(row) for row in rows]

    async def collections_of(self, owner: str, document_id: str) -> list[str]:
        """Name the collections of an owner that have a document with this id."""
        select = (
            sa.select(DOCUMENTS.c.collection)
            .join(COLLECTIONS, COLLECTIONS.c.id == DOCUMENTS.c.collection)
            .where(DOCUMENTS.c.id == document_id, COLLECTIONS.c.owner == owner)
        )
        return await self._database.read(lambda connection: list(connection.scalars(select).all()))

    async def rename(self, collection: str, document_id: str, name: str) -> DocumentEntry:
        """Give a document another name; raise NotFound, or Conflict if another one has it."""

        def rename(connection: sa.Connection) -> DocumentEntry:
            lock_collection(connection, collection)
            named = _find(connection, DOCUMENTS.c.name == name, collection)
            if named is not None and named.id != document_id:
                raise _name_taken(name)
            connection.execute(
                DOCUMENTS.update().where(_is(collection, document_id)).values(name=name)
            )
            row = connection.execute(_ENTRIES.where(_is(collection, document_id))).first()
            if row is None:
                raise _unknown_document()
            return _entry(row)

        return await self._database.write(rename)

    async def remove(self, collection: str, document_id: str) -> bool:
        """Remove a document with all its versions and return whether it existed.

        `Catalogue.removals` has it until its vectors are deleted.
        """

        def remove(connection: sa.Connection) -> bool:
            if not lock_collection(connection, collection):
                return False
            row = connection.execute(_ENTRIES.where(_is(collection, document_id))).first()
            if row is None:
                return False
            connection.execute(DOCUMENTS.delete().where(_is(collection, document_id)))
            _count(connection, collection, {row.document_status: -1}, -_completed_bytes(row))
            owner = owner_of(collection)
            change_usage(connection, owner, documents=-1, size_bytes=-row.size_bytes)
            add_removal(connection, Removal(collection, document_id))
            return True

        return await self._database.write(remove)

    def _begin(self, connection: sa.Connection, upload: Upload) -> VersionEntry:
        collection = upload.collection
        if not is_vector_store(collection):
            entry = CollectionEntry(collection, short_name(collection), 0)
            ensure_collection(connection, entry, self._quotas)
        if not lock_collection(connection, collection):
            raise unknown_collection(collection)
        filename = upload.filename
        found = _find_named(connection, upload)
        newest = None if found is None else _newest(connection, collection, found.id)
        if newest is not None and newest.status in _ACTIVE and _is_same(newest, upload):
            return _version_entry(newest)
        taken = found is not None and found.status in _ACTIVE and upload.document_id is None
        if taken and upload.on_conflict == "reject":
            raise _name_taken(filename)
        if taken and upload.on_conflict == "keep":
            if (kept := _kept_before(connection, upload)) is not None:
                return _version_entry(kept)
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
                )
            )
            added = {"documents": 1, "size_bytes": upload.size_bytes}
            add_usage(connection, owner_of(collection), self._quotas, **added)
            _count(connection, collection, {DocumentStatus.IN_PROGRESS.value: 1}, 0)
        else:
            document_id = found.id
            shown = connection.execute(_ENTRIES.where(_is(collection, document_id))).one()
            grown = upload.size_bytes - shown.size_bytes
            check_usage(connection, owner_of(collection), self._quotas, size_bytes=max(0, grown))
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
            )
        )
        if found is not None and found.status != DocumentStatus.COMPLETED.value:
            _show(connection, found, number, DocumentStatus.IN_PROGRESS)
        return _version_entry(_newest(connection, collection, document_id))


def _complete(
    connection: sa.Connection, document: Document, *, whatever_became_of_its_job: bool = False
) -> Sequence[int]:
    """Complete a version; see `Documents.complete`."""
    if not lock_collection(connection, document.collection):
        raise unknown_collection(document.collection)
    found = _find(connection, DOCUMENTS.c.id == document.id, document.collection)
    version = None if found is None else _version(connection, document)
    if version is None:
        raise _unknown_document()
    if version.status in _FAILED and not whatever_became_of_its_job:
        raise _unknown_document()
    completed = found.status == DocumentStatus.COMPLETED.value
    late = completed and found.version > document.version
    status = VersionStatus.SUPERSEDED if late else VersionStatus.COMPLETED
    connection.execute(
        VERSIONS.update()
        .where(_is_version(document))
        .values(
            status=status.value,
            title=document.title,
            media_type=document.media_type,
            size_bytes=document.size_bytes,
            pages=document.pages,
            chunks=document.chunks,
            job_id=document.job_id,
            error_code=None,
            error_message=None,
        )
    )
    if late:
        return [document.version]
    if completed and found.version != document.version:
        connection.execute(
            VERSIONS.update()
            .where(_is_version(document, found.version))
            .values(status=VersionStatus.SUPERSEDED.value)
        )
    _show(connection, found, document.version, DocumentStatus.COMPLETED)
    return _superseded(connection, document)


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
        .limit(_SUPERSEDED)
    )
    return list(connection.scalars(select).all())


def _settle_document(connection: sa.Connection, document: Document) -> None:
    """Set the status of a document of which a version has ended."""
    found = _find(connection, DOCUMENTS.c.id == document.id, document.collection)
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
        _show(connection, found, in_progress, DocumentStatus.IN_PROGRESS)
    else:
        newest = _newest(connection, document.collection, document.id)
        _show(connection, found, newest.number, DocumentStatus(newest.status))


def _show(connection: sa.Connection, before: Any, version: int, status: DocumentStatus) -> None:  # noqa: ANN401
    """Set the shown version of a document in a locked collection and update the counts."""
    where = _is(before.collection, before.id)
    old = connection.execute(_ENTRIES.where(where)).one()
    connection.execute(DOCUMENTS.update().where(where).values(version=version, status=status.value))
    new = connection.execute(_ENTRIES.where(where)).one()
    moved = {old.document_status: 0, new.document_status: 0}
    moved[old.document_status] -= 1
    moved[new.document_status] += 1
    _count(connection, before.collection, moved, _completed_bytes(new) - _completed_bytes(old))
    if grown := new.size_bytes - old.size_bytes:
        change_usage(connection, owner_of(before.collection), size_bytes=grown)


def _count(
    connection: sa.Connection, collection: str, moved: dict[str, int], size_bytes: int
) -> None:
    changes = {status: number for status, number in moved.items() if number}
    if size_bytes:
        changes["size_bytes"] = size_bytes
    if changes:
        connection.execute(
            COLLECTIONS.update()
            .where(COLLECTIONS.c.id == collection)
            .values({name: COLLECTIONS.c[name] + number for name, number in changes.items()})
        )


def _find(connection: sa.Connection, which: sa.ColumnElement[bool], collection: str) -> Any:  # noqa: ANN401
    """Return the row of a document, or None."""
    select = DOCUMENTS.select().where(DOCUMENTS.c.collection == collection, which)
    return connection.execute(select).first()


def _find_named(connection: sa.Connection, upload: Upload) -> Any:  # noqa: ANN401 - a row
    """Return the row of the document that an upload names, or None."""
    if upload.document_id is not None:
        return _find(connection, DOCUMENTS.c.id == upload.document_id, upload.collection)
    # Version 0.1 may have kept several documents of one name.
    of_0_1 = _is(upload.collection, f"doc_{upload.digest[:32]}")
    row = connection.execute(_ENTRIES.where(of_0_1)).first()
    if row is not None and (row.document_name or row.filename) == upload.filename:
        return _find(connection, DOCUMENTS.c.id == row.id, upload.collection)
    return _find(connection, DOCUMENTS.c.name == upload.filename, upload.collection)


def _name_for(connection: sa.Connection, upload: Upload, filename: str) -> str | None:
    """Return the name of a new document; None for one that is named by its id alone."""
    if upload.document_id is None:
        return filename
    taken = _find(connection, DOCUMENTS.c.name == filename, upload.collection) is not None
    return filename if upload.named and not taken else None


def _names_like(connection: sa.Connection, upload: Upload) -> set[str]:
    """Return the names in a collection that begin as those of `free_name`."""
    start = numbered(upload.filename, "")
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
            VERSIONS.c.status.in_(_ACTIVE),
        )
    )
    rows = connection.execute(select).all()
    return next((row for row in rows if is_numbered(row.name or "", upload.filename)), None)


def _version(connection: sa.Connection, document: Document) -> Any:  # noqa: ANN401 - a row
    return connection.execute(VERSIONS.select().where(_is_version(document))).first()


def _newest(connection: sa.Connection, collection: str, document_id: str) -> Any:  # noqa: ANN401
    select = (
        VERSIONS.select()
        .where(VERSIONS.c.collection == collection, VERSIONS.c.document_id == document_id)
        .order_by(VERSIONS.c.number.desc())
        .limit(1)
    )
    return connection.execute(select).first()


def _is(collection: str, document_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(DOCUMENTS.c.collection == collection, DOCUMENTS.c.id == document_id)


def _is_version(document: Document, number: int | None = None) -> sa.ColumnElement[bool]:
    return sa.and_(
        VERSIONS.c.collection == document.collection,
        VERSIONS.c.document_id == document.id,
        VERSIONS.c.number == (number or document.version),
    )


def _completed_bytes(row: Any) -> int:  # noqa: ANN401 - of _ENTRIES
    return row.size_bytes if row.document_status == DocumentStatus.COMPLETED.value else 0


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


def _document(row: Any) -> Document:  # noqa: ANN401 - of the versions
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
    )


def _entry(row: Any) -> DocumentEntry:  # noqa: ANN401 - of _ENTRIES
    document = replace(_document(row), filename=row.document_name or row.filename)
    status = DocumentStatus(row.document_status)
    return DocumentEntry(document, status, row.error_code, row.error_message)


def _version_entry(row: Any) -> VersionEntry:  # noqa: ANN401 - of the versions
    error = row.error_code, row.error_message
    return VersionEntry(_document(row), VersionStatus(row.status), row.digest, row.author, *error)


def _is_same(newest: Any, upload: Upload) -> bool:  # noqa: ANN401 - of the versions
    """Return whether an upload is of the same file as a version."""
    if newest.digest:
        return bool(newest.digest == upload.digest)
    # Version 0.1 kept the digest in the id of an upload, and never changed an attached file.
    of_upload = f"doc_{upload.digest[:32]}"
    return newest.document_id in {of_upload, upload.document_id}


def _new_id() -> str:
    """Return an id for a document: ids begin with the time, so their order is that of creation."""
    return f"doc_{time.time_ns() // 1_000_000:012x}{secrets.token_hex(10)}"


def _unknown_document() -> NotFound:
    msg = "there is no such document"
    return NotFound(msg, param="document_id")


def _name_taken(name: str) -> Conflict:
    msg = f"there is a document with the name {name!r} in this collection"
    return Conflict(msg, code="name_taken")
