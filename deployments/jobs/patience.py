"""How a step deals with a deployment that is away, full, or fails."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, TypeVar

from loguru import logger

from deployments.errors import InvalidRequest, Overloaded, ServiceError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from deployments.interfaces import Checked
    from deployments.settings import JobsSettings

T = TypeVar("T")

WORTH_ANOTHER = "reader_killed"
"""The code of a bad request that may be none: somebody else ended the process that read it."""

_PAUSE_S = 1.0
_CHECK_TIMEOUT_S = 30.0


class Patience:
    """Tries a step `attempts` times; waiting for a deployment to be there counts as none.

    So a restart, however long, fails no job, and input that kills whoever works on it does
    after a few times.
    """

    def __init__(self, settings: JobsSettings) -> None:
        self._attempts = settings.attempts
        self._wait_s = settings.backend_wait_s

    async def call(self, backend: Checked, work: Callable[[], Awaitable[T]]) -> T:
        """Return what `work` returns.

        Raises what it raised last. An InvalidRequest is raised at once, as it would be again.
        """
        failures, began = 0, time.monotonic()
        while True:
            await self._until_there(backend)
            try:
                return await work()
            except Overloaded:
                if time.monotonic() - began > self._wait_s:
                    raise
            except ServiceError as error:
                failures += 1
                final = isinstance(error, InvalidRequest) and error.code != WORTH_ANOTHER
                if final or failures >= self._attempts:
                    raise
                logger.warning("a step failed and is tried again: {}", error.message)
            await asyncio.sleep(_PAUSE_S)

    async def _until_there(self, backend: Checked) -> None:
        try:
            async with asyncio.timeout(self._wait_s):
                while True:
                    with contextlib.suppress(ServiceError, TimeoutError):
                        async with asyncio.timeout(_CHECK_TIMEOUT_S):
                            try:
                                return await backend.check_health()
                            except Overloaded:
                                return None  # it is there; the work itself is to be sent away
                    await asyncio.sleep(_PAUSE_S)
        except TimeoutError:
            msg = f"what the job needs was away for over {self._wait_s:g} s"
            raise Unavailable(msg) from None
