"""The steps by which images are made; each may be repeated."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from deployments.catalogue.removals import Removal
from deployments.errors import Unavailable
from deployments.file_store import IMAGES, image_path
from deployments.jobs.retrying import remove_if_possible

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from deployments.catalogue.removals import Removals
    from deployments.file_store import FileStore
    from deployments.interfaces import ImageGenerator
    from deployments.jobs.cancellation import Cancellations
    from deployments.jobs.retrying import BackendCaller
    from deployments.types import ImageRequest, ImagesSpec


@dataclass(frozen=True)
class ImageSteps:
    """An image is in the file store before its step is recorded."""

    generator: ImageGenerator
    files: FileStore
    backends: BackendCaller
    cancellations: Cancellations
    removals: Removals

    async def draw(self, job_id: str, spec: ImagesSpec, number: int) -> None:
        """Make one image; raise JobCancelled within a second or so of the request."""
        png = await self.backends.call(
            job_id, self.generator, lambda: self._generate(job_id, spec.request(number))
        )
        await self.backends.call(
            job_id, self.files, lambda: _whole(self.files.put(image_path(job_id, number), png))
        )

    async def _generate(self, job_id: str, request: ImageRequest) -> bytes:
        async with contextlib.aclosing(self.generator.generate(request)) as progress:
            # Also while the image waits for its turn, each step can be interrupted.
            while step := await self.cancellations.interrupt(job_id, anext(progress, None)):
                if step.png is not None:
                    return step.png
                await self.cancellations.check(job_id)
        msg = "the image generator ended without an image"
        raise Unavailable(msg)

    async def count_drawn(self, job_id: str, count: int) -> int:
        """Return how many of the images exist, up to the first that is missing."""
        names = await self.backends.call(
            job_id, self.files, lambda: self.files.names(f"{IMAGES}/{job_id}")
        )
        return next((number for number in range(count) if f"{number}.png" not in names), count)

    async def discard(self, job_id: str) -> None:
        """Remove the images of a job, if that is possible now; while a backup needs them, later."""
        folder = f"{IMAGES}/{job_id}"
        if not await self.removals.deferred(Removal.of_path(folder)):
            await remove_if_possible(self.files, folder)


async def _whole(work: Coroutine[Any, Any, None]) -> None:
    """Await work that must not go on after its caller was cancelled: let it end first."""
    task = asyncio.create_task(work)
    try:
        await asyncio.shield(task)
    finally:
        await asyncio.wait({task})
