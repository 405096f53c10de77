"""Reindexing: bring collections into the index of another embedding model, and switch them."""

from __future__ import annotations

import asyncio
import contextlib
import math
import time
from typing import TYPE_CHECKING

from loguru import logger

from deployments.catalogue.entries import ChangeProgress, ChangeState
from deployments.errors import Conflict, InvalidRequest, NotFound, ServiceError
from deployments.jobs.pacing import Rate, yield_to_searches
from deployments.observability.metrics import REINDEX_CHUNKS, REINDEX_DOCUMENTS, REINDEX_LEFT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deployments.catalogue.catalogue import Catalogue
    from deployments.catalogue.entries import DocumentToCopy, ModelChange
    from deployments.interfaces import SecondIndexes

_CLAIM_S = 30.0
_REPORT_S = 5.0
_COUNT_S = 10.0  # Ray forgets a gauge that is not set for twenty seconds
_IDLE_S = 20.0  # between two looks for documents that an upload could not store in both indexes
_PAGE = 50
_AT_ONCE = 4  # small documents
_SLICE_CHUNKS = 32
_EMPTIED_AT_ONCE = 10
_FAILURES_IN_A_ROW = 8  # documents that cannot be copied for another reason than themselves
_IN_FLIGHT_S = 10.0
"""A search or an upload that read the index of a collection earlier has ended after this time."""


class Reindexer:
    """Works on the change of the embedding model, one replica at a time.

    It may be interrupted: what is in both indexes is in the catalogue.
    """

    def __init__(
        self,
        catalogue: Catalogue,
        vectors: SecondIndexes,
        *,
        automatic: bool = True,
        in_flight_s: float = _IN_FLIGHT_S,
        idle_s: float = _IDLE_S,
    ) -> None:
        """Keep the parts; `automatic` changes switch all collections once they are copied."""
        self._catalogue = catalogue
        self._changes = catalogue.model_changes
        self._vectors = vectors
        self._automatic = automatic
        self._in_flight_s = in_flight_s
        self._idle_s = idle_s
        self._rests_until = self._looks_at = -math.inf
        self._reported_s = self._counted_s = -math.inf
        self._rate = Rate()
        self._failed: set[tuple[str, str, int]] = set()
        self._in_a_row = 0

    async def run_pending(self) -> None:
        """Do what there is to do; what fails is tried again later."""
        try:
            await self._run()
        except ServiceError as error:
            logger.info("the change of the embedding model is tried again: {}", error)

    async def _run(self) -> None:
        loaded = await self._vectors.index_models()
        await self._begin_if_configured(loaded)
        latest = await self._changes.latest()
        if time.monotonic() - self._counted_s >= _COUNT_S:
            await self._count(latest)
        if latest is None:
            return
        resting = latest.ended or latest.state is ChangeState.SWITCHED
        to_empty = await self._changes.to_empty(1)
        if resting and not to_empty and time.monotonic() < self._rests_until:
            return
        if (change := await self._changes.claim(_CLAIM_S)) is None:
            return
        try:
            await self._work(change, loaded)
        finally:
            self._rests_until = time.monotonic() + self._idle_s
            with contextlib.suppress(ServiceError):
                await self._changes.release(change)

    async def _begin_if_configured(self, loaded: Mapping[str, str]) -> None:
        """Begin the change that the models of the service ask for, unless it has begun before."""
        latest = await self._changes.latest()
        first, *further = loaded
        if latest is not None and not latest.ended and latest.index_name in loaded:
            return  # whichever of its models is the first one now
        if further:
            if latest is None or not latest.ended or latest.index_name != further[0]:
                await self._begin(further[0], loaded, beside=True)
        elif time.monotonic() >= self._looks_at:
            self._looks_at = time.monotonic() + self._idle_s
            if await self._changes.unserved([first]):
                await self._begin(first, loaded, beside=False)

    async def _begin(self, index_name: str, loaded: Mapping[str, str], *, beside: bool) -> None:
        automatic = self._automatic or not beside
        await self._changes.begin(index_name, loaded, beside=beside, automatic=automatic)
        logger.info("the embedding model is changed to {}", loaded[index_name])

    async def _work(self, change: ModelChange, loaded: Mapping[str, str]) -> None:
        names = list(loaded)
        await self._empty_indexes(change)
        if change.ended:
            return
        if change.index_name in loaded:
            await self._changes.pair(change, names)
        await self._report(change, names)
        if change.state is ChangeState.PAUSED:
            return
        if await self._copy_all(change, names):
            await self._switch(change, names)
        await self._report(change, names)

    async def _empty_indexes(self, change: ModelChange) -> None:
        """Remove the chunks of collections from indexes that are kept equal no longer."""
        while found := await self._changes.to_empty(_EMPTIED_AT_ONCE):
            await asyncio.sleep(self._in_flight_s)
            for collection, index_name in found:
                await self._vectors.empty(collection, index_name)
                await self._changes.emptied(collection, index_name)
                logger.info("removed the chunks of {} from index {}", collection, index_name)
            await self._changes.report(change, change.loaded, 0.0, change.failed)

    async def _copy_all(self, change: ModelChange, loaded: Sequence[str]) -> bool:
        """Copy all documents that an index lacks; return False if interrupted by a command."""
        after: tuple[str, str] | None = None
        unserved = {name for name, _ in await self._changes.unserved(loaded)}
        present = ""
        self._failed.clear()
        self._in_a_row = 0
        while found := await self._changes.to_copy(loaded, after, _PAGE):
            last = found[-1].document
            after = last.collection, last.id
            while found:
                together = _next_together(found)
                if (collection := together[0].document.collection) != present:
                    present = collection
                    await self._switch_before(unserved, collection)
                began = time.monotonic()
                idle_s = min(
                    await asyncio.gather(*(self._copy(each, change, loaded) for each in together))
                )
                await yield_to_searches(time.monotonic() - began, idle_s)
                self._rate.add(
                    sum(each.document.chunks for each in together), time.monotonic() - began
                )
                if not await self._may_go_on(change, loaded):
                    return False
        return True

    async def _switch_before(self, unserved: set[str], collection: str) -> None:
        """Switch collections that cannot be searched and precede the one that is copied now."""
        for done in sorted(name for name in unserved if name < collection):
            unserved.discard(done)
            await self._switch_if_ready(done)

    async def _copy(
        self, wanted: DocumentToCopy, change: ModelChange, loaded: Sequence[str]
    ) -> float:
        """Copy a document; return how long ago the last search was, in seconds.

        A document that fails stays, and keeps the collection from being switched. Raises what the
        last of several in a row has failed with, unless these are not stored whole.
        """
        document, done, idle_s = wanted.document, 0, 0.0
        try:
            while done < document.chunks:
                began = time.monotonic()
                copied = await self._vectors.copy(
                    document, done, _SLICE_CHUNKS, only_second=wanted.only_second
                )
                done, idle_s = copied.done, copied.idle_s
                if done < document.chunks:
                    await yield_to_searches(time.monotonic() - began, idle_s)
                    if not await self._may_go_on(change, loaded):
                        break
        except Conflict:
            return 0.0  # the collection has no second index any more
        except (NotFound, InvalidRequest) as error:
            await self._note_failure(wanted, error)
        except ServiceError as error:
            self._in_a_row += 1
            if self._in_a_row >= _FAILURES_IN_A_ROW:
                raise
            await self._note_failure(wanted, error)
        else:
            self._in_a_row = 0
        return idle_s

    async def _note_failure(self, wanted: DocumentToCopy, error: ServiceError) -> None:
        document = wanted.document
        current = await self._catalogue.documents.current(document.collection, [document.id])
        found = current.get(document.id)
        if found is not None and found.number == document.version:
            logger.warning("document {} cannot be copied: {}", document.id, error)
            self._failed.add((document.collection, document.id, document.version))

    async def _may_go_on(self, change: ModelChange, loaded: Sequence[str]) -> bool:
        """Report from time to time; return whether the change is still to be worked on."""
        now = time.monotonic()
        if now - self._reported_s < _REPORT_S:
            return True
        await self._report(change, loaded)
        if now - self._counted_s >= _COUNT_S:
            await self._count(change)
        latest = await self._changes.latest()
        wanted = latest is not None and latest.number == change.number and not latest.ended
        return wanted and latest is not None and latest.state is not ChangeState.PAUSED

    async def _report(self, change: ModelChange, loaded: Sequence[str]) -> None:
        self._reported_s = time.monotonic()
        await self._changes.report(change, loaded, self._rate.per_s, len(self._failed))

    async def _count(self, change: ModelChange | None) -> None:
        """Set the metrics."""
        self._counted_s = time.monotonic()
        progress = ChangeProgress()
        if change is not None and not change.ended:
            progress = await self._changes.progress()
        REINDEX_DOCUMENTS.set(progress.done_documents, state="done")
        REINDEX_DOCUMENTS.set(progress.documents, state="all")
        REINDEX_CHUNKS.set(progress.done_chunks, state="done")
        REINDEX_CHUNKS.set(progress.chunks, state="all")
        left = progress.chunks - progress.done_chunks
        rate = self._rate.per_s or (change.chunks_per_s if change else 0.0)
        REINDEX_LEFT.set(left / rate if rate else 0.0)

    async def _switch(self, change: ModelChange, loaded: Sequence[str]) -> None:
        """Switch collections that cannot be searched, each as it is ready; then all, if wanted."""
        for collection, second in await self._changes.unserved(loaded):
            if second == change.index_name:
                await self._switch_if_ready(collection)
        latest = await self._changes.latest()
        if latest is None or not latest.automatic or change.index_name not in loaded:
            return
        progress = await self._changes.progress()
        if latest.state is ChangeState.RUNNING or progress.switched < progress.collections:
            await self._switch_if_ready(None)

    async def _switch_if_ready(self, collection: str | None) -> None:
        try:
            count = await self._changes.switch(collection)
        except Conflict as error:
            logger.info("{} not switched: {}", collection or "collections are", error)
            return
        if count:
            logger.info("{} collections are searched with the new model", count)


def _next_together(found: list[DocumentToCopy]) -> list[DocumentToCopy]:
    """Take the next documents that are copied at once: some small ones of a collection, or one."""
    taken = [found.pop(0)]
    collection, chunks = taken[0].document.collection, taken[0].document.chunks
    while found and len(taken) < _AT_ONCE:
        chunks += found[0].document.chunks
        if chunks > _SLICE_CHUNKS or found[0].document.collection != collection:
            break
        taken.append(found.pop(0))
    return taken
