"""Changes of the chunker: documents chunked by another one, and which of them is in progress.

Jobs does the work (`deployments/jobs/rechunking.py`). A version keeps its number. It is recorded as
in progress before any new chunk of it is stored, and until the catalogue knows its new chunker:
after an interruption it is rechunked again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from deployments.catalogue.clock import now_ms
from deployments.catalogue.collections import lock_collection
from deployments.catalogue.document_rows import add_language, is_version, warnings_value
from deployments.catalogue.entries import ChangeProgress, ChangeState, DocumentStatus
from deployments.catalogue.erased_rows import of_owner
from deployments.catalogue.outdated_documents import (
    OutdatedDocument,
    VersionInProgress,
    columns_of,
    current_version,
    outdated_documents,
    progress,
)
from deployments.catalogue.statements import insert_missing
from deployments.catalogue.tables import CHUNKER_CHANGES, CURRENT, DOCUMENTS, VERSIONS
from deployments.errors import Conflict, NotFound

if TYPE_CHECKING:
    from deployments.catalogue.database import Database
    from deployments.types import Document

CLAIM_LOST = "claim_lost"
"""Code of the Conflict that a worker gets whose claim another one has taken over."""

_LATEST = CHUNKER_CHANGES.select().order_by(CHUNKER_CHANGES.c.number.desc()).limit(1)
_ENDED = {ChangeState.FINISHED, ChangeState.CANCELLED}


@dataclass(frozen=True, slots=True)
class ChunkerChange:
    """A change to the chunker of this name; `failed` documents keep their chunks.

    `claimant` is the token of the worker that has claimed it.
    """

    number: int
    chunker: str
    state: ChangeState
    created_ms: int
    claimed_ms: int
    claimant: str = ""
    in_progress: VersionInProgress | None = None
    chunks_per_s: float = 0.0
    failed: int = 0

    @property
    def ended(self) -> bool:
        """Whether no further document is begun."""
        return self.state in _ENDED


class ChunkerChanges:
    """The changes of the installation: at most one is under way."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def latest(self) -> ChunkerChange | None:
        """Return the newest change, which may have ended."""
        return await self._database.read(_latest)

    async def begin(self, chunker: str, before_ms: int) -> None:
        """Begin a change to a chunker if documents need it and the newest change is to another.

        Do nothing if the newest change was created at or after `before_ms`, the start of the
        calling replica: such a replica may have outdated settings.
        """

        def is_needed(connection: sa.Connection) -> bool:
            latest = _latest(connection)
            if latest is not None:
                if latest.chunker == chunker or latest.created_ms >= before_ms:
                    return False
                if latest.in_progress is not None:
                    return True
            return bool(outdated_documents(connection, chunker, 1))

        def begin(connection: sa.Connection) -> None:
            latest = _latest(connection)
            if not is_needed(connection):
                return
            in_progress = latest.in_progress if latest else None
            number = latest.number + 1 if latest else 1
            inserted = insert_missing(
                connection,
                CHUNKER_CHANGES,
                number=number,
                chunker=chunker,
                state=ChangeState.RUNNING.value,
                created_ms=now_ms(),
                claimed_ms=latest.claimed_ms if latest else 0,  # its worker may still be at it
                claimant="",
                chunks_per_s=0.0,
                failed=0,
                **columns_of(in_progress),
            )
            if inserted and latest is not None:
                older = CHUNKER_CHANGES.update().where(CHUNKER_CHANGES.c.number < number)
                connection.execute(older.values(**columns_of(None), claimant=""))

        if await self._database.read(is_needed):
            await self._database.write(begin)

    async def claim(self, chunker: str, token: str, age_s: float) -> ChunkerChange | None:
        """Claim the newest change, or return None.

        It must be to this chunker, and its last claim must be at least `age_s` old.
        """
        now = now_ms()

        def claim(connection: sa.Connection) -> ChunkerChange | None:
            row = connection.execute(_LATEST.with_for_update()).first()
            if row is None or row.chunker != chunker or row.claimed_ms > now - int(age_s * 1000):
                return None
            _set(connection, row.number, claimed_ms=now, claimant=token)
            return _change(connection.execute(_LATEST).one())

        return await self._database.write(claim)

    async def renew(self, change: ChunkerChange) -> None:
        """Renew a claim; this and what follows raises Conflict if it was lost."""
        await self._update(change, claimed_ms=now_ms())

    async def report(self, change: ChunkerChange, chunks_per_s: float, failed: int) -> None:
        """Record what the worker has seen."""
        await self._update(change, chunks_per_s=chunks_per_s, failed=failed)

    async def release(self, change: ChunkerChange) -> None:
        """Give up a claim, so that another worker need not wait."""
        await self._update(change, claimed_ms=0, claimant="")

    async def begin_document(self, change: ChunkerChange, wanted: OutdatedDocument) -> None:
        """Record that a version is in progress."""
        await self._update(change, **columns_of(wanted.version))

    async def end_document(self, change: ChunkerChange) -> None:
        """Record that no version is in progress."""
        await self._update(change, **columns_of(None))

    async def complete(self, change: ChunkerChange, document: Document) -> bool:
        """Record how a version is chunked now, and that it is no longer in progress.

        Return False if it is not the current version any more.
        """
        values = {
            "title": document.title,
            "media_type": document.media_type,
            "pages": document.pages,
            "chunks": document.chunks,
            "chunker": document.chunker,
            "warnings": warnings_value(document),
            "language": document.language or None,
        }
        is_current = sa.exists(
            sa.select(DOCUMENTS.c.id).where(
                CURRENT, DOCUMENTS.c.status == DocumentStatus.COMPLETED.value
            )
        )
        same_job = VERSIONS.c.job_id.is_not_distinct_from(document.job_id)

        def complete(connection: sa.Connection) -> bool:
            if not lock_collection(connection, document.collection):
                return False
            update = VERSIONS.update().where(is_version(document), is_current, same_job)
            if not connection.execute(update.values(values)).rowcount:
                return False
            add_language(connection, document)
            _update(connection, change, **columns_of(None))
            return True

        return await self._database.write(complete)

    async def finish(self, change: ChunkerChange) -> None:
        """End a change, unless a command has changed its state."""
        running = CHUNKER_CHANGES.c.state == ChangeState.RUNNING.value
        update = CHUNKER_CHANGES.update().where(CHUNKER_CHANGES.c.number == change.number, running)
        finished = update.values(state=ChangeState.FINISHED.value)
        await self._database.write(lambda connection: connection.execute(finished))

    async def outdated(
        self, chunker: str, after: tuple[str, str] | None, limit: int
    ) -> list[OutdatedDocument]:
        """List current versions chunked by another chunker, in the order of their keys."""
        return await self._database.read(
            lambda connection: outdated_documents(connection, chunker, limit, after)
        )

    async def current(self, version: VersionInProgress) -> OutdatedDocument | None:
        """Return a version if it is still the current one of its document."""
        return await self._database.read(lambda connection: current_version(connection, version))

    async def forget(self, collection: str, document_id: str) -> bool:
        """Forget that a document is in progress, and end its claim; return whether it was."""
        return await self._forget(
            CHUNKER_CHANGES.c.collection == collection, CHUNKER_CHANGES.c.document_id == document_id
        )

    async def forget_owner(self, owner: str) -> bool:
        """Forget that a document of an owner is in progress."""
        return await self._forget(of_owner(CHUNKER_CHANGES.c.collection, owner))

    async def _forget(self, *which: sa.ColumnElement[bool]) -> bool:
        update = CHUNKER_CHANGES.update().where(*which).values(**columns_of(None), claimant="")
        return await self._database.write(
            lambda connection: connection.execute(update).rowcount > 0
        )

    async def progress(self, chunker: str) -> ChangeProgress:
        """Count completed documents and their chunks, and those that this chunker has chunked."""
        return await self._database.read(lambda connection: progress(connection, chunker))

    async def start(self) -> None:
        """Start a cancelled or finished change again; raise NotFound if there was none."""
        await self._change_state(set(ChangeState), ChangeState.RUNNING)

    async def pause(self) -> None:
        """Rechunk no further documents until `resume`."""
        await self._change_state({ChangeState.RUNNING}, ChangeState.PAUSED)

    async def resume(self) -> None:
        """Continue after `pause`."""
        await self._change_state({ChangeState.PAUSED}, ChangeState.RUNNING)

    async def cancel(self) -> None:
        """Leave the remaining documents as they are."""
        await self._change_state({ChangeState.RUNNING, ChangeState.PAUSED}, ChangeState.CANCELLED)

    async def _change_state(self, before: set[ChangeState], after: ChangeState) -> None:
        def change_state(connection: sa.Connection) -> None:
            row = connection.execute(_LATEST.with_for_update()).first()
            if row is None:
                msg = "all documents were chunked by the chunker of the service"
                raise NotFound(msg)
            change = _change(row)
            if change.state in before:
                _set(connection, change.number, state=after.value)
            elif change.state is not after:
                msg = f"the change of the chunker is {change.state.value}"
                raise Conflict(msg)

        await self._database.write(change_state)

    async def _update(self, change: ChunkerChange, **values: Any) -> None:  # noqa: ANN401 - of columns
        await self._database.write(lambda connection: _update(connection, change, **values))


def document_in_progress(connection: sa.Connection) -> tuple[str, str] | None:
    """Return the document whose chunks are being replaced, by collection and id."""
    latest = _latest(connection)
    if latest is None or latest.in_progress is None:
        return None
    return latest.in_progress.collection, latest.in_progress.document_id


def _latest(connection: sa.Connection) -> ChunkerChange | None:
    row = connection.execute(_LATEST).first()
    return None if row is None else _change(row)


def _update(connection: sa.Connection, change: ChunkerChange, **values: Any) -> None:  # noqa: ANN401 - of columns
    """Change the row of a change that is still claimed; raise Conflict if it is not."""
    claimed = CHUNKER_CHANGES.c.claimant == change.claimant
    update = CHUNKER_CHANGES.update().where(CHUNKER_CHANGES.c.number == change.number, claimed)
    if not connection.execute(update.values(values)).rowcount:
        msg = "another replica has taken over the change of the chunker"
        raise Conflict(msg, code=CLAIM_LOST)


def _set(connection: sa.Connection, number: int, **values: Any) -> None:  # noqa: ANN401 - of columns
    update = CHUNKER_CHANGES.update().where(CHUNKER_CHANGES.c.number == number)
    connection.execute(update.values(values))


def _change(row: Any) -> ChunkerChange:  # noqa: ANN401 - a row of the table
    version = None
    if row.collection is not None:
        version = VersionInProgress(row.collection, row.document_id, row.version, row.job_id)
    return ChunkerChange(
        row.number,
        row.chunker,
        ChangeState(row.state),
        row.created_ms,
        row.claimed_ms,
        row.claimant,
        version,
        row.chunks_per_s,
        row.failed,
    )
