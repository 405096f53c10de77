"""The Images deployment: each replica has one text-to-image model and its queue."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ray import serve

from deployments.images.pipeline import ImagePipeline
from deployments.images.queue import ImageQueue
from deployments.model_source import resolve, revision_of
from deployments.observability.logs import log_to_serve
from deployments.observability.metrics import PICTURES, export_metrics
from deployments.serving.capacity import reserved_cores
from deployments.serving.memory import keep_loaded
from deployments.serving.private_files import keep_files_private

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

    from deployments.settings import ImagesSettings
    from deployments.types import ImageProgress, ImageRequest


# More than the queue holds by default, so that the queue itself refuses requests.
@serve.deployment(name="Images", max_ongoing_requests=96, max_queued_requests=96)
class Images:
    """Serve an `ImageQueue`."""

    def __init__(
        self, settings: ImagesSettings, data_dir: str, *, shares: Mapping[str, float]
    ) -> None:
        """Load the model; `shares` are the weights of API keys, 1 for those that are not named."""
        log_to_serve()
        keep_files_private(data_dir)
        export_metrics()
        model = resolve(settings.model, Path(data_dir))
        self._pipeline = ImagePipeline(
            model, settings, revision=revision_of(settings.model), threads=reserved_cores()
        )
        self._queue = ImageQueue(
            self._pipeline.draw,
            settings.max_batch,
            self._pipeline.prepare_thread,
            shares=shares,
        )
        keep_loaded()

    async def generate(self, request: ImageRequest) -> AsyncGenerator[ImageProgress, None]:
        self._pipeline.check(request)
        progress = self._queue.generate(request)
        try:
            async for step in progress:
                if step.png is not None:
                    PICTURES.add()
                yield step
        finally:
            # On cancellation the queue must know now, not at garbage collection.
            await progress.aclose()

    async def check_health(self) -> None:
        await self._queue.check_health()

    async def __del__(self) -> None:
        if hasattr(self, "_queue"):
            await self._queue.close()
