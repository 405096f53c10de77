"""Changes of the embedding model: their states, and the commands of the operator.

Jobs does the work (`deployments/jobs/reindexing.py`). At most one change is under way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from deployments.catalogue import second_indexes
from deployments.catalogue.backups import is_held
from deployments.catalogue.clock import now_ms
from deployments.catalogue.entries import ChangeState, ModelChange
from deployments.catalogue.statements import insert_missing
from deployments.catalogue.tables import COLLECTIONS, MODEL_CHANGES
from deployments.errors import Conflict, NotFound

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from deployments.catalogue.database import Database
    from deployments.catalogue.entries import ChangeProgress, DocumentToCopy
    from deployments.types import Document

_LATEST = MODEL_CHANGES.select().order_by(MODEL_CHANGES.c.number.desc()).limit(1)


class ModelChanges:
    """The changes of the installation; indexes by their names, collections by their full names."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def latest(self) -> ModelChange | None:
        """Return the newest change, which may have ended."""
        return await self._database.read(latest_change)

    async def begin(
        self, index_name: str, loaded: Mapping[str, str], *, beside: bool, automatic: bool
    ) -> None:
        """Begin a change to one of the `loaded` indexes, given with the names of their models.

        One that is under way ends; what it did stays as far as the new one can use it.
        """

        def begin(connection: sa.Connection) -> None:
            latest = latest_change(connection)
            if latest is not None and not latest.ended:
                _set(connection, latest, state=ChangeState.CANCELLED.value, finished_ms=now_ms())
            insert_missing(
                connection,
                MODEL_CHANGES,
                number=latest.number + 1 if latest else 1,
                index_name=index_name,
                embedding_model=loaded[index_name],
                beside=beside,
                automatic=automatic,
                state=ChangeState.RUNNING.value,
                created_ms=now_ms(),
                claimed_ms=0,
                finished_ms=None,
                loaded=list(loaded),
                chunks_per_s=0.0,
                failed=0,
            )

        await self._database.write(begin)

    async def claim(self, age_s: float) -> ModelChange | None:
        """Claim the newest change, unless it was claimed less than this long ago.

        Of several callers at once, one gets it.
        """
        now = now_ms()
        locked = _LATEST.with_for_update()

        def claim(connection: sa.Connection) -> ModelChange | None:
            row = connection.execute(locked).first()
            if row is None or row.claimed_ms > now - int(age_s * 1000):
                return None
            change = _change(row)
            _set(connection, change, claimed_ms=now)
            return change

        return await self._database.write(claim)

    async def report(
        self, change: ModelChange, loaded: Sequence[str], chunks_per_s: float, failed: int
    ) -> None:
        """Renew a claim, and record what its worker has seen."""
        values = {"loaded": list(loaded), "chunks_per_s": chunks_per_s, "failed": failed}
        await self._database.write(
            lambda connection: _set(connection, change, claimed_ms=now_ms(), **values)
        )

    async def release(self, change: ModelChange) -> None:
        """Give a claim up, so that another worker need not wait."""
        await self._database.write(lambda connection: _set(connection, change, claimed_ms=0))

    async def progress(self, collection: str | None = None) -> ChangeProgress:
        """Count what is in both indexes, of the installation or of one collection."""

        def progress(connection: sa.Connection) -> ChangeProgress:
            change = latest_change(connection)
            return second_indexes.progress(
                connection, change.index_name if change else "", collection
            )

        return await self._database.read(progress)

    async def pair(self, change: ModelChange, served: Sequence[str]) -> None:
        """Give a second index to the collections that a change concerns and that have none.

        Those of an earlier change, which it does not concern, are emptied first. If it is not
        `beside`, it concerns the collections that are in none of the `served` indexes.
        """

        def pair(connection: sa.Connection) -> None:
            new = change.index_name
            second_indexes.unpair(connection, other_than=new, loaded=served)
            which = None if change.beside else served
            second_indexes.pair_collections(connection, new, change.model, which)

        await self._database.write(pair)

    async def to_copy(
        self, loaded: Sequence[str], after: tuple[str, str] | None, limit: int
    ) -> list[DocumentToCopy]:
        """List documents that are not in both indexes; see `second_indexes`."""
        return await self._database.read(
            lambda connection: second_indexes.to_copy(connection, loaded, after, limit)
        )

    async def mark(self, document: Document, indexes: Collection[str]) -> bool:
        """Record in which indexes a version is published; see `second_indexes.mark_version`."""
        return await self._database.write(
            lambda connection: second_indexes.mark_version(connection, document, indexes)
        )

    async def to_empty(self, limit: int) -> list[tuple[str, str]]:
        """List collections with the second indexes from which their chunks must be removed.

        There are none while a backup holds removals.
        """
        return await self._database.read(
            lambda connection: (
                [] if is_held(connection) else second_indexes.to_empty(connection, limit)
            )
        )

    async def emptied(self, collection: str, index_name: str) -> None:
        """Forget a second index that has no chunks of a collection any more."""
        await self._database.write(
            lambda connection: second_indexes.emptied(connection, collection, index_name)
        )

    async def unserved(self, loaded: Sequence[str]) -> list[tuple[str, str | None]]:
        """List collections that are in the index of no loaded model; see `second_indexes`."""
        return await self._database.read(
            lambda connection: second_indexes.unserved(connection, loaded)
        )

    async def switch(self, collection: str | None = None, *, alone: bool = False) -> int:
        """Search one collection, or all, in the index of the new model; return their number.

        Collections that begin later follow, unless the command is of one collection. Raises
        Conflict with the code `not_ready` if a document is not in both indexes, and if no change
        is under way. With `alone`, the new model need not have been seen.
        """

        def switch(connection: sa.Connection) -> int:
            change = _under_way(connection)
            if not alone and change.index_name not in change.loaded:
                msg = f"the service has not loaded the model {change.model!r}"
                raise Conflict(msg)
            return _exchange(connection, change, change.index_name, collection)

        return await self._database.write(switch)

    async def back(self, collection: str | None = None, *, alone: bool = False) -> int:
        """Undo `switch`, in the same way; nothing is switched automatically afterwards."""

        def back(connection: sa.Connection) -> int:
            change, count = _under_way(connection), 0
            select = (
                sa.select(COLLECTIONS.c.other_index_name)
                .where(
                    COLLECTIONS.c.index_name == change.index_name, COLLECTIONS.c.pair.is_not(None)
                )
                .distinct()
            )
            if collection is not None:
                select = select.where(COLLECTIONS.c.id == collection)
            for index_name in connection.scalars(select).all():
                if not alone and index_name not in change.loaded:
                    msg = "the service does not have the earlier model at present"
                    raise Conflict(msg)
                count += _exchange(connection, change, index_name, collection)
            _set(connection, change, automatic=False)
            return count

        return await self._database.write(back)

    async def start(self) -> None:
        """Begin a change again that has ended; raise NotFound if there was none."""

        def start(connection: sa.Connection) -> None:
            change = latest_change(connection)
            if change is None:
                msg = "name the next model as `embedder.next` and deploy the configuration"
                raise NotFound(msg)
            if change.ended or change.state is ChangeState.PAUSED:
                _set(connection, change, state=ChangeState.RUNNING.value, finished_ms=None)

        await self._database.write(start)

    async def pause(self) -> None:
        """Copy no documents until `resume`; uploads still go into both indexes."""
        await self._change_state({ChangeState.RUNNING, ChangeState.SWITCHED}, ChangeState.PAUSED)

    async def resume(self) -> None:
        """Go on after `pause`."""
        await self._change_state({ChangeState.PAUSED}, ChangeState.RUNNING)

    async def finish(self) -> None:
        """Keep the earlier indexes no longer, of which the chunks are removed in the background.

        Raises Conflict unless all collections are searched in the new one, and all documents are in
        both, if both models are loaded: else one may be in the earlier index alone.
        """
        await self._end(ChangeState.FINISHED)

    async def cancel(self) -> None:
        """Keep the new index no longer, as `finish` does with the earlier one.

        Raises Conflict if a collection is searched in it, or cannot be searched meanwhile.
        """
        await self._end(ChangeState.CANCELLED)

    async def _end(self, state: ChangeState) -> None:
        def end(connection: sa.Connection) -> None:
            change = _under_way(connection)
            new = change.index_name
            if state is ChangeState.FINISHED:
                if second_indexes.has_second(connection, other=new):
                    msg = "collections are still searched in another index: switch first"
                    raise Conflict(msg)
            elif not change.beside:
                msg = "this change has no earlier model to return to: set `embedder.model` again"
                raise Conflict(msg)
            elif second_indexes.has_second(connection, present=new):
                msg = "collections are searched in the new index: go back first"
                raise Conflict(msg)
            if second_indexes.has_only_second(connection):
                msg = "documents are only in the index that would be removed: try again later"
                raise Conflict(msg)
            finishes = state is ChangeState.FINISHED
            if finishes and second_indexes.to_copy(connection, change.loaded, None, 1):
                msg = "documents are still being copied to the earlier index: try again later"
                raise Conflict(msg)
            second_indexes.unpair(connection)
            _set(connection, change, state=state.value, finished_ms=now_ms())

        await self._database.write(end)

    async def _change_state(self, before: set[ChangeState], after: ChangeState) -> None:
        def change_state(connection: sa.Connection) -> None:
            change = _under_way(connection)
            if change.state in before:
                _set(connection, change, state=after.value)
            elif change.state is not after:
                msg = f"the change of the embedding model is {change.state.value}"
                raise Conflict(msg)

        await self._database.write(change_state)


def latest_change(connection: sa.Connection) -> ModelChange | None:
    """Return the newest change, which may have ended."""
    row = connection.execute(_LATEST).first()
    return None if row is None else _change(row)


def _under_way(connection: sa.Connection) -> ModelChange:
    """Lock the change that is under way until the transaction ends; raise Conflict if none is."""
    row = connection.execute(_LATEST.with_for_update()).first()
    if row is None or _change(row).ended:
        msg = "no change of the embedding model is under way"
        raise Conflict(msg)
    return _change(row)


def _exchange(
    connection: sa.Connection, change: ModelChange, index_name: str, collection: str | None
) -> int:
    collections = None if collection is None else [collection]
    count = second_indexes.exchange(connection, index_name, collections)
    all_new = not second_indexes.has_second(connection, other=change.index_name)
    if change.state is not ChangeState.PAUSED:
        state = ChangeState.SWITCHED if all_new else ChangeState.RUNNING
        _set(connection, change, state=state.value)
    return count


def _set(connection: sa.Connection, change: ModelChange, **values: Any) -> None:  # noqa: ANN401 - of columns
    update = MODEL_CHANGES.update().where(MODEL_CHANGES.c.number == change.number)
    connection.execute(update.values(values))


def _change(row: Any) -> ModelChange:  # noqa: ANN401 - a row of the table
    return ModelChange(
        row.number,
        row.index_name,
        row.embedding_model,
        row.beside,
        row.automatic,
        ChangeState(row.state),
        row.created_ms / 1000,
        None if row.finished_ms is None else row.finished_ms / 1000,
        tuple(row.loaded),
        row.chunks_per_s,
        row.failed,
    )
