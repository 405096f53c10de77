"""New batches: the rows that they add, and those of old batches that they replace."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import sqlalchemy as sa

from deployments.catalogue.collections import lock_collection
from deployments.catalogue.document_rows import chunking_values
from deployments.catalogue.expiry import record_use
from deployments.catalogue.tables import BATCH_FILES, BATCHES, FILES
from deployments.catalogue.usage import check_not_being_erased
from deployments.catalogue.waiting_files import IS_WAITING, FileStatus
from deployments.collection_names import owner_of, unknown_collection
from deployments.errors import NotFound, Overloaded
from deployments.kept_files import file_id_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.catalogue.entries import BatchFile

MAX_WAITING_FILES = 20_000
"""Files of one owner's batches that wait for their jobs."""
MAX_BATCHES = 100
"""Batches kept of a collection: a new one replaces the oldest of which no file waits."""


@dataclass(frozen=True, slots=True)
class NewBatch:
    """A batch to add; `created_at` in seconds since the epoch."""

    id: str
    collection: str
    files: Sequence[BatchFile]
    created_at: int


def add_batch(connection: sa.Connection, batch: NewBatch) -> None:
    """Add a batch; see `Batches.add`."""
    owner = owner_of(batch.collection)
    check_not_being_erased(connection, owner)
    if not lock_collection(connection, batch.collection):
        raise unknown_collection(batch.collection)
    record_use(connection, batch.collection)
    file_ids = [file_id_of(file.document_id) for file in batch.files]
    select = sa.select(FILES.c.id).where(FILES.c.id.in_(file_ids), FILES.c.owner == owner)
    if missing := sorted(set(file_ids) - set(connection.scalars(select).all())):
        msg = f"there is no file {missing[0]}"
        raise NotFound(msg, param="file_ids")
    waiting = connection.scalar(
        sa.select(sa.func.count()).where(IS_WAITING, BATCH_FILES.c.owner == owner)
    )
    if (waiting or 0) + len(file_ids) > MAX_WAITING_FILES:
        msg = f"{waiting:,} files of batches are waiting already: try again later"
        raise Overloaded(msg)
    _make_room(connection, batch.collection)
    connection.execute(
        BATCHES.insert().values(
            id=batch.id,
            collection=batch.collection,
            created_ms=batch.created_at * 1000,
            cancelled=False,
        )
    )
    connection.execute(
        BATCH_FILES.insert(),
        [
            {
                "batch_id": batch.id,
                "document_id": file.document_id,
                "collection": batch.collection,
                "owner": owner,
                "status": FileStatus.WAITING.value,
                **chunking_values(file.chunking),
                "attributes": None if file.attributes is None else dict(file.attributes),
            }
            for file in batch.files
        ],
    )


def _make_room(connection: sa.Connection, collection: str) -> None:
    """Remove the oldest batches over the bound; raise Overloaded if files of all of them wait."""
    of_collection = sa.select(BATCHES.c.id).where(BATCHES.c.collection == collection)
    batches = connection.scalars(of_collection.order_by(BATCHES.c.id)).all()
    surplus = len(batches) - MAX_BATCHES + 1
    if surplus <= 0:
        return
    select = sa.select(BATCH_FILES.c.batch_id).where(
        IS_WAITING, BATCH_FILES.c.collection == collection
    )
    waiting = set(connection.scalars(select.distinct()).all())
    removed = [batch_id for batch_id in batches if batch_id not in waiting][:surplus]
    if len(removed) < surplus:
        msg = f"files of {len(waiting)} batches are waiting already: try again later"
        raise Overloaded(msg)
    connection.execute(BATCHES.delete().where(BATCHES.c.id.in_(removed)))
