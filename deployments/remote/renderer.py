"""The Renderer deployment by its handle."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployments.remote.handle import Remote

if TYPE_CHECKING:
    from deployments import types


class RemoteRenderer(Remote):
    """Calls of the Renderer deployment."""

    _methods = ("render",)
    _abandonable = frozenset(_methods)
    _large = frozenset(_methods)

    async def render(self, url: str, timeout_s: float, owner: str = "") -> types.RenderedPage:
        # Not repeated: a page that kills its replica must not get three of them.
        page: types.RenderedPage = await self._call("render", url, timeout_s, owner)
        return page
