"""Bounded queue of image requests: owners take turns, and batches share a size and steps."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from loguru import logger

from deployments.errors import Overloaded, ServiceError, Unavailable
from deployments.fair_turns import FairTurns
from deployments.types import ImageProgress, ImageRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


OnStep = Callable[[int], Collection[int]]
"""Callback after a denoising step: takes the steps done, returns the indices still wanted."""

Draw = Callable[[Sequence[ImageRequest], OnStep], Sequence[bytes | None]]
"""Draw a batch of one size and number of steps; return each picture as PNG.

It calls `OnStep` after each step and stops when no index is wanted any more; a picture that is
not wanted after the last step is None.
"""

_MAX_WAITING = 64  # pictures
_PICTURE_COST = 64 * 64 * 8  # in pixel steps: text encoder, decoder, PNG
_BATCH_WAIT_S = 0.02
_MAX_FAILURES = 3  # consecutive: after some errors a GPU fails every time
_FULL = "too many pictures are waiting to be made; try again shortly"
_FAILED = "the picture could not be made"
_STOPPING = "the image generator is stopping; it is being replaced"
_BROKEN = "the image generator fails at every picture; it is being replaced"


@dataclass(eq=False, slots=True)
class _Waiter:
    request: ImageRequest
    events: asyncio.Queue[ImageProgress | ServiceError] = field(default_factory=asyncio.Queue)
    cancelled: bool = False  # read by the drawing thread; never reset

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.request.width, self.request.height, self.request.steps

    @property
    def cost(self) -> float:
        """Return what the picture costs, in pixel steps."""
        return self.request.width * self.request.height * self.request.steps + _PICTURE_COST

    def report(self, done_steps: int, png: bytes | None = None) -> None:
        self.events.put_nowait(ImageProgress(done_steps, self.request.steps, png))

    def fail(self, error: ServiceError) -> None:
        self.cancelled = True
        self.events.put_nowait(error)


class ImageQueue:
    """Implement `ImageGenerator` with a `Draw` function that runs in a thread of its own.

    Owners take turns by weight, and a turn costs the pixels and steps of a picture. A batch takes
    the oldest request of the owner whose turn it is, and up to `max_batch` - 1 others of the same
    width, height and steps, in turns too. In a full queue the owner with the most requests for its
    weight gives way. An idle queue runs no task.
    """

    def __init__(  # noqa: PLR0913 - bounds that tests set
        self,
        draw: Draw,
        max_batch: int,
        prepare_thread: Callable[[], None] | None = None,
        *,
        shares: Mapping[str, float] | None = None,
        max_waiting: int = _MAX_WAITING,
        batch_wait_s: float = _BATCH_WAIT_S,
    ) -> None:
        """Create the drawing thread.

        Args:
            draw: draws a batch.
            max_batch: the most pictures in a batch.
            prepare_thread: called first in the drawing thread.
            shares: weights of owners, 1 for those that are not named.
            max_waiting: the most requests that wait.
            batch_wait_s: how long a batch waits to fill up.
        """
        self._draw = draw
        self._max_batch = max_batch
        self._turns = FairTurns[str](shares)
        self._max_waiting = max_waiting
        self._batch_wait_s = batch_wait_s
        self._thread = ThreadPoolExecutor(1, "draw", initializer=prepare_thread or _do_nothing)
        self._waiting: list[_Waiter] = []
        self._drawn: list[_Waiter] = []
        self._worker: asyncio.Task[None] | None = None
        self._failures = 0
        self._closed = False

    async def generate(self, request: ImageRequest) -> AsyncGenerator[ImageProgress, None]:
        """Yield the progress after each denoising step; the last one carries the picture.

        Raise Overloaded if the queue is full, Unavailable while closing, and ServiceError if
        the batch failed.
        """
        if self._closed:
            raise Unavailable(_STOPPING)
        self._make_room(request.owner)
        waiter = _Waiter(request)
        self._turns.enter(request.owner)
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
            waiter.cancelled = True
            if waiter in self._waiting:
                self._waiting.remove(waiter)

    def _make_room(self, owner: str) -> None:
        """Raise Overloaded if there is no room; the owner with the most gives way to one with few.

        Its newest request is refused, which its job asks for again.
        """
        if len(self._waiting) < self._max_waiting:
            return
        counts = Counter(waiter.request.owner for waiter in self._waiting)
        largest = max(counts, key=lambda name: counts[name] / self._turns.weight(name))
        most = counts[largest] / self._turns.weight(largest)
        if (counts[owner] + 1) / self._turns.weight(owner) >= most:
            raise Overloaded(_FULL)
        newest = next(w for w in reversed(self._waiting) if w.request.owner == largest)
        self._waiting.remove(newest)
        newest.fail(Overloaded(_FULL))

    async def check_health(self) -> None:
        """Raise Unavailable once several consecutive batches have failed."""
        if self._failures >= _MAX_FAILURES:
            raise Unavailable(_BROKEN)

    async def close(self) -> None:
        """Refuse all waiting requests and wait until the running batch stops, within a step."""
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
                # Requests made together do not arrive at the same moment.
                await asyncio.sleep(self._batch_wait_s)
            self._drawn = self._take()
            if self._drawn:
                await self._make(self._drawn)
                self._drawn = []

    def _take(self) -> list[_Waiter]:
        if not self._waiting:
            return []
        queues: dict[str, deque[_Waiter]] = {}
        for waiter in self._waiting:
            queues.setdefault(waiter.request.owner, deque()).append(waiter)
        first = self._turns.next(_costs(queues))
        shape = queues[first][0].shape
        self._turns.begin(first, queues[first][0].cost)
        taken: list[_Waiter] = []
        alike = {
            owner: deque(w for w in queue if w.shape == shape) for owner, queue in queues.items()
        }
        while len(taken) < self._max_batch and any(alike.values()):
            owner = self._turns.next(_costs(alike))
            taken.append(alike[owner].popleft())
            self._turns.charge(owner, taken[-1].cost)
        self._waiting = [waiter for waiter in self._waiting if waiter not in taken]
        self._turns.forget_idle({waiter.request.owner for waiter in self._waiting})
        return taken

    async def _make(self, waiters: list[_Waiter]) -> None:
        loop = asyncio.get_running_loop()
        requests = [waiter.request for waiter in waiters]

        def report(done_steps: int) -> None:
            for waiter in waiters:
                waiter.report(done_steps)

        def on_step(done_steps: int) -> list[int]:
            if done_steps < requests[0].steps:  # the last step is reported with the picture
                loop.call_soon_threadsafe(report, done_steps)
            return [place for place, waiter in enumerate(waiters) if not waiter.cancelled]

        try:
            pictures = await loop.run_in_executor(self._thread, self._draw, requests, on_step)
        except Exception as error:  # noqa: BLE001 - fails this batch only
            failure = self._failure(error)
            for waiter in waiters:
                waiter.fail(failure)
            return
        self._failures = 0
        for waiter, png in zip(waiters, pictures, strict=True):
            if png is not None:
                waiter.report(waiter.request.steps, png)

    def _failure(self, error: Exception) -> ServiceError:
        if isinstance(error, ServiceError):
            return error
        self._failures += 1
        logger.opt(exception=error).error("a batch of pictures failed")
        return ServiceError(_FAILED)


def _do_nothing() -> None:
    """Leave the thread as it is."""


def _costs(queues: Mapping[str, deque[_Waiter]]) -> dict[str, float]:
    """Return the cost of the next picture of each owner who has one."""
    return {owner: queue[0].cost for owner, queue in queues.items() if queue}
