"""The waiting list of pictures: bounded, oldest first, several of one shape in a pass."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loguru import logger

from deployments.errors import Overloaded, ServiceError, Unavailable
from deployments.types import ImageProgress, ImageRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


OnStep = Callable[[int], Collection[int]]
"""Told how many denoising steps are done; answers with the places still wanted."""

Draw = Callable[[Sequence[ImageRequest], OnStep], Sequence[bytes | None]]
"""Makes pictures of one shape, as PNG, and returns at once when a step finds none wanted.

It calls `OnStep` after each step; a picture not wanted after the last one is None.
"""

_MAX_WAITING = 64  # pictures
_BATCH_WAIT_S = 0.02
_MAX_FAILURES = 3  # in a row: a GPU that has failed once fails at everything from then on
_FULL = "too many pictures are waiting to be made; try again shortly"
_FAILED = "the picture could not be made"
_STOPPING = "the image generator is stopping; it is being replaced"
_BROKEN = "the image generator fails at every picture; it is being replaced"


@dataclass(eq=False, slots=True)
class _Waiter:
    request: ImageRequest
    events: asyncio.Queue[ImageProgress | ServiceError] = field(default_factory=asyncio.Queue)
    gone: bool = False  # read by the drawing thread, and never taken back

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.request.width, self.request.height, self.request.steps

    def tell(self, done_steps: int, png: bytes | None = None) -> None:
        self.events.put_nowait(ImageProgress(done_steps, self.request.steps, png))

    def fail(self, error: ServiceError) -> None:
        self.gone = True
        self.events.put_nowait(error)


class ImageQueue:
    """Implements `ImageGenerator` over a `Draw`, which runs in one thread of its own.

    Nothing runs while nothing waits. A pass takes the oldest request and those of its width,
    height and steps, up to `max_batch`.
    """

    def __init__(
        self,
        draw: Draw,
        max_batch: int,
        settle: Callable[[], None] | None = None,
        *,
        max_waiting: int = _MAX_WAITING,
        batch_wait_s: float = _BATCH_WAIT_S,
    ) -> None:
        """Keep the parts.

        Args:
            draw: makes the pictures.
            max_batch: the most pictures of a pass.
            settle: called once in the drawing thread, before anything else.
            max_waiting: the most pictures that wait.
            batch_wait_s: how long a pass waits for pictures to share it.
        """
        self._draw = draw
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._batch_wait_s = batch_wait_s
        self._thread = ThreadPoolExecutor(1, "draw", initializer=settle or _nothing)
        self._waiting: list[_Waiter] = []
        self._drawn: list[_Waiter] = []
        self._worker: asyncio.Task[None] | None = None
        self._failures = 0
        self._closed = False

    async def generate(self, request: ImageRequest) -> AsyncGenerator[ImageProgress, None]:
        """Tell of each denoising step; the last one carries the picture.

        Raises Overloaded, Unavailable while closing, and ServiceError if the pass failed.
        """
        if self._closed:
            raise Unavailable(_STOPPING)
        if len(self._waiting) >= self._max_waiting:
            raise Overloaded(_FULL)
        waiter = _Waiter(request)
        self._waiting.append(waiter)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        try:
            png = None
            while png is None:
                event = await waiter.events.get()
                if isinstance(event, ServiceError):
                    raise event
                png = event.png
                yield event
        finally:
            waiter.gone = True
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    async def check_health(self) -> None:
        """Raise Unavailable once several passes in a row have failed."""
        if self._failures >= _MAX_FAILURES:
            raise Unavailable(_BROKEN)

    async def close(self) -> None:
        """Send everybody away and return when the pass at work has stopped, within a step."""
        self._closed = True
        for waiter in (*self._drawn, *self._waiting):
            waiter.fail(Unavailable(_STOPPING))
        self._waiting.clear()
        if self._worker is not None:
            await self._worker
        self._thread.shutdown()

    async def _work(self) -> None:
        while self._waiting:
            if len(self._waiting) < self._max_batch:
                # Pictures asked for together do not arrive in one moment.
                await asyncio.sleep(self._batch_wait_s)
            self._drawn = self._take()
            if self._drawn:
                await self._make(self._drawn)
                self._drawn = []

    def _take(self) -> list[_Waiter]:
        alike = [waiter for waiter in self._waiting if waiter.shape == self._waiting[0].shape]
        taken = alike[: self._max_batch]
        self._waiting = [waiter for waiter in self._waiting if waiter not in taken]
        return taken

    async def _make(self, waiters: list[_Waiter]) -> None:
        loop = asyncio.get_running_loop()
        requests = [waiter.request for waiter in waiters]

        def tell(done_steps: int) -> None:
            for waiter in waiters:
                waiter.tell(done_steps)

        def on_step(done_steps: int) -> list[int]:
            if done_steps < requests[0].steps:  # the last step is told of with the picture
                loop.call_soon_threadsafe(tell, done_steps)
            return [place for place, waiter in enumerate(waiters) if not waiter.gone]

        try:
            pictures = await loop.run_in_executor(self._thread, self._draw, requests, on_step)
        except Exception as error:  # noqa: BLE001 - theirs alone: the next pass may do well
            failure = self._failure(error)
            for waiter in waiters:
                waiter.fail(failure)
            return
        self._failures = 0
        for waiter, png in zip(waiters, pictures, strict=True):
            if png is not None:
                waiter.tell(waiter.request.steps, png)

    def _failure(self, error: Exception) -> ServiceError:
        if isinstance(error, ServiceError):
            return error
        self._failures += 1
        logger.opt(exception=error).error("a pass of pictures failed")
        return ServiceError(_FAILED)


def _nothing() -> None:
    """Leave the thread as it is."""
