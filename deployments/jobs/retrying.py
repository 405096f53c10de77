"""How a step deals with a deployment that is away, full, or fails."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, TypeVar

from loguru import logger

from deployments.errors import InvalidRequest, Overloaded, Refused, ServiceError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from deployments.file_store import FileStore
    from deployments.interfaces import Checked
    from deployments.jobs.cancellation import Cancellations

T = TypeVar("T")

WORTH_ANOTHER = "reader_killed"
"""The code of a bad request that may be none: somebody else ended the process that read it."""

_ATTEMPTS = 3
_BACKEND_WAIT_S = 600.0
_PAUSE_S = 1.0
_INSIST_PAUSE_S = 5.0


async def remove_if_possible(files: FileStore, *paths: str) -> None:
    """Remove what is not worth holding a job for: what stays is swept away later."""
    for path in paths:
        try:
            await files.delete(path)
        except ServiceError as error:
            logger.warning("{} is left to be swept away: {}", path, error.message)


class Patience:
    """Tries a step `attempts` times; waiting for a deployment to be there counts as none.

    So a restart, however long, fails no job, and input that kills whoever works on it does
    after a few times.
    """

    def __init__(
        self,
        cancellations: Cancellations,
        *,
        attempts: int = _ATTEMPTS,
        backend_wait_s: float = _BACKEND_WAIT_S,
    ) -> None:
        self._cancellations = cancellations
        self._attempts = attempts
        self._wait_s = backend_wait_s

    async def call(self, job_id: str, backend: Checked, work: Callable[[], Awaitable[T]]) -> T:
        """Return what `work` returns.

        Raises what it raised last; an InvalidRequest or Refused at once, as it would be again;
        and JobCancelled within a second or so of waiting.
        """
        failures, began = 0, time.monotonic()
        while True:
            await self._until_there(job_id, backend)
            try:
                return await work()
            except Overloaded:
                if time.monotonic() - began > self._wait_s:
                    raise
            except ServiceError as error:
                failures += 1
                final = isinstance(error, InvalidRequest | Refused) and error.code != WORTH_ANOTHER
                if final or failures >= self._attempts:
                    raise
                logger.warning("a step failed and is tried again: {}", error.message)
            await asyncio.sleep(_PAUSE_S)
            await self._cancellations.glance(job_id)

    async def insist(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do what must be done in the end, such as a clean-up, however long it takes."""
        while True:
            try:
                return await work()
            except ServiceError as error:
                logger.warning("a clean-up failed and is tried again: {}", error.message)
            await asyncio.sleep(_INSIST_PAUSE_S)

    async def _until_there(self, job_id: str, backend: Checked) -> None:
        end = time.monotonic() + self._wait_s
        while time.monotonic() < end:
            asked = asyncio.ensure_future(backend.check_health())
            try:
                while not (await asyncio.wait({asked}, timeout=_PAUSE_S))[0]:
                    await self._cancellations.glance(job_id)
                    if time.monotonic() > end:
                        break
                else:
                    return asked.result()
            except Overloaded:
                return None  # it is there; the work itself is to be sent away
            except ServiceError:
                await asyncio.sleep(_PAUSE_S)
                await self._cancellations.glance(job_id)
            finally:
                asked.cancel()
        msg = f"what the job needs was away for over {self._wait_s:g} s"
        raise Unavailable(msg)
