"""The steps by which pictures are made; each may be repeated."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from deployments.errors import Unavailable
from deployments.jobs.retrying import remove_if_possible
from deployments.types import image_path

if TYPE_CHECKING:
    from deployments.file_store import FileStore
    from deployments.interfaces import ImageGenerator
    from deployments.jobs.cancellation import Cancellations
    from deployments.jobs.retrying import Patience
    from deployments.types import ImageRequest, ImagesSpec

_GLANCE_S = 0.5


class PictureSteps:
    """A picture is in the file store before its step is recorded."""

    def __init__(
        self,
        images: ImageGenerator,
        files: FileStore,
        patience: Patience,
        cancellations: Cancellations,
    ) -> None:
        self._images = images
        self._files = files
        self._patience = patience
        self._cancellations = cancellations

    async def draw(self, job_id: str, spec: ImagesSpec, number: int) -> None:
        """Make one picture; raises JobCancelled within a denoising step of the request."""
        png = await self._patience.call(
            job_id, self._images, lambda: self._drawn(job_id, spec.request(number))
        )
        await self._patience.call(
            job_id, self._files, lambda: self._files.put(image_path(job_id, number), png)
        )

    async def _drawn(self, job_id: str, request: ImageRequest) -> bytes:
        async with contextlib.aclosing(self._images.generate(request)) as progress:
            while True:
                coming = asyncio.ensure_future(anext(progress, None))
                try:
                    # Also while the picture waits for its turn.
                    while not (await asyncio.wait({coming}, timeout=_GLANCE_S))[0]:
                        await self._cancellations.glance(job_id)
                finally:
                    # Before the generator is closed, nothing may still wait on it.
                    coming.cancel()
                    await asyncio.wait({coming})
                step = coming.result()
                if step is None:
                    msg = "the image generator ended without a picture"
                    raise Unavailable(msg)
                if step.png is not None:
                    return step.png
                await self._cancellations.glance(job_id)

    async def drawn(self, job_id: str, count: int) -> int:
        """How many pictures there are, up to the first that is missing."""
        names = await self._patience.call(
            job_id, self._files, lambda: self._files.names(f"images/{job_id}")
        )
        return next((number for number in range(count) if f"{number}.png" not in names), count)

    async def discard(self, job_id: str) -> None:
        """Leave no picture of a job, if that is possible now."""
        await remove_if_possible(self._files, f"images/{job_id}")
