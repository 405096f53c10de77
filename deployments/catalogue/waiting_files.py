"""Files of batches that wait, and what happens to their documents meanwhile.

What was accepted last counts: a change of a document also changes the files that wait to become it.
What changes them must hold the lock of the collection.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from deployments.catalogue.document_rows import chunking_values
from deployments.catalogue.tables import BATCH_FILES
from deployments.errors import Conflict

if TYPE_CHECKING:
    from deployments.filters import Attributes


class FileStatus(StrEnum):
    """The status of a file in a batch until its version has one."""

    WAITING = "waiting"
    BEGUN = "begun"
    FAILED = "failed"
    CANCELLED = "cancelled"


IS_WAITING = BATCH_FILES.c.status == FileStatus.WAITING.value


def attributes_in_batch(
    connection: sa.Connection, batch_id: str, document_id: str
) -> Attributes | None:
    """Return the attributes of a file that waits; raise Conflict if it does not wait any more."""
    select = sa.select(BATCH_FILES.c.attributes).where(
        IS_WAITING, BATCH_FILES.c.batch_id == batch_id, BATCH_FILES.c.document_id == document_id
    )
    row = connection.execute(select).first()
    if row is None:
        msg = "the file does not wait in its batch any more"
        raise Conflict(msg)
    attributes: Attributes | None = row.attributes
    return attributes


def waiting_attributes(
    connection: sa.Connection, collection: str, document_id: str
) -> Attributes | None:
    """Return the attributes of a document's waiting file, of the newest batch that sets any."""
    select = (
        sa.select(BATCH_FILES.c.attributes)
        .where(
            IS_WAITING,
            BATCH_FILES.c.collection == collection,
            BATCH_FILES.c.document_id == document_id,
            BATCH_FILES.c.attributes.is_not(None),
        )
        .order_by(BATCH_FILES.c.batch_id.desc())
        .limit(1)
    )
    attributes: Attributes | None = connection.scalar(select)
    return attributes


def begin_waiting(
    connection: sa.Connection, collection: str, document_id: str, version: int
) -> None:
    """Mark the waiting files of a document as begun, with a version accepted after them."""
    values = begun_values(version) | chunking_values(None)
    _update(connection, collection, document_id, values)


def begun_values(version: int) -> dict[str, Any]:
    """Return the columns of a file that has become a version: its attributes are the document's."""
    return {"status": FileStatus.BEGUN.value, "version": version, "attributes": None}


def set_waiting_attributes(
    connection: sa.Connection, collection: str, document_id: str, attributes: Attributes
) -> bool:
    """Replace the attributes that a document will get; return whether a file of it waits."""
    return _update(connection, collection, document_id, {"attributes": dict(attributes)})


def cancel_waiting(connection: sa.Connection, collection: str, document_id: str) -> bool:
    """Cancel the files that wait to become a document; return whether there were any."""
    values = {"status": FileStatus.CANCELLED.value}
    return _update(connection, collection, document_id, values)


def _update(
    connection: sa.Connection, collection: str, document_id: str, values: dict[str, Any]
) -> bool:
    update = (
        BATCH_FILES.update()
        .where(
            IS_WAITING,
            BATCH_FILES.c.collection == collection,
            BATCH_FILES.c.document_id == document_id,
        )
        .values(values)
    )
    return connection.execute(update).rowcount > 0
