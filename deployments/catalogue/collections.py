"""Collections, by their full names, and the counts of their documents."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from loguru import logger

from deployments.catalogue import index_claims
from deployments.catalogue.clock import now_ms
from deployments.catalogue.collection_removals import hide_collection, remove_some
from deployments.catalogue.entries import CollectionEntry, CollectionIndex, EntryPage
from deployments.catalogue.expiry import (
    NOT_REMOVED,
    check_can_expire,
    check_use,
    expiry_values,
    is_expired,
    record_use,
)
from deployments.catalogue.statements import insert_missing, page_of
from deployments.catalogue.tables import BATCH_FILES, COLLECTIONS
from deployments.catalogue.usage import add_usage
from deployments.catalogue.waiting_files import IS_WAITING
from deployments.collection_names import (
    DEFAULT_COLLECTION,
    full_name,
    is_default,
    is_vector_store,
    owner_of,
    short_name,
    unknown_collection,
)
from deployments.errors import Conflict, ServiceError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deployments.catalogue.database import Database
    from deployments.catalogue.entries import Expiry, PageQuery, Quotas


_REST_S = 0.05  # SQLite looks every 0.1 s at most whether the lock is free

# A collection, and how many files of batches wait to become documents.
_ENTRIES = sa.select(
    *COLLECTIONS.c,
    sa.select(sa.func.count())
    .where(BATCH_FILES.c.collection == COLLECTIONS.c.id, IS_WAITING)
    .scalar_subquery()
    .label("waiting"),
)

_LOCK = (
    sa.select(COLLECTIONS.c.id)
    .where(COLLECTIONS.c.id == sa.bindparam("collection"), NOT_REMOVED)
    .with_for_update()
)


class Collections:
    """The id of a collection is its full name; `name` is the one to display.

    Every owner's `default` exists.
    """

    def __init__(self, database: Database, quotas: Quotas) -> None:
        self._database = database
        self._quotas = quotas
        self._recording: dict[str, asyncio.Task[None]] = {}  # one for each collection

    async def add(self, entry: CollectionEntry) -> None:
        """Add a collection unless it exists; raise InvalidRequest if it is over a quota."""
        await self._database.write(
            lambda connection: ensure_collection(connection, entry, self._quotas)
        )

    async def get(self, collection: str) -> CollectionEntry:
        """Find a collection; raise NotFound."""
        select = _ENTRIES.where(COLLECTIONS.c.id == collection, NOT_REMOVED)
        row = await self._database.read(lambda connection: connection.execute(select).first())
        if row is not None:
            return _entry(row)
        if is_default(collection):
            return CollectionEntry(collection, short_name(collection), 0)
        raise unknown_collection(collection)

    async def index(self, collection: str) -> CollectionIndex:
        """Return the vector indexes of a collection; raise NotFound."""
        if found := await self._database.read(
            lambda connection: index_claims.indexes_of(connection, collection)
        ):
            return found
        if is_default(collection):
            return CollectionIndex(None, "", 0)
        raise unknown_collection(collection)

    async def claim_index(
        self, collection: str, loaded: Mapping[str, str], *, moved: bool = False
    ) -> CollectionIndex:
        """Record the indexes of a collection, and return them; raise NotFound.

        `loaded` are those of the models that the service has, with the names of these, the first
        for new collections; see `index_claims`. The unknown index of documents of version 0.1
        stays, unless these were `moved`.
        """

        def claim(connection: sa.Connection) -> CollectionIndex | None:
            if not lock_collection(connection, collection):
                return None
            return index_claims.claim(connection, collection, loaded, moved=moved)

        found = await self._database.read(
            lambda connection: index_claims.find(connection, collection, loaded, moved=moved)
        )
        if found is None:
            found = await self._database.write(claim)
        if found is None:
            raise unknown_collection(collection)
        return found

    async def page(self, owner: str, query: PageQuery) -> EntryPage[CollectionEntry]:
        """List the collections of an owner: vector stores follow all others."""
        select = _ENTRIES.where(COLLECTIONS.c.owner == owner, NOT_REMOVED)
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
        self,
        collection: str,
        name: str | None,
        metadata: Mapping[str, str] | None,
        expiry: Expiry | None = None,
    ) -> CollectionEntry:
        """Change the display name, the metadata or the expiry of a collection; raise NotFound.

        An expiry counts as a use, and renews a vector store that has expired. Raises
        InvalidRequest if it is not of a vector store.
        """
        values: dict[str, Any] = {}
        if expiry is not None:
            if expiry.days is not None:
                check_can_expire(collection)
            values |= expiry_values(expiry.days, now_ms())
        if name is not None:
            values["name"] = name
        if metadata is not None:
            values["metadata"] = dict(metadata)

        def change(connection: sa.Connection) -> None:
            if is_default(collection):
                entry = CollectionEntry(collection, short_name(collection), 0)
                ensure_collection(connection, entry, self._quotas)
            if values:
                update = COLLECTIONS.update().where(COLLECTIONS.c.id == collection, NOT_REMOVED)
                connection.execute(update.values(values))

        await self._database.write(change)
        return await self.get(collection)

    async def use(self, collection: str) -> None:
        """Record in the background that a collection is used: the caller waits for no lock.

        Raises InvalidRequest if it has expired.
        """
        if not is_vector_store(collection):
            return
        stale = await self._database.read(lambda connection: check_use(connection, collection))
        if stale and collection not in self._recording:
            task = asyncio.get_running_loop().create_task(self._record_use(collection))
            self._recording[collection] = task
            task.add_done_callback(lambda _: self._recording.pop(collection, None))

    async def _record_use(self, collection: str) -> None:
        try:
            await self._database.write(lambda connection: record_use(connection, collection))
        except ServiceError as error:
            logger.info("a use of {} is not recorded: {}", collection, error)

    async def remove_expired(self, age_s: float) -> str | None:
        """Remove a collection that expired at least this long ago; return its name, if any.

        So is one whose removal was interrupted. `Catalogue.removals` has it until its vectors are
        deleted.
        """
        latest_ms = now_ms() - int(age_s * 1000)
        expired = sa.select(COLLECTIONS.c.id).where(COLLECTIONS.c.expires_ms <= latest_ms).limit(1)

        def hide(connection: sa.Connection) -> str | None:
            collection: str | None = connection.scalar(expired.with_for_update(skip_locked=True))
            if collection is not None:
                hide_collection(connection, collection)
            return collection

        if (collection := await self._database.write(hide)) is not None:
            await self._remove_hidden(collection)
        return collection

    async def remove(self, collection: str) -> bool:
        """Remove a collection with its documents and return whether it existed.

        It is gone for others at once. If this is interrupted, `remove_expired` goes on with it.
        `Catalogue.removals` has it until its vectors are deleted.
        """

        def hide(connection: sa.Connection) -> bool:
            if not lock_collection(connection, collection):
                return False
            hide_collection(connection, collection)
            return True

        existed = await self._database.write(hide)
        if existed:
            await self._remove_hidden(collection)
        return existed

    async def _remove_hidden(self, collection: str) -> None:
        """Remove a hidden collection in short transactions, with time for those of others."""
        began = time.monotonic()
        while await self._database.write(lambda connection: remove_some(connection, collection)):
            await asyncio.sleep(max(_REST_S, time.monotonic() - began))
            began = time.monotonic()


def ensure_collection(connection: sa.Connection, entry: CollectionEntry, quotas: Quotas) -> None:
    """Insert the row of a collection unless it exists."""
    owner = owner_of(entry.id)
    created_ms = entry.created_at * 1000 or now_ms()
    if insert_missing(
        connection,
        COLLECTIONS,
        id=entry.id,
        owner=owner,
        vector_store=is_vector_store(entry.id),
        name=entry.name,
        metadata=dict(entry.metadata),
        created_ms=created_ms,
        **expiry_values(entry.expires_days, created_ms),
    ):
        add_usage(connection, owner, quotas, collections=1)


def lock_collection(connection: sa.Connection, collection: str) -> bool:
    """Lock the row of a collection until the transaction ends; return whether it exists.

    All that changes documents does this first: two transactions that locked rows in another order
    would wait for each other.
    """
    return connection.execute(_LOCK, {"collection": collection}).first() is not None


def _exists(connection: sa.Connection, collection: str) -> bool:
    select = sa.select(COLLECTIONS.c.id).where(COLLECTIONS.c.id == collection)
    return connection.execute(select).first() is not None


def _entry(row: Any) -> CollectionEntry:  # noqa: ANN401 - a row of the table
    return CollectionEntry(
        row.id,
        row.name,
        row.created_ms // 1000,
        row.metadata,
        in_progress=row.in_progress + row.waiting,
        completed=row.completed,
        failed=row.failed,
        cancelled=row.cancelled,
        size_bytes=row.size_bytes,
        expires_days=row.expires_days,
        active_at=None if row.active_ms is None else row.active_ms // 1000,
        expires_at=None if row.expires_ms is None else row.expires_ms // 1000,
        expired=is_expired(row.expires_ms),
    )
