"""Inserts that skip existing rows, and keyset pagination.

SQLAlchemy takes longer to build a statement than SQLite to run it. Those that every upload needs
are therefore built once, with parameters.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.catalogue.entries import PageQuery


def insert_missing(connection: sa.Connection, table: sa.Table, **values: Any) -> bool:  # noqa: ANN401 - of columns
    """Insert a row unless its primary key exists; return whether it was inserted."""
    statement = _insert_missing(table, connection.dialect.name)
    return connection.execute(statement, values).first() is not None


@cache
def _insert_missing(table: sa.Table, dialect_name: str) -> sa.Executable:
    dialect = postgresql if dialect_name == "postgresql" else sqlite
    # Not every driver reports the number of inserted rows.
    insert = dialect.insert(table).on_conflict_do_nothing()
    returning: sa.Executable = insert.returning(*table.primary_key)
    return returning


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
