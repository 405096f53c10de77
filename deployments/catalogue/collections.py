"""Collections, by their full names, and the counts of their documents."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from deployments.catalogue.entries import CollectionEntry, EntryPage
from deployments.catalogue.removals import Removal, add_removal
from deployments.catalogue.statements import insert_missing, page_of
from deployments.catalogue.tables import COLLECTIONS, CURRENT, DOCUMENTS, VERSIONS
from deployments.catalogue.usage import add_usage, change_usage
from deployments.collection_names import (
    DEFAULT_COLLECTION,
    full_name,
    is_default,
    is_vector_store,
    owner_of,
    short_name,
    unknown_collection,
)
from deployments.errors import Conflict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deployments.catalogue.database import Database
    from deployments.catalogue.entries import PageQuery, Quotas


class Collections:
    """The id of a collection is its full name; `name` is the one to display.

    Every owner's `default` exists.
    """

    def __init__(self, database: Database, quotas: Quotas) -> None:
        self._database = database
        self._quotas = quotas

    async def add(self, entry: CollectionEntry) -> None:
        """Add a collection unless it exists; raise InvalidRequest if it is over a quota."""
        await self._database.write(
            lambda connection: ensure_collection(connection, entry, self._quotas)
        )

    async def get(self, collection: str) -> CollectionEntry:
        """Find a collection; raise NotFound."""
        select = COLLECTIONS.select().where(COLLECTIONS.c.id == collection)
        row = await self._database.read(lambda connection: connection.execute(select).first())
        if row is not None:
            return _entry(row)
        if is_default(collection):
            return CollectionEntry(collection, short_name(collection), 0)
        raise unknown_collection(collection)

    async def page(self, owner: str, query: PageQuery) -> EntryPage[CollectionEntry]:
        """List the collections of an owner: vector stores follow all others."""
        select = COLLECTIONS.select().where(COLLECTIONS.c.owner == owner)
        key = (COLLECTIONS.c.vector_store, COLLECTIONS.c.id)
        after = None if query.after is None else (is_vector_store(query.after), query.after)
        default = full_name(owner, DEFAULT_COLLECTION)

        def page(connection: sa.Connection) -> tuple[list[Any], bool] | None:
            if not _exists(connection, default):
                return None
            return page_of(connection, select, key, after, query)

        if (found := await self._database.read(page)) is None:
            with contextlib.suppress(Conflict):  # while everything of the owner is being erased
                await self.add(CollectionEntry(default, DEFAULT_COLLECTION, 0))
            found = await self._database.read(
                lambda connection: page_of(connection, select, key, after, query)
            )
        return EntryPage(tuple(map(_entry, found[0])), found[1])

    async def change(
        self, collection: str, name: str | None, metadata: Mapping[str, str] | None
    ) -> CollectionEntry:
        """Change the display name or the metadata of a collection; raise NotFound."""
        values: dict[str, Any] = {}
        if name is not None:
            values["name"] = name
        if metadata is not None:
            values["metadata"] = dict(metadata)

        def change(connection: sa.Connection) -> None:
            if is_default(collection):
                entry = CollectionEntry(collection, short_name(collection), 0)
                ensure_collection(connection, entry, self._quotas)
            if values:
                connection.execute(
                    COLLECTIONS.update().where(COLLECTIONS.c.id == collection).values(values)
                )

        await self._database.write(change)
        return await self.get(collection)

    async def remove(self, collection: str) -> bool:
        """Remove a collection with its documents and return whether it existed.

        `Catalogue.removals` has it until its vectors are deleted.
        """

        def remove(connection: sa.Connection) -> bool:
            if not lock_collection(connection, collection):
                return False
            documents, size_bytes = connection.execute(
                sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(VERSIONS.c.size_bytes), 0))
                .select_from(DOCUMENTS)
                .join(VERSIONS, CURRENT)
                .where(DOCUMENTS.c.collection == collection)
            ).one()
            connection.execute(COLLECTIONS.delete().where(COLLECTIONS.c.id == collection))
            change_usage(
                connection,
                owner_of(collection),
                collections=-1,
                documents=-documents,
                size_bytes=-int(size_bytes),
            )
            add_removal(connection, Removal(collection))
            return True

        return await self._database.write(remove)


def ensure_collection(connection: sa.Connection, entry: CollectionEntry, quotas: Quotas) -> None:
    """Insert the row of a collection unless it exists."""
    owner = owner_of(entry.id)
    if insert_missing(
        connection,
        COLLECTIONS,
        id=entry.id,
        owner=owner,
        vector_store=is_vector_store(entry.id),
        name=entry.name,
        metadata=dict(entry.metadata),
        created_ms=entry.created_at * 1000 or time.time_ns() // 1_000_000,
    ):
        add_usage(connection, owner, quotas, collections=1)


def lock_collection(connection: sa.Connection, collection: str) -> bool:
    """Lock the row of a collection until the transaction ends; return whether it exists.

    All that changes documents does this first: two transactions that locked rows in another order
    would wait for each other.
    """
    row = sa.select(COLLECTIONS.c.id).where(COLLECTIONS.c.id == collection).with_for_update()
    return connection.execute(row).first() is not None


def _exists(connection: sa.Connection, collection: str) -> bool:
    select = sa.select(COLLECTIONS.c.id).where(COLLECTIONS.c.id == collection)
    return connection.execute(select).first() is not None


def _entry(row: Any) -> CollectionEntry:  # noqa: ANN401 - a row of the table
    return CollectionEntry(
        row.id,
        row.name,
        row.created_ms // 1000,
        row.metadata,
        in_progress=row.in_progress,
        completed=row.completed,
        failed=row.failed,
        cancelled=row.cancelled,
        size_bytes=row.size_bytes,
    )
