"""Changes of the chunker: documents that another one has cut are cut anew, from their contents.

Jobs does the work (`deployments/jobs/rechunking.py`). A version keeps its number. The document that
is at work is recorded before anything of it is stored, until its new chunks are in the catalogue:
whatever is interrupted is done again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from deployments.catalogue.clock import now_ms
from deployments.catalogue.collections import lock_collection
from deployments.catalogue.document_rows import (
    ENTRIES,
    chunking_of,
    document_of,
    is_document,
    is_version,
    warnings_value,
)
from deployments.catalogue.entries import ChangeProgress, ChangeState, DocumentStatus
from deployments.catalogue.expiry import NOT_REMOVED
from deployments.catalogue.statements import insert_missing
from deployments.catalogue.tables import CHUNKER_CHANGES, COLLECTIONS, CURRENT, DOCUMENTS, VERSIONS
from deployments.errors import Conflict, NotFound

if TYPE_CHECKING:
    from deployments.catalogue.database import Database
    from deployments.types import Chunking, Document

_LATEST = CHUNKER_CHANGES.select().order_by(CHUNKER_CHANGES.c.number.desc()).limit(1)
_ENDED = {ChangeState.FINISHED, ChangeState.CANCELLED}
_WITH_COLLECTIONS = COLLECTIONS.c.id == DOCUMENTS.c.collection


@dataclass(frozen=True, slots=True)
class ChunkerChange:
    """A change to the chunker of this name; `failed` documents cannot be cut, and stay as they are.

    `at_work` is a version, by collection, id of the document, and number.
    """

    number: int
    chunker: str
    state: ChangeState
    at_work: tuple[str, str, int] | None = None
    chunks_per_s: float = 0.0
    failed: int = 0

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do, except a document at work."""
        return self.state in _ENDED


@dataclass(frozen=True, slots=True)
class DocumentToCut:
    """The current version of a document; one that is not `named` is an attached file."""

    document: Document
    chunking: Chunking | None
    named: bool


class ChunkerChanges:
    """The changes of the installation: at most one is under way."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def latest(self) -> ChunkerChange | None:
        """Return the newest change, which may have ended."""
        return await self._database.read(_latest)

    async def begin(self, chunker: str) -> None:
        """Begin a change to a chunker, if the newest change is to another one and any is needed."""

        def begin(connection: sa.Connection) -> None:
            latest = _latest(connection)
            if latest is not None and latest.chunker == chunker:
                return
            if connection.execute(_outdated(chunker).limit(1)).first() is None:
                return
            insert_missing(
                connection,
                CHUNKER_CHANGES,
                number=latest.number + 1 if latest else 1,
                chunker=chunker,
                state=ChangeState.RUNNING.value,
                created_ms=now_ms(),
                claimed_ms=0,
                **_at_work(*(latest.at_work if latest and latest.at_work else _NOTHING)),
                chunks_per_s=0.0,
                failed=0,
            )

        await self._database.write(begin)

    async def claim(self, age_s: float) -> ChunkerChange | None:
        """Claim the newest change, unless it was claimed less than this long ago."""
        now = now_ms()

        def claim(connection: sa.Connection) -> ChunkerChange | None:
            row = connection.execute(_LATEST.with_for_update()).first()
            if row is None or row.claimed_ms > now - int(age_s * 1000):
                return None
            _set(connection, row.number, claimed_ms=now)
            return _change(row)

        return await self._database.write(claim)

    async def report(self, change: ChunkerChange, chunks_per_s: float, failed: int) -> None:
        """Renew a claim, and record what its worker has seen."""
        values = {"claimed_ms": now_ms(), "chunks_per_s": chunks_per_s, "failed": failed}
        await self._database.write(lambda connection: _set(connection, change.number, **values))

    async def release(self, change: ChunkerChange) -> None:
        """Give a claim up, so that another worker need not wait."""
        await self._database.write(lambda connection: _set(connection, change.number, claimed_ms=0))

    async def to_cut(
        self, chunker: str, after: tuple[str, str] | None, limit: int
    ) -> list[DocumentToCut]:
        """List current versions that another chunker has cut, in the order of their keys."""
        key = DOCUMENTS.c.collection, DOCUMENTS.c.id
        select = _outdated(chunker).order_by(*key).limit(limit)
        if after is not None:
            select = select.where(sa.tuple_(*key) > sa.tuple_(*map(sa.literal, after)))
        rows = await self._database.read(lambda connection: connection.execute(select).all())
        return list(map(_to_cut, rows))

    async def to_cut_again(self, collection: str, document_id: str) -> DocumentToCut | None:
        """Return the current version of a document that was at work; None if it was deleted."""
        select = _COMPLETED.where(is_document(collection, document_id))
        row = await self._database.read(lambda connection: connection.execute(select).first())
        return None if row is None else _to_cut(row)

    async def take(self, change: ChunkerChange, document: Document) -> None:
        """Record that a version is at work."""
        values = _at_work(document.collection, document.id, document.version)
        await self._database.write(lambda connection: _set(connection, change.number, **values))

    async def put_back(self, change: ChunkerChange) -> None:
        """Record that no document is at work."""
        await self._database.write(
            lambda connection: _set(connection, change.number, **_at_work(*_NOTHING))
        )

    async def complete(self, change: ChunkerChange, document: Document) -> bool:
        """Record how a version is cut now, and that it is at work no longer.

        Return False if it is not the current version any more.
        """
        values = {
            "title": document.title,
            "media_type": document.media_type,
            "pages": document.pages,
            "chunks": document.chunks,
            "chunker": document.chunker,
            "warnings": warnings_value(document),
        }
        is_current = sa.exists(
            sa.select(DOCUMENTS.c.id).where(
                CURRENT, DOCUMENTS.c.status == DocumentStatus.COMPLETED.value
            )
        )

        def complete(connection: sa.Connection) -> bool:
            if not lock_collection(connection, document.collection):
                return False
            update = VERSIONS.update().where(is_version(document), is_current)
            if not connection.execute(update.values(values)).rowcount:
                return False
            _set(connection, change.number, **_at_work(*_NOTHING))
            return True

        return await self._database.write(complete)

    async def progress(self, chunker: str) -> ChangeProgress:
        """Count completed documents and their chunks, and those that a chunker has cut."""
        done = sa.case((_is_cut_by(chunker), 1), else_=0)
        counts = (
            sa.select(
                sa.func.count(),
                sa.func.sum(done),
                sa.func.sum(VERSIONS.c.chunks),
                sa.func.sum(done * VERSIONS.c.chunks),
            )
            .select_from(DOCUMENTS)
            .join(VERSIONS, CURRENT)
            .join(COLLECTIONS, _WITH_COLLECTIONS)
            .where(*_CAN_BE_CUT)
        )
        row = await self._database.read(lambda connection: connection.execute(counts).one())
        return ChangeProgress(*(int(each or 0) for each in row))

    async def finish(self, change: ChunkerChange) -> None:
        """End a change that runs."""
        running = CHUNKER_CHANGES.c.state == ChangeState.RUNNING.value
        update = (
            CHUNKER_CHANGES.update()
            .where(CHUNKER_CHANGES.c.number == change.number, running)
            .values(state=ChangeState.FINISHED.value)
        )
        await self._database.write(lambda connection: connection.execute(update))

    async def start(self) -> None:
        """Begin a change again that has ended; raise NotFound if there was none."""
        await self._change_state(set(ChangeState), ChangeState.RUNNING)

    async def pause(self) -> None:
        """Cut no further documents until `resume`."""
        await self._change_state({ChangeState.RUNNING}, ChangeState.PAUSED)

    async def resume(self) -> None:
        """Go on after `pause`."""
        await self._change_state({ChangeState.PAUSED}, ChangeState.RUNNING)

    async def cancel(self) -> None:
        """Leave the other documents as they are."""
        await self._change_state({ChangeState.RUNNING, ChangeState.PAUSED}, ChangeState.CANCELLED)

    async def _change_state(self, before: set[ChangeState], after: ChangeState) -> None:
        def change_state(connection: sa.Connection) -> None:
            row = connection.execute(_LATEST.with_for_update()).first()
            if row is None:
                msg = "all documents were cut by the chunker of the service"
                raise NotFound(msg)
            change = _change(row)
            if change.state in before:
                _set(connection, change.number, state=after.value)
            elif change.state is not after:
                msg = f"the change of the chunker is {change.state.value}"
                raise Conflict(msg)

        await self._database.write(change_state)


def being_cut(connection: sa.Connection) -> tuple[str, str] | None:
    """Return the document whose chunks are being replaced, by collection and id."""
    latest = _latest(connection)
    return None if latest is None or latest.at_work is None else latest.at_work[:2]


def _latest(connection: sa.Connection) -> ChunkerChange | None:
    row = connection.execute(_LATEST).first()
    return None if row is None else _change(row)


def _is_cut_by(chunker: str) -> sa.ColumnElement[bool]:
    """Match versions that this chunker has cut, in their own sizes if they have them."""
    version = sa.literal(f"{chunker.partition('.')[0]}.")
    tokens = sa.cast(VERSIONS.c.chunk_tokens, sa.String)
    overlap = sa.cast(VERSIONS.c.overlap_tokens, sa.String)
    name = sa.case(
        (VERSIONS.c.chunk_tokens.is_(None), sa.literal(chunker)),
        (sa.func.coalesce(VERSIONS.c.overlap_tokens, 0) == 0, version + tokens),
        else_=version + tokens + sa.literal(".") + overlap,
    )
    return VERSIONS.c.chunker == name


_CAN_BE_CUT = (
    DOCUMENTS.c.status == DocumentStatus.COMPLETED.value,
    VERSIONS.c.chunker.is_not(None),  # version 0.1 has kept no contents
    NOT_REMOVED,
)
_COMPLETED = ENTRIES.join(COLLECTIONS, _WITH_COLLECTIONS).where(*_CAN_BE_CUT)
_NOTHING = (None, None, None)


def _outdated(chunker: str) -> sa.Select[Any]:
    return _COMPLETED.where(~_is_cut_by(chunker))


def _to_cut(row: Any) -> DocumentToCut:  # noqa: ANN401 - of ENTRIES
    return DocumentToCut(document_of(row), chunking_of(row), row.document_name is not None)


def _at_work(
    collection: str | None, document_id: str | None, version: int | None
) -> dict[str, Any]:
    return {"collection": collection, "document_id": document_id, "version": version}


def _set(connection: sa.Connection, number: int, **values: Any) -> None:  # noqa: ANN401 - of columns
    update = CHUNKER_CHANGES.update().where(CHUNKER_CHANGES.c.number == number)
    connection.execute(update.values(values))


def _change(row: Any) -> ChunkerChange:  # noqa: ANN401 - a row of the table
    return ChunkerChange(
        row.number,
        row.chunker,
        ChangeState(row.state),
        None if row.collection is None else (row.collection, row.document_id, row.version),
        row.chunks_per_s,
        row.failed,
    )
