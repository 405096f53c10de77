"""Usage counters of each owner, changed by the transactions that add and remove."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import sqlalchemy as sa

from deployments.catalogue.statements import insert_missing
from deployments.catalogue.tables import ERASURES, USAGE
from deployments.errors import Conflict, InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from deployments.catalogue.entries import Quotas

USED = (
    "collections",
    "documents",
    "files",
    "size_bytes",
    "responses",
    "conversations",
    "responses_bytes",
)
"""The counts of an owner."""
_PARAMS = {"collections": "collection", "responses": "store", "responses_bytes": "store"}


def add_usage(connection: sa.Connection, owner: str, quotas: Quotas, **added: int) -> None:
    """Count what is being added; raise InvalidRequest if it is over a quota.

    The row stays locked until the transaction ends. Raises Conflict while everything of the owner
    is being erased.
    """
    _check(change_usage(connection, owner, **added), quotas, added)
    check_not_being_erased(connection, owner)


def check_usage(connection: sa.Connection, owner: str, quotas: Quotas, **added: int) -> None:
    """Raise InvalidRequest if this would be over a quota, or Conflict as `add_usage` does."""
    check_not_being_erased(connection, owner)
    row = connection.execute(USAGE.select().where(USAGE.c.owner == owner)).first()
    used = {name: getattr(row, name, 0) + number for name, number in added.items()}
    _check(used, quotas, added)


def change_usage(connection: sa.Connection, owner: str, **added: int) -> dict[str, int]:
    """Count what is added, or removed where a number is negative; return the new counts."""
    insert_missing(connection, USAGE, owner=owner)
    row = connection.execute(_change(tuple(added)), {"of": owner, **_changes(added)}).one()
    return dict(zip(USED, row, strict=True))


@cache
def _change(names: tuple[str, ...]) -> sa.Executable:
    return (
        USAGE.update()
        .where(USAGE.c.owner == sa.bindparam("of"))
        .values(
            {name: USAGE.c[name] + sa.bindparam(f"{name}_more") for name in names}
            or {"owner": USAGE.c.owner}
        )
        .returning(*(USAGE.c[name] for name in USED))
    )


def _changes(added: Mapping[str, int]) -> dict[str, int]:
    return {f"{name}_more": number for name, number in added.items()}


def check_not_being_erased(connection: sa.Connection, owner: str) -> None:
    """Raise Conflict while everything of an owner is being erased.

    A transaction that has locked the row of the owner's usage sees an erasure for certain, or is
    finished before it begins.
    """
    select = sa.select(ERASURES.c.id).where(
        ERASURES.c.owner == owner,
        ERASURES.c.finished_ms.is_(None),
        ERASURES.c.document_id.is_(None),
    )
    if connection.execute(select).first() is not None:
        msg = "everything of this API key is being erased: try again in a minute"
        raise Conflict(msg, code="being_erased")


def _check(used: Mapping[str, int], quotas: Quotas, names: Iterable[str]) -> None:
    for name in names:
        quota: int = getattr(quotas, name)
        if used[name] > quota:
            what = name.replace("size_", "").replace("_bytes", ", in bytes")
            msg = f"the quota of this API key is {quota:,} {what}: delete something first"
            param = _PARAMS.get(name, "file")
            raise InvalidRequest(msg, code="quota_exceeded", param=param)
