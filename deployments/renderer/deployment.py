"""The Renderer deployment: load pages with a browser, for the Scraper."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ray import serve

from deployments.observability.logs import log_to_serve
from deployments.observability.metrics import export_metrics
from deployments.renderer.renderer import PageRenderer
from deployments.serving.private_files import keep_files_private

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deployments.settings import RendererSettings, ScraperSettings
    from deployments.types import RenderedPage


@serve.deployment(name="Renderer", max_ongoing_requests=16, max_queued_requests=32)
class Renderer:
    """Serve a `PageRenderer`."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        settings: RendererSettings,
        scraper: ScraperSettings,
        *,
        shares: Mapping[str, float],
    ) -> None:
        """Start the browser; `scraper` says what may be connected to, and as whom."""
        log_to_serve()
        keep_files_private()
        export_metrics()
        self._renderer = PageRenderer(settings, scraper, shares=shares)
        await self._renderer.start()

    async def render(self, url: str, timeout_s: float, owner: str = "") -> RenderedPage:
        return await self._renderer.render(url, timeout_s, owner)

    async def check_health(self) -> None:
        await self._renderer.check_health()

    async def __del__(self) -> None:
        if hasattr(self, "_renderer"):
            await self._renderer.close()
