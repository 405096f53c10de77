"""The Scraper deployment: read the pages named in prompts concurrently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ray import serve

from deployments.file_store import FileStore
from deployments.observability.logs import log_to_serve
from deployments.observability.metrics import PAGES, export_metrics
from deployments.remote.parser import RemoteParser
from deployments.remote.renderer import RemoteRenderer
from deployments.scraper.pdf_pages import PdfPages
from deployments.scraper.reader import WebReader
from deployments.serving.capacity import reserved_cores
from deployments.serving.private_files import keep_files_private

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ray.serve.handle import DeploymentHandle

    from deployments.settings import ScraperSettings
    from deployments.types import Page


@serve.deployment(name="Scraper", max_ongoing_requests=64, max_queued_requests=128)
class Scraper:
    """Serve `WebReader`; the replica itself only waits for the network and its processes."""

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        settings: ScraperSettings,
        files: str,
        parser: DeploymentHandle[Any],
        renderer: DeploymentHandle[Any] | None = None,
        *,
        shares: Mapping[str, float],
    ) -> None:
        """Start the reader.

        Args:
            settings: bounds of pages.
            files: folder or URL of the file store.
            parser: handle of the Parser deployment, for PDFs.
            renderer: handle of the Renderer deployment, for pages that are made by scripts.
            shares: weights of API keys, by their names; 1 for those that are not named.
        """
        log_to_serve()
        keep_files_private()
        export_metrics()
        parsing = RemoteParser(parser, "document parser")
        pdfs = PdfPages(parsing, FileStore(files), shares)
        rendering = RemoteRenderer(renderer, "page renderer") if renderer else None
        self._reader = WebReader(
            settings, pdfs, rendering, processes=reserved_cores(), shares=shares
        )
        await self._reader.start()

    async def fetch(self, urls: Sequence[str], owner: str = "") -> list[Page]:
        pages = await self._reader.fetch(urls, owner)
        for page in pages:
            PAGES.add(outcome=page.outcome)
        return pages

    async def check_health(self) -> None:
        await self._reader.check_health()

    async def __del__(self) -> None:
        if hasattr(self, "_reader"):
            await self._reader.close()
