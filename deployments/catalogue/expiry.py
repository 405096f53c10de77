"""Expiry of vector stores, some days after they were last used.

An expired one keeps its documents for a day, in which its owner can see why it is not searched, and
renew it. Then Jobs removes it.
"""

from __future__ import annotations

import sqlalchemy as sa

from deployments.catalogue.clock import now_ms
from deployments.catalogue.tables import COLLECTIONS
from deployments.collection_names import is_vector_store
from deployments.errors import InvalidRequest

EXPIRED_KEPT_S = 86_400.0
"""How long an expired vector store is kept."""
REMOVED_MS = 0
"""The `expires_ms` of a collection that is being removed: only its removal still finds it."""
NOT_REMOVED = COLLECTIONS.c.expires_ms.is_distinct_from(REMOVED_MS)
_ACTIVE_PERIOD_MS = 60_000  # at most one write for it
_DAY_MS = 86_400_000


def expiry_values(days: int | None, active_ms: int) -> dict[str, int | None]:
    """Return the columns of a collection that expires some days after it was last used."""
    expires_ms = None if days is None else active_ms + days * _DAY_MS
    return {"expires_days": days, "active_ms": active_ms, "expires_ms": expires_ms}


def is_expired(expires_ms: int | None) -> bool:
    """Return whether a collection has expired."""
    return expires_ms is not None and expires_ms <= now_ms()


def check_can_expire(collection: str) -> None:
    """Raise InvalidRequest for a collection that was not created as a vector store."""
    if not is_vector_store(collection):
        msg = "only what was created as a vector store can expire"
        raise InvalidRequest(msg, param="expires_after")


def check_use(connection: sa.Connection, collection: str) -> bool:
    """Return whether the use of a vector store must be recorded now.

    Raises InvalidRequest if it has expired.
    """
    select = sa.select(COLLECTIONS.c.active_ms, COLLECTIONS.c.expires_ms).where(
        COLLECTIONS.c.id == collection, NOT_REMOVED
    )
    row = connection.execute(select).first()
    if row is None:
        return False
    if is_expired(row.expires_ms):
        msg = "this vector store has expired: set `expires_after` to renew it"
        raise InvalidRequest(msg, code="vector_store_expired", param="vector_store_id")
    return (row.active_ms or 0) <= now_ms() - _ACTIVE_PERIOD_MS


def record_use(connection: sa.Connection, collection: str) -> None:
    """Record that a vector store is used; raise InvalidRequest if it has expired.

    The row need not be locked: its expiry may be changed at the same time.
    """
    if not is_vector_store(collection) or not check_use(connection, collection):
        return
    active_ms = now_ms()
    expires_ms = active_ms + COLLECTIONS.c.expires_days * sa.cast(_DAY_MS, sa.BigInteger)
    connection.execute(
        COLLECTIONS.update()
        .where(COLLECTIONS.c.id == collection)
        .values(active_ms=active_ms, expires_ms=expires_ms)
    )
