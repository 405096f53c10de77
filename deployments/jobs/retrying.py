"""Retries of a step, by DBOS, and waiting for a backend that is unavailable or full, by us."""

from __future__ import annotations

import asyncio
import sys
import time
from typing import TYPE_CHECKING, TypeVar

from loguru import logger

from deployments.errors import (
    EMBEDDING_MODEL_CHANGED,
    InvalidRequest,
    Overloaded,
    Refused,
    ServiceError,
    Unavailable,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from dbos import StepOptions

    from deployments.file_store import FileStore
    from deployments.interfaces import Checked
    from deployments.jobs.cancellation import Cancellations

T = TypeVar("T")

_READER_KILLED = "reader_killed"
"""A 4xx code that is retried: the reader may have been killed from outside."""

_ATTEMPTS = 3
_BACKEND_WAIT_S = 600.0
_PAUSE_S = 1.0


class BackendWaitExceeded(Unavailable):
    """A backend was unavailable for as long as a step waits for it."""


def _may_succeed(error: BaseException) -> bool:
    if isinstance(error, InvalidRequest | Refused):
        return error.code == _READER_KILLED
    if not isinstance(error, ServiceError) or error.code == EMBEDDING_MODEL_CHANGED:
        return False
    # Those that a step has waited for already are final.
    return not isinstance(error, BackendWaitExceeded | Overloaded)


WORK_RETRIES: StepOptions = {
    "retries_allowed": True,
    "max_attempts": _ATTEMPTS,
    "interval_seconds": _PAUSE_S,
    "backoff_rate": 1.0,
    "should_retry": _may_succeed,
}
"""How a step of the work is retried: after short pauses, in which it can be cancelled."""

CLEAN_UP_RETRIES: StepOptions = {
    "retries_allowed": True,
    "max_attempts": sys.maxsize,
    "interval_seconds": 5.0,
    "backoff_rate": 1.1,
    "should_retry": lambda error: isinstance(error, ServiceError),
}
"""How a clean-up is retried: however long it takes, at last every hour."""


async def remove_if_possible(files: FileStore, *paths: str) -> None:
    """Remove files; those that cannot be removed now are left to the sweep."""
    for path in paths:
        try:
            await files.delete(path)
        except (ServiceError, OSError) as error:  # a local store raises OSError
            logger.warning("could not delete {}; the sweep retries it: {}", path, error)


class AllHealthy:
    """Health of several backends that one step needs: an outage of any is waited out."""

    def __init__(self, *backends: Checked) -> None:
        self._backends = backends

    async def check_health(self) -> None:
        """Return if all can do their work."""
        for backend in self._backends:
            await backend.check_health()


class BackendCaller:
    """Calls deployments and the file store, and waits while they are unavailable or full.

    DBOS can count the attempts of a step, but not tell waiting from failing: a restart of a
    backend, however long, must not use up the attempts that input which kills its reader gets.
    """

    def __init__(self, cancellations: Cancellations, wait_s: float = _BACKEND_WAIT_S) -> None:
        """Set the longest wait for a backend."""
        self._cancellations = cancellations
        self._wait_s = wait_s
        self._failed: set[str] = set()  # jobs of which a call found a backend unavailable

    async def call(self, job_id: str, backend: Checked, work: Callable[[], Awaitable[T]]) -> T:
        """Return what `work` returns, once the backend is available and has room for it.

        A backend is only asked for its health once a call of this job has found one unavailable:
        that attempt of the step is lost, and the others wait until it is healthy again.

        Raises BackendWaitExceeded or Overloaded after the longest wait, and JobCancelled within
        about a second of waiting.
        """
        end = time.monotonic() + self._wait_s
        while True:
            if job_id in self._failed:
                await self._cancellations.interrupt(job_id, self._wait_until_healthy(backend))
            try:
                return await self._cancellations.interrupt(job_id, work())
            except Overloaded:
                if time.monotonic() > end:
                    raise
                await self._cancellations.interrupt(job_id, asyncio.sleep(_PAUSE_S))
            except Unavailable:
                self._failed.add(job_id)
                raise

    def forget(self, job_id: str) -> None:
        """Drop what is known of a job that has ended."""
        self._failed.discard(job_id)

    async def _wait_until_healthy(self, backend: Checked) -> None:
        try:
            async with asyncio.timeout(self._wait_s):
                while not await _healthy(backend):  # noqa: ASYNC110 - in another process
                    await asyncio.sleep(_PAUSE_S)
        except TimeoutError:
            msg = f"what the job needs was unavailable for over {self._wait_s:g} s"
            raise BackendWaitExceeded(msg) from None


async def _healthy(backend: Checked) -> bool:
    try:
        await backend.check_health()
    except Overloaded:
        return True  # the call itself is to be refused
    except ServiceError:
        return False
    return True
