"""Rechunking: read documents chunked by another chunker again from their contents."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import time
from collections import Counter
from typing import TYPE_CHECKING

from loguru import logger

from deployments.catalogue.chunker_changes import CLAIM_LOST
from deployments.catalogue.clock import now_ms
from deployments.catalogue.entries import ChangeProgress, ChangeState
from deployments.errors import DeadlineExceeded, Overloaded, ServiceError, Unavailable
from deployments.jobs.pacing import Rate
from deployments.jobs.rechunk_steps import Unreadable, folder_of_claim
from deployments.observability.metrics import RECHUNK_DOCUMENTS, RECHUNK_LEFT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from deployments.catalogue.chunker_changes import ChunkerChange
    from deployments.catalogue.outdated_documents import OutdatedDocument, VersionInProgress
    from deployments.jobs.rechunk_steps import RechunkSteps

_CLAIM_S = 60.0
_RENEWAL_S = 10.0
_LOOK_S = 60.0  # between two looks for outdated documents, and between two counts of them
_METRICS_S = 10.0  # Ray forgets a gauge that is not set for twenty seconds
_REST_S, _LONGEST_REST_S = 10.0, 600.0  # between two attempts; doubled while they fail
_PAGE = 50
_FAILURES_IN_A_ROW = 8  # of documents, after which something else must be wrong
_MOST_ATTEMPTS = 5


class Rechunker:
    """Rechunks documents, one at a time, in one replica at a time.

    It may be interrupted: the version in progress is in the catalogue, and is done again.
    """

    def __init__(
        self, steps: RechunkSteps, *, rest_s: float = _REST_S, look_s: float = _LOOK_S
    ) -> None:
        """Keep the steps, and the shortest times between two attempts and two looks."""
        self._steps = steps
        self._catalogue = steps.catalogue
        self._changes = steps.catalogue.chunker_changes
        self._chunker = steps.chunker
        self._shortest_rest_s, self._look_s = rest_s, look_s
        self._started_ms = now_ms()
        self._rest_s = rest_s
        self._rests_until = self._looked_s = self._counted_s = self._published_s = -math.inf
        self._progress, self._rate = ChangeProgress(), Rate()
        # What is known of the documents of a change, and where its present pass goes on.
        self._change = 0
        self._failed: set[VersionInProgress] = set()
        self._attempts: Counter[VersionInProgress] = Counter()
        self._after: tuple[str, str] | None = None
        self._left = 0

    async def run_pending(self) -> None:
        """Run the pending change, if any; retry failures later, less and less often."""
        try:
            if time.monotonic() >= self._rests_until:
                await self._run()
                self._rest_s = self._shortest_rest_s
                self._rests_until = time.monotonic() + self._rest_s
        except ServiceError as error:
            logger.info("the change of the chunker is continued later: {}", error)
            self._rests_until = time.monotonic() + self._rest_s
            self._rest_s = min(2 * self._rest_s, _LONGEST_REST_S)
        self._publish_metrics()

    async def _run(self) -> None:
        if time.monotonic() - self._looked_s >= self._look_s:
            await self._changes.begin(self._chunker, self._started_ms)
            self._looked_s = time.monotonic()
        latest = await self._changes.latest()
        if latest is None or latest.chunker != self._chunker:
            self._progress = ChangeProgress()
            return
        await self._count(latest)
        if latest.in_progress is None and not await self._may_go_on(latest):
            return
        token = secrets.token_hex(8)
        change = await self._changes.claim(self._chunker, token, _CLAIM_S)
        if change is None:
            return
        async with self._claimed(change):
            try:
                await self._work(change)
            finally:
                await self._steps.files.delete(folder_of_claim(change))

    @contextlib.asynccontextmanager
    async def _claimed(self, change: ChunkerChange) -> AsyncIterator[None]:
        """Renew a claim meanwhile, and release it."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(_RENEWAL_S)
                with contextlib.suppress(ServiceError):
                    await self._changes.renew(change)

        task = asyncio.create_task(renew())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            with contextlib.suppress(ServiceError):
                await self._changes.release(change)

    async def _work(self, change: ChunkerChange) -> None:
        if change.number != self._change:
            self._change, self._after, self._left = change.number, None, 0
            self._failed.clear()
            self._attempts.clear()
        if (version := change.in_progress) is not None:
            found = await self._changes.current(version)
            if found is None:
                await self._steps.remove(change, version)
            else:
                await self._rechunk(change, found)
        in_a_row = 0
        while found_some := await self._changes.outdated(self._chunker, self._after, _PAGE):
            for each in found_some:
                if not await self._may_go_on(change):
                    return
                if each.version not in self._failed:
                    done = await self._rechunk(change, each)
                    in_a_row = 0 if done else in_a_row + 1
                    if in_a_row >= _FAILURES_IN_A_ROW:
                        msg = "several documents in a row failed"
                        raise Unavailable(msg)
                self._after = each.document.collection, each.document.id
        await self._end_pass(change)

    async def _end_pass(self, change: ChunkerChange) -> None:
        left, self._after, self._left = self._left, None, 0
        await self._changes.report(change, self._rate.per_s, len(self._failed))
        if left:
            msg = f"{left} documents failed"
            raise Unavailable(msg)
        await self._changes.finish(change)
        self._failed.clear()  # a command may begin the change again
        self._attempts.clear()
        self._counted_s = -math.inf
        logger.info("all documents that can be read are chunked by chunker {}", self._chunker)

    async def _rechunk(self, change: ChunkerChange, wanted: OutdatedDocument) -> bool:
        """Rechunk a document; return False if that is tried again later."""
        version = wanted.version
        try:
            began = time.monotonic()
            await self._steps.store(change, wanted, self._count)
            self._rate.add(wanted.document.chunks, time.monotonic() - began)
        except ServiceError as error:
            if error.code == CLAIM_LOST:
                raise
            waits = isinstance(error, Unavailable | Overloaded | DeadlineExceeded)
            self._attempts[version] += 0 if waits else 1
            unreadable = isinstance(error, Unreadable)
            if unreadable or self._attempts[version] >= _MOST_ATTEMPTS:
                logger.warning("document {} keeps its chunks: {}", version.document_id, error)
                self._failed.add(version)
            else:
                logger.info("document {} is rechunked later: {}", version.document_id, error)
                self._left += 1
            await self._steps.undo(change, wanted)
            return version in self._failed
        return True

    async def _may_go_on(self, change: ChunkerChange) -> bool:
        """Return whether further documents are to be rechunked now."""
        latest = await self._changes.latest()
        if latest is None or latest.number != change.number:
            return False
        if latest.state is not ChangeState.RUNNING or await self._catalogue.removals.held():
            return False
        copied = await self._catalogue.model_changes.latest()
        # That keeps the embedders busy, and copies the chunks of documents.
        return copied is None or copied.state is not ChangeState.RUNNING

    async def _count(self, change: ChunkerChange) -> None:
        """Look from time to time how far the change is."""
        if time.monotonic() - self._counted_s < min(self._look_s, _METRICS_S):
            return
        self._counted_s = time.monotonic()
        self._progress = ChangeProgress()
        if not change.ended:
            self._progress = await self._changes.progress(change.chunker)
            self._rate.per_s = self._rate.per_s or change.chunks_per_s
            if change.claimant:
                await self._changes.report(change, self._rate.per_s, len(self._failed))

    def _publish_metrics(self) -> None:
        if time.monotonic() - self._published_s < _METRICS_S:
            return
        self._published_s = time.monotonic()
        RECHUNK_DOCUMENTS.set(self._progress.done_documents, state="done")
        RECHUNK_DOCUMENTS.set(self._progress.documents, state="all")
        left = self._progress.chunks - self._progress.done_chunks
        RECHUNK_LEFT.set(left / self._rate.per_s if self._rate.per_s else 0.0)
