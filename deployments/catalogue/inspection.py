"""Facts of the catalogue for the doctor, in pages, each read by one short transaction."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from deployments.catalogue.chunker_changes import document_in_progress
from deployments.catalogue.clock import now_ms
from deployments.catalogue.document_rows import version_entry_of
from deployments.catalogue.entries import FileEntry, VersionStatus
from deployments.catalogue.expiry import NOT_REMOVED
from deployments.catalogue.recounts import COUNTED, counts_of, real_usage
from deployments.catalogue.removals import of_versions, removal_of
from deployments.catalogue.second_indexes import INDEXES, indexes_of_version
from deployments.catalogue.tables import (
    ATTRIBUTE_CHANGES,
    COLLECTIONS,
    CURRENT,
    DOCUMENTS,
    ERASURES,
    FILES,
    REMOVALS,
    USAGE,
    VERSIONS,
)
from deployments.catalogue.usage import USED

if TYPE_CHECKING:
    from collections.abc import Collection

    from deployments.catalogue.database import Database
    from deployments.catalogue.entries import VersionEntry
    from deployments.filters import Attributes

_MAX_MESSAGES = 20


@dataclass(frozen=True, slots=True)
class KnownDocument:
    """A document with all its versions; `indexes` are those that its current version must be in.

    One that is not `named` is an attached file, whose content is the kept file. While it is
    rechunked, its chunks may not be those of its version.
    """

    collection: str
    id: str
    named: bool
    status: str
    version: int
    attributes: Attributes
    indexes: tuple[str, ...]
    versions: tuple[VersionEntry, ...]
    rechunked: bool = False

    @property
    def current(self) -> VersionEntry | None:
        """Return the completed version that is searched, if there is one."""
        shown = (one for one in self.versions if one.document.version == self.version)
        return next((one for one in shown if one.status is VersionStatus.COMPLETED), None)

    @property
    def job_ids(self) -> set[str]:
        """Return the jobs of all its versions."""
        return {one.document.job_id for one in self.versions if one.document.job_id}


@dataclass(frozen=True, slots=True)
class Waiting:
    """Work that was left for later; `what` is removal, attribute change or erasure."""

    what: str
    collection: str
    document_id: str
    owner: str = ""


class Inspection:
    """Reads what all owners have."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def documents(self, limit: int, after: tuple[str, str] | None) -> list[KnownDocument]:
        """List documents by collection and id, without those of collections being removed."""
        key = sa.tuple_(DOCUMENTS.c.collection, DOCUMENTS.c.id)
        select = _DOCUMENTS.order_by(DOCUMENTS.c.collection, DOCUMENTS.c.id).limit(limit)
        if after is not None:
            select = select.where(key > sa.tuple_(*map(sa.literal, after)))
        return await self._database.read(lambda connection: _known(connection, select))

    async def document(self, collection: str, document_id: str) -> KnownDocument | None:
        """Return one document."""
        select = _DOCUMENTS.where(
            DOCUMENTS.c.collection == collection, DOCUMENTS.c.id == document_id
        )
        found = await self._database.read(lambda connection: _known(connection, select))
        return found[0] if found else None

    async def unknown(self, collection: str, document_ids: Collection[str]) -> set[str]:
        """Return those of the ids that no document has and that are not being removed."""
        hidden = sa.select(COLLECTIONS.c.id).where(COLLECTIONS.c.id == collection, ~NOT_REMOVED)
        removals = sa.select(REMOVALS.c.document_id).where(REMOVALS.c.collection == collection)
        known = sa.select(DOCUMENTS.c.id).where(
            DOCUMENTS.c.collection == collection, DOCUMENTS.c.id.in_(document_ids)
        )

        def read(connection: sa.Connection) -> set[str]:
            removed = set(connection.scalars(removals).all())
            if "" in removed or connection.scalar(hidden) is not None:
                return set()
            return set(document_ids) - set(connection.scalars(known).all()) - removed

        return await self._database.read(read)

    async def is_collection(self, collection: str) -> bool:
        """Return whether a collection has a row."""
        select = sa.select(COLLECTIONS.c.id).where(COLLECTIONS.c.id == collection)
        return await self._database.read(lambda connection: connection.scalar(select)) is not None

    async def in_use(self) -> dict[str, str]:
        """Return the indexes of completed documents, each with a collection that is in it."""
        select = (
            sa.select(COLLECTIONS.c.index_name, sa.func.min(COLLECTIONS.c.id))
            .where(COLLECTIONS.c.index_name.is_not(None), COLLECTIONS.c.completed > 0, NOT_REMOVED)
            .group_by(COLLECTIONS.c.index_name)
        )
        rows = await self._database.read(lambda connection: connection.execute(select).all())
        return {row[0]: row[1] for row in rows}

    async def changes_attributes(self, collection: str, document_id: str) -> bool:
        """Return whether the attributes of a document are still to be written to its vectors."""
        select = sa.select(ATTRIBUTE_CHANGES.c.id).where(
            ATTRIBUTE_CHANGES.c.collection == collection,
            ATTRIBUTE_CHANGES.c.document_id == document_id,
        )
        found = await self._database.read(lambda connection: connection.execute(select).first())
        return found is not None

    async def removed_versions(self, collection: str, document_id: str) -> set[int]:
        """Return the versions of a document whose vectors are still to be removed."""
        select = of_versions(collection, document_id)
        keys = await self._database.read(lambda connection: connection.scalars(select).all())
        return {removal_of(collection, key).version or 0 for key in keys}

    async def files(self, limit: int, after: str | None) -> list[tuple[str, FileEntry]]:
        """List the kept files of all owners, each with its owner."""
        select = FILES.select().order_by(FILES.c.id).limit(limit)
        if after is not None:
            select = select.where(FILES.c.id > after)
        rows = await self._database.read(lambda connection: connection.execute(select).all())
        return [(row.owner, _file(row)) for row in rows]

    async def wrong_counts(self, limit: int, after: str) -> tuple[list[str], str | None]:
        """Look at the counts of some collections; return the wrong ones, and where to go on."""
        some = (
            COLLECTIONS.select()
            .where(COLLECTIONS.c.id > after, NOT_REMOVED)
            .order_by(COLLECTIONS.c.id)
            .limit(limit)
            .subquery()
        )
        wrong: list[str] = []
        last: str | None = None
        select = counts_of(some)
        for row in await self._database.read(lambda connection: connection.execute(select).all()):
            last = max(last or "", row.id)
            if any(getattr(row, name) != getattr(row, f"{name}_real") for name in COUNTED):
                wrong.append(row.id)
        return wrong, last

    async def counts_wrong(self, collection: str) -> bool:
        """Look at the counts of one collection."""
        one = COLLECTIONS.select().where(COLLECTIONS.c.id == collection, NOT_REMOVED).subquery()
        rows = await self._database.read(
            lambda connection: connection.execute(counts_of(one)).all()
        )
        return any(
            getattr(row, name) != getattr(row, f"{name}_real") for row in rows for name in COUNTED
        )

    async def owners(self) -> list[str]:
        """List all owners with data."""
        select = sa.union(
            sa.select(COLLECTIONS.c.owner), sa.select(FILES.c.owner), sa.select(USAGE.c.owner)
        )
        rows = await self._database.read(lambda connection: connection.scalars(select).all())
        return sorted(rows)

    async def usage_wrong(self, owner: str) -> bool:
        """Return whether the usage of an owner differs from what there is."""

        def read(connection: sa.Connection) -> bool:
            found = connection.execute(real_usage(owner)).one()
            return any(getattr(found, name) != getattr(found, f"{name}_kept") for name in USED)

        return await self._database.read(read)

    async def waiting(self, age_s: float, limit: int) -> list[Waiting]:
        """List removals, changes of attributes and erasures that nobody has taken for so long."""
        latest_ms = now_ms() - int(age_s * 1000)
        removals = (
            REMOVALS.select().where(sa.func.abs(REMOVALS.c.created_ms) <= latest_ms).limit(limit)
        )
        changes = ATTRIBUTE_CHANGES.select().where(ATTRIBUTE_CHANGES.c.created_ms <= latest_ms)
        erasures = ERASURES.select().where(
            ERASURES.c.finished_ms.is_(None), ERASURES.c.created_ms <= latest_ms
        )

        def read(connection: sa.Connection) -> list[Waiting]:
            found = [
                Waiting("removal", row.collection, row.document_id)
                for row in connection.execute(removals)
            ]
            found += [
                Waiting("attribute change", row.collection, row.document_id)
                for row in connection.execute(changes.limit(limit))
            ]
            return found + [
                Waiting("erasure", row.collection or "", row.document_id or "", row.owner)
                for row in connection.execute(erasures.limit(limit))
            ]

        return await self._database.read(read)

    async def integrity(self) -> list[str]:
        """Have SQLite check its file; return its complaints. Nothing to do for PostgreSQL."""

        def check(connection: sa.Connection) -> list[str]:
            if connection.dialect.name != "sqlite":
                return []
            quick = connection.exec_driver_sql(f"PRAGMA quick_check({_MAX_MESSAGES})")
            found = [str(row[0]) for row in quick if row[0] != "ok"]
            foreign = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(
                _MAX_MESSAGES
            )
            return found + [f"a row of {row[0]} refers to none of {row[2]}" for row in foreign]

        try:
            return await self._database.read(check)
        except sa.exc.DatabaseError as error:  # "database disk image is malformed"
            return [str(error.orig)]


_DOCUMENTS = (
    sa.select(*DOCUMENTS.c, *INDEXES, VERSIONS.c.pair.label("in_pair"))
    .join(COLLECTIONS, COLLECTIONS.c.id == DOCUMENTS.c.collection)
    .outerjoin(VERSIONS, CURRENT)
    .where(NOT_REMOVED)
)


def _known(connection: sa.Connection, select: sa.Select[Any]) -> list[KnownDocument]:
    rows = connection.execute(select).all()
    versions: dict[tuple[str, str], list[VersionEntry]] = {
        (row.collection, row.id): [] for row in rows
    }
    for collection in {row.collection for row in rows}:
        ids = [row.id for row in rows if row.collection == collection]
        of_documents = VERSIONS.select().where(
            VERSIONS.c.collection == collection, VERSIONS.c.document_id.in_(ids)
        )
        for row in connection.execute(of_documents.order_by(VERSIONS.c.number)):
            # A document may have been added since, where transactions see others' changes.
            versions.setdefault((row.collection, row.document_id), []).append(version_entry_of(row))
    in_progress = document_in_progress(connection)
    return [
        KnownDocument(
            row.collection,
            row.id,
            row.name is not None,
            row.status,
            row.version,
            row.attributes,
            indexes_of_version(row, row.in_pair),
            tuple(versions[row.collection, row.id]),
            rechunked=(row.collection, row.id) == in_progress,
        )
        for row in rows
    ]


def _file(row: Any) -> FileEntry:  # noqa: ANN401 - a row of the table
    created_at = row.created_ms // 1000
    return FileEntry(row.id, row.filename, row.purpose, row.size_bytes, created_at, row.digest)
