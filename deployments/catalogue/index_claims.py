"""Claims: which indexes a collection gets with its first chunks.

Without completed documents, a collection is in the index that new collections get. Afterwards only
a switch changes that. If the model of its index is not loaded, it gets a second index that has one.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from deployments.catalogue.entries import ChangeState, CollectionIndex
from deployments.catalogue.expiry import NOT_REMOVED
from deployments.catalogue.model_changes import latest_change
from deployments.catalogue.second_indexes import new_pair
from deployments.catalogue.tables import COLLECTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping

_INDEXES = sa.select(
    COLLECTIONS.c.index_name,
    COLLECTIONS.c.embedding_model,
    COLLECTIONS.c.completed,
    COLLECTIONS.c.other_index_name,
    COLLECTIONS.c.other_embedding_model,
    COLLECTIONS.c.pair,
    COLLECTIONS.c.languages,
).where(COLLECTIONS.c.id == sa.bindparam("of"), NOT_REMOVED)


def indexes_of(connection: sa.Connection, collection: str) -> CollectionIndex | None:
    """Return the indexes of a collection; None if it does not exist."""
    row = _row(connection, collection)
    return None if row is None else _indexes(row)


def find(
    connection: sa.Connection, collection: str, loaded: Mapping[str, str], *, moved: bool
) -> CollectionIndex | None:
    """Return the indexes of a collection if nothing has to be recorded."""
    row = _row(connection, collection)
    if row is None:
        return None
    found = _indexes(row)
    return found if _claimed(connection, row, loaded, moved=moved) == found else None


def claim(
    connection: sa.Connection, collection: str, loaded: Mapping[str, str], *, moved: bool
) -> CollectionIndex | None:
    """Record the indexes of a locked collection, and return them; None if it does not exist."""
    row = _row(connection, collection)
    if row is None:
        return None
    claimed = _claimed(connection, row, loaded, moved=moved)
    if claimed != _indexes(row):
        values: dict[str, str | None] = {
            "index_name": claimed.name,
            "embedding_model": claimed.model,
        }
        if row.pair is not None or claimed.pair is not None:
            values |= {
                "other_index_name": claimed.other,
                "other_embedding_model": claimed.other_model,
                "pair": claimed.pair,
            }
        connection.execute(
            COLLECTIONS.update().where(COLLECTIONS.c.id == collection).values(values)
        )
    return claimed


def _claimed(
    connection: sa.Connection,
    row: Any,  # noqa: ANN401 - of _INDEXES
    loaded: Mapping[str, str],
    *,
    moved: bool,
) -> CollectionIndex:
    found = _indexes(row)
    completed = found.completed > 0 and not (moved and found.name is None)
    if completed and (found.name is None or {found.name, found.other} & loaded.keys()):
        return found
    if completed and row.other_index_name is not None:
        return found  # the worker empties the second index first
    change = latest_change(connection)
    first = next(iter(loaded))
    switched = {ChangeState.SWITCHED, ChangeState.FINISHED}
    if change is not None and change.state in switched and change.index_name in loaded:
        first = change.index_name  # though the configuration still names the earlier model first
    if completed:
        return replace(found, other=first, other_model=loaded[first], pair=new_pair())
    second = None
    emptied = row.other_index_name is not None and row.pair is None
    if emptied and first == row.other_index_name:
        return found  # the worker empties this index first, or it would delete the new chunks
    if change is not None and not change.ended and not emptied:
        pair = change.index_name in loaded
        second = next((name for name in loaded if name != first), None) if pair else None
    if (found.name, found.other) == (first, second):
        return found
    return CollectionIndex(
        first,
        loaded[first],
        found.completed,
        second,
        "" if second is None else loaded[second],
        None if second is None else new_pair(),
        found.languages,
    )


def _row(connection: sa.Connection, collection: str) -> Any:  # noqa: ANN401 - of _INDEXES
    return connection.execute(_INDEXES, {"of": collection}).first()


def _indexes(row: Any) -> CollectionIndex:  # noqa: ANN401 - of _INDEXES
    indexes = CollectionIndex(
        row.index_name,
        row.embedding_model or "",
        row.completed,
        languages=tuple(row.languages or ()),
    )
    if row.pair is None:
        return indexes
    return replace(
        indexes,
        other=row.other_index_name,
        other_model=row.other_embedding_model or "",
        pair=row.pair,
    )
