"""The Scraper deployment by its handle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployments.errors import ServiceError
from deployments.remote.handle import Remote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments import types


class RemoteScraper(Remote):
    """Calls of the Scraper deployment."""

    _methods = ("fetch",)
    _abandonable = frozenset(_methods)
    _large = frozenset({"fetch"})

    async def fetch(self, urls: Sequence[str], owner: str = "") -> list[types.Page]:
        pages: list[types.Page]
        try:
            pages = await self._repeatable("fetch", urls, *filter(None, [owner]))
        except ServiceError as error:
            if error.code != ServiceError.code or not owner:
                raise
            # A scraper of version 0.1, which may still run, knows no owner.
            pages = await self._repeatable("fetch", urls)
        return pages
