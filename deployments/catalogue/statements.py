"""Inserts that skip existing rows, and keyset pagination."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.catalogue.entries import PageQuery


def insert_missing(connection: sa.Connection, table: sa.Table, **values: Any) -> bool:  # noqa: ANN401 - of columns
    """Insert a row unless its primary key exists; return whether it was inserted."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(table).values(**values).on_conflict_do_nothing()
    # Not every driver reports the number of inserted rows.
    return connection.execute(statement.returning(*table.primary_key)).first() is not None


def page_of(
    connection: sa.Connection,
    select: sa.Select[Any],
    key: Sequence[sa.ColumnElement[Any]],
    after: Sequence[Any] | None,
    query: PageQuery,
) -> tuple[list[Any], bool]:
    """Return the rows of a page, in the order of `key`, and whether more follow.

    `after` is the key of the last row of the page before.
    """
    columns = sa.tuple_(*key)
    if after is not None:
        last = sa.tuple_(*(sa.literal(value) for value in after))
        select = select.where(columns < last if query.newest_first else columns > last)
    order = [column.desc() if query.newest_first else column for column in key]
    rows = connection.execute(select.order_by(*order).limit(query.limit + 1)).all()
    return list(rows[: query.limit]), len(rows) > query.limit
