"""Second indexes of collections, while the embedding model is changed.

The chunks of a collection are kept in two indexes, which are a `pair` with a name of its own. A
version that is in both has that name. A switch exchanges the two, so it needs no change of the
versions, and going back is another switch.

Where only the model of the second index is loaded, uploads are stored in that alone. Such a version
has the name with a suffix, until it is copied to the first index or the two are exchanged. So has
one that was in progress during a switch, as it may be stored in the earlier index already.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from deployments.catalogue.change_progress import count_done
from deployments.catalogue.document_rows import ENTRIES, entry_of, is_version
from deployments.catalogue.entries import (
    ACTIVE,
    ChangeProgress,
    DocumentStatus,
    DocumentToCopy,
    VersionStatus,
)
from deployments.catalogue.expiry import NOT_REMOVED
from deployments.catalogue.tables import COLLECTIONS, CURRENT, DOCUMENTS, VERSIONS
from deployments.errors import Conflict, Unavailable

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from deployments.types import Document

_PAIR_BYTES = 12
_ONLY = ".second"
_IDS_AT_ONCE = 1000  # in one statement

_HAS_SECOND = sa.and_(COLLECTIONS.c.pair.is_not(None), NOT_REMOVED)
_COMPLETED = DOCUMENTS.c.status == DocumentStatus.COMPLETED.value
_ONLY_SECOND = VERSIONS.c.pair.is_not_distinct_from(COLLECTIONS.c.pair + _ONLY)
_IN_SECOND = sa.or_(VERSIONS.c.pair.is_not_distinct_from(COLLECTIONS.c.pair), _ONLY_SECOND)
_ROOM = sa.and_(
    COLLECTIONS.c.index_name.is_not(None), COLLECTIONS.c.other_index_name.is_(None), NOT_REMOVED
)
_NOT_PAIRED = {"pair": None}
_EXCHANGED = {
    "index_name": COLLECTIONS.c.other_index_name,
    "embedding_model": COLLECTIONS.c.other_embedding_model,
    "other_index_name": COLLECTIONS.c.index_name,
    "other_embedding_model": COLLECTIONS.c.embedding_model,
}
_OF_COLLECTION = COLLECTIONS.c.id == DOCUMENTS.c.collection
_IN_PROGRESS = VERSIONS.c.status == VersionStatus.IN_PROGRESS.value
_LOCKED_INDEXES = (
    sa.select(COLLECTIONS.c.index_name, COLLECTIONS.c.other_index_name, COLLECTIONS.c.pair)
    .where(COLLECTIONS.c.id == sa.bindparam("of"), NOT_REMOVED)
    .with_for_update()
)
_WANTED_ALONE = (
    sa.select(VERSIONS.c.number)
    .outerjoin(DOCUMENTS, CURRENT)
    .where(
        VERSIONS.c.collection == COLLECTIONS.c.id,
        _ONLY_SECOND,
        sa.or_(_IN_PROGRESS, _COMPLETED),
    )
    .correlate(COLLECTIONS)
)
"""The versions that are, or may become, current ones of a collection in its second index alone."""


INDEXES = COLLECTIONS.c.index_name, COLLECTIONS.c.other_index_name, COLLECTIONS.c.pair


def indexes_of_version(row: Any, in_pair: str | None) -> tuple[str, ...]:  # noqa: ANN401 - a row
    """Return the indexes that a version is in, as it is marked and as its collection has them."""
    indexes: list[str | None] = [row.index_name]
    if row.pair is not None and in_pair == row.pair:
        indexes = [row.index_name, row.other_index_name]
    elif row.pair is not None and in_pair == row.pair + _ONLY:
        indexes = [row.other_index_name]
    return tuple(name for name in indexes if name is not None)


def new_pair() -> str:
    """Return a name for a pair of indexes."""
    return secrets.token_hex(_PAIR_BYTES)


def pair_collections(
    connection: sa.Connection, index_name: str, model: str, served: Collection[str] | None = None
) -> None:
    """Give a second index to all collections that are in another one, and have no second one.

    With `served`, only to those that have documents and are in none of these.
    """
    which = [_ROOM, COLLECTIONS.c.index_name != index_name]
    if served is not None:
        which += [COLLECTIONS.c.index_name.not_in(served), COLLECTIONS.c.completed > 0]
    values = {
        "other_index_name": index_name,
        "other_embedding_model": model,
        "pair": new_pair(),
    }
    connection.execute(COLLECTIONS.update().where(*which).values(values))


def unpair(
    connection: sa.Connection, *, other_than: str | None = None, loaded: Collection[str] = ()
) -> None:
    """Stop keeping second indexes in sync: they are emptied, and then forgotten.

    Not those that have a version alone. With `other_than`, only pairs without that index, of which
    the second one is not loaded.
    """
    which = [COLLECTIONS.c.pair.is_not(None), ~_WANTED_ALONE.exists()]
    if other_than is not None:
        which += [
            COLLECTIONS.c.index_name != other_than,
            COLLECTIONS.c.other_index_name != other_than,
            COLLECTIONS.c.other_index_name.not_in(loaded),
        ]
    connection.execute(COLLECTIONS.update().where(*which).values(_NOT_PAIRED))


def has_only_second(connection: sa.Connection) -> bool:
    """Return whether a document is in the second index of its collection alone.

    Or whether an upload that is in progress may be.
    """
    select = sa.select(COLLECTIONS.c.id).where(_HAS_SECOND, _WANTED_ALONE.exists())
    return connection.execute(select.limit(1)).first() is not None


def to_empty(connection: sa.Connection, limit: int) -> list[tuple[str, str]]:
    """List collections with the second indexes from which their chunks must be removed."""
    columns = COLLECTIONS.c.id, COLLECTIONS.c.other_index_name
    unpaired = COLLECTIONS.c.other_index_name.is_not(None), COLLECTIONS.c.pair.is_(None)
    rows = connection.execute(sa.select(*columns).where(*unpaired).limit(limit)).all()
    return [(row[0], row[1]) for row in rows]


def emptied(connection: sa.Connection, collection: str, index_name: str) -> None:
    """Forget a second index: it has no chunks of the collection any more."""
    which = (
        COLLECTIONS.c.id == collection,
        COLLECTIONS.c.other_index_name == index_name,
        COLLECTIONS.c.pair.is_(None),
    )
    nothing = {"other_index_name": None, "other_embedding_model": None}
    connection.execute(COLLECTIONS.update().where(*which).values(nothing))


def to_copy(
    connection: sa.Connection,
    loaded: Collection[str],
    after: tuple[str, str] | None,
    limit: int,
) -> list[DocumentToCopy]:
    """List documents whose current versions are not in both indexes, in the order of their keys.

    Only where the model of the index that lacks them is loaded.
    """
    to_second = sa.and_(COLLECTIONS.c.other_index_name.in_(loaded), ~_IN_SECOND)
    to_first = sa.and_(COLLECTIONS.c.index_name.in_(loaded), _ONLY_SECOND)
    select = (
        ENTRIES.add_columns(sa.case((_ONLY_SECOND, 1), else_=0).label("only_second"))
        .join(COLLECTIONS, _OF_COLLECTION)
        .where(_HAS_SECOND, _COMPLETED, sa.or_(to_second, to_first))
        .order_by(DOCUMENTS.c.collection, DOCUMENTS.c.id)
        .limit(limit)
    )
    if after is not None:
        key = sa.tuple_(DOCUMENTS.c.collection, DOCUMENTS.c.id)
        select = select.where(key > sa.tuple_(*map(sa.literal, after)))
    rows = connection.execute(select).all()
    return [DocumentToCopy(entry_of(row).document, bool(row.only_second)) for row in rows]


def mark_version(connection: sa.Connection, document: Document, indexes: Collection[str]) -> bool:
    """Record in which indexes a version is published: the two may have been exchanged meanwhile.

    Return whether it exists, and is or may become the current one. Raises Unavailable if they are
    not those of its collection any more.
    """
    row = connection.execute(_LOCKED_INDEXES, {"of": document.collection}).first()
    if row is None:
        return False
    in_first = row.index_name in indexes
    in_second = row.pair is not None and row.other_index_name in indexes
    if not in_first and not in_second:
        msg = "the indexes of the collection have been changed: try again"
        raise Unavailable(msg)
    value = None
    if in_second:
        value = row.pair if in_first else row.pair + _ONLY
    marked = VERSIONS.update().where(is_version(document)).values(pair=value)
    return connection.scalar(marked.returning(VERSIONS.c.status)) in ACTIVE


def progress(
    connection: sa.Connection, index_name: str, collection: str | None = None
) -> ChangeProgress:
    """Count what is in both indexes, of all collections with a second one, or of one of them."""
    which = [_HAS_SECOND] if collection is None else [_HAS_SECOND, COLLECTIONS.c.id == collection]
    documents = count_done(connection, _IN_SECOND, *which)
    switched = sa.case((COLLECTIONS.c.index_name == index_name, 1), else_=0)
    collections = connection.execute(
        sa.select(sa.func.count(), sa.func.sum(switched)).where(*which)
    ).one()
    return ChangeProgress(*(int(each or 0) for each in (*documents, *collections)))


def exchange(
    connection: sa.Connection, index_name: str, collections: Sequence[str] | None = None
) -> int:
    """Search collections in their second index `index_name` from now on; return their number.

    All that have it, or those in `collections`. Raises Conflict if a document is not in it.
    """
    which = [_HAS_SECOND, COLLECTIONS.c.other_index_name == index_name]
    if collections is not None:
        which.append(COLLECTIONS.c.id.in_(collections))
    # What completes or marks a version must hold the lock of its collection. Collections that match
    # later, as others change them, are not locked: they stay as they are.
    locked = sa.select(COLLECTIONS.c.id).where(*which).order_by(COLLECTIONS.c.id).with_for_update()
    ids = connection.scalars(locked).all()
    groups = [ids[start : start + _IDS_AT_ONCE] for start in range(0, len(ids), _IDS_AT_ONCE)]
    if left := sum(_missing(connection, group) for group in groups):
        msg = f"{left} documents are not in that index yet"
        raise Conflict(msg, code="not_ready")
    for group in groups:
        _exchange(connection, group)
    return len(ids)


def _missing(connection: sa.Connection, collections: Sequence[str]) -> int:
    """Count the documents that are not in the second index."""
    select = (
        sa.select(sa.func.count())
        .select_from(DOCUMENTS)
        .join(VERSIONS, CURRENT)
        .join(COLLECTIONS, _OF_COLLECTION)
        .where(_COMPLETED, ~_IN_SECOND, COLLECTIONS.c.id.in_(collections))
    )
    return connection.scalar(select) or 0


def _exchange(connection: sa.Connection, collections: Sequence[str]) -> None:
    """Exchange the indexes of collections, and the marks of versions that are in one of them."""
    of_these = COLLECTIONS.c.id.in_(collections)
    for pair in connection.scalars(sa.select(COLLECTIONS.c.pair).where(of_these).distinct()).all():
        in_pair = sa.select(COLLECTIONS.c.id).where(of_these, COLLECTIONS.c.pair == pair)
        now_first = VERSIONS.c.pair.is_not_distinct_from(pair + _ONLY)
        now_second = sa.and_(_IN_PROGRESS, VERSIONS.c.pair.is_distinct_from(pair))
        connection.execute(
            VERSIONS.update()
            .where(VERSIONS.c.collection.in_(in_pair), sa.or_(now_first, now_second))
            .values(pair=sa.case((now_first, None), else_=pair + _ONLY))
        )
    connection.execute(COLLECTIONS.update().where(of_these).values(_EXCHANGED))


def has_second(
    connection: sa.Connection, *, other: str | None = None, present: str | None = None
) -> bool:
    """Return whether a collection has a pair with this second or this present index."""
    which = [_HAS_SECOND]
    if other is not None:
        which.append(COLLECTIONS.c.other_index_name == other)
    if present is not None:
        which.append(COLLECTIONS.c.index_name == present)
    return (
        connection.execute(sa.select(COLLECTIONS.c.id).where(*which).limit(1)).first() is not None
    )


def unserved(connection: sa.Connection, loaded: Collection[str]) -> list[tuple[str, str | None]]:
    """List collections with documents that are in the index of no loaded model.

    Each with its second index, if that is kept equal and its model is loaded.
    """
    second = sa.case(
        (
            sa.and_(COLLECTIONS.c.pair.is_not(None), COLLECTIONS.c.other_index_name.in_(loaded)),
            COLLECTIONS.c.other_index_name,
        ),
        else_=None,
    )
    select = sa.select(COLLECTIONS.c.id, second).where(
        COLLECTIONS.c.index_name.not_in(loaded), COLLECTIONS.c.completed > 0, NOT_REMOVED
    )
    return [(row[0], row[1]) for row in connection.execute(select).all()]
