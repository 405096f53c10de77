"""Erasing: carry out the erasures of the catalogue, everywhere."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from loguru import logger

from deployments.errors import ServiceError
from deployments.jobs.doctor.requests import DOCTOR
from deployments.jobs.job_rows import open_rows
from deployments.jobs.owner_erasures import ErasedStores, OwnerErasures

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from deployments.catalogue.catalogue import Catalogue
    from deployments.catalogue.entries import ErasureEntry
    from deployments.file_store import FileStore
    from deployments.jobs.owner_erasures import Vectors
    from deployments.types import Job

IN_FLIGHT_S = 15.0
"""A submission that began before the erasure has ended after this time."""
REST_S = 60.0
"""At least, between two rewrites of the files of the stores, which delay other work."""
LIMIT_S = 120.0
"""Erasures of an owner of whom something new still appears after this time are tried again."""

_CLAIM_S = 60.0
_RENEWAL_S = 20.0
_PAUSE_S = 1.0
_AT_ONCE = 100
_RESTS_PER_REWRITE = 10  # times what the rewrite took
_MAX_REWRITTEN_BYTES = 256 * 1024**2  # 3 s; after 15 s without a write, executor leases end


class Eraser:
    """Carries out erasures, several together; they may be interrupted, and are then begun again.

    What is removed comes in batches, and is removed again until nothing new has appeared for
    `in_flight_s`. Then the vector store and SQLite rewrite their files, once for all. An owner
    whose erasures fail, or are not done after `limit_s`, does not delay those of the others.
    """

    def __init__(  # noqa: PLR0913 - the stores that it erases from
        self,
        catalogue: Catalogue,
        vectors: Vectors,
        files: FileStore,
        database_url: str,
        *,
        cancel: Callable[[str], Awaitable[Job]] | None,
        in_flight_s: float = IN_FLIGHT_S,
        rest_s: float = REST_S,
        limit_s: float = LIMIT_S,
    ) -> None:
        """Keep the parts; without `cancel`, no replica of Jobs may be running."""
        self._catalogue = catalogue
        self._vectors = vectors
        self._files = files
        self._database_url = database_url
        self._cancel = cancel
        self._in_flight_s = in_flight_s
        self._rest_s = rest_s
        self._limit_s = limit_s
        self._rests_until = time.monotonic()

    async def run_pending(self) -> None:
        """Carry out the erasures that no replica has claimed; failed ones are tried again later."""
        if time.monotonic() < self._rests_until:
            return
        try:
            await self.run(claim_s=_CLAIM_S)
        except ServiceError as error:
            logger.warning("erasures are tried again: {}", error)

    async def run(self, *, claim_s: float) -> None:
        """Carry out the erasures that were last claimed at least this long ago.

        Those that cannot be finished are left, and are claimed again later. Raises the error of one
        if all failed.
        """
        erasures = await self._catalogue.erasures.claim(claim_s, _AT_ONCE)
        if not erasures:
            return
        logger.info("erasures started: {}", _ids(erasures))
        async with self._claimed(erasures):
            removed = await self._remove(erasures)
            if not removed:
                return
            if await self._catalogue.removals.held():
                logger.info("erasures {} wait for the end of a backup", _ids(removed))
                return
            for erasure in removed:
                if erasure.document_id is None:
                    await self._catalogue.erased_rows.forget(erasure)
            await self._purge()
            for erasure in removed:
                await self._catalogue.erasures.finish(erasure)
        logger.info("erasures finished: {}", _ids(removed))

    async def _purge(self) -> None:
        await self._vectors.purge(0)  # in slices: it needs no rest
        began = time.monotonic()
        try:
            await self._purge_catalogue()
        finally:
            ended = time.monotonic()
            rest_s = max(self._rest_s, _RESTS_PER_REWRITE * (ended - began))
            self._rests_until = ended + rest_s

    async def _purge_catalogue(self) -> None:
        if self._cancel is None:
            await self._catalogue.purge()
        elif not await self._catalogue.purge(_MAX_REWRITTEN_BYTES):
            logger.info(
                "no VACUUM of PostgreSQL or over 256 MiB: copies of deleted rows may remain"
            )

    async def _remove(self, erasures: Sequence[ErasureEntry]) -> list[ErasureEntry]:
        """Remove what erasures name; return those of the owners of whom nothing new appears."""
        began = time.monotonic()
        owners: dict[str, list[ErasureEntry]] = defaultdict(list)
        for erasure in erasures:
            owners[erasure.owner].append(erasure)
        failures: list[Exception] = []
        active: list[OwnerErasures] = []
        async with open_rows(self._database_url) as rows:
            stores = ErasedStores(self._catalogue, self._vectors, self._files, rows, self._cancel)
            works = [OwnerErasures(stores, owner, own) for owner, own in owners.items()]
            while works:
                elapsed_s = time.monotonic() - began
                active = []
                for work in tuple(works):
                    try:
                        if await work.remove():
                            active.append(work)
                    except Exception as error:  # noqa: BLE001 - those of other owners go on
                        _report(work.erasures, error)
                        failures.append(error)
                        works.remove(work)
                waited = elapsed_s >= self._in_flight_s
                if (waited and not active) or elapsed_s >= self._limit_s:
                    break
                await asyncio.sleep(_PAUSE_S)
            if rows is not None:
                await rows.delete_ended(DOCTOR)  # its reports name documents
        if failures and not works:
            raise failures[0]
        for work in active:
            logger.warning(
                "erasures {} will be retried: new data still appears", _ids(work.erasures)
            )
        return [erasure for work in works if work not in active for erasure in work.erasures]

    @contextlib.asynccontextmanager
    async def _claimed(self, erasures: Sequence[ErasureEntry]) -> AsyncIterator[None]:
        """Renew the claims meanwhile."""

        async def renew() -> None:
            while True:
                await asyncio.sleep(_RENEWAL_S)
                with contextlib.suppress(ServiceError):
                    await self._catalogue.erasures.renew(erasures)

        task = asyncio.create_task(renew())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


def _ids(erasures: Sequence[ErasureEntry]) -> str:
    return ", ".join(erasure.id for erasure in erasures)


def _report(erasures: Sequence[ErasureEntry], error: Exception) -> None:
    unexpected = not isinstance(error, ServiceError)
    logger.opt(exception=unexpected).warning("{} tried again later: {}", _ids(erasures), error)
