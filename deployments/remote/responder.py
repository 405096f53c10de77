"""Call the Ingress deployment from Jobs, to generate responses in the background.

Ingress is bound with a handle of Jobs, so Jobs looks up the handle of Ingress at its first call.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from ray import serve

from deployments.remote.handle import Remote
from deployments.serving.ray_errors import translated

if TYPE_CHECKING:
    from deployments.remote.handle import Handle


class _Ingress(Remote):
    _methods = ("respond",)
    _abandonable = frozenset(_methods)

    async def respond(self, owner: str, response_id: str) -> str:
        status: str = await self._updated(self._call, "respond", owner, response_id)
        return status


class RemoteResponder:
    """Calls of a deployment of the same application; a cancelled call stops the generation."""

    def __init__(self, deployment: str, name: str) -> None:
        self._deployment = deployment
        self._name = name
        self._found: _Ingress | None = None

    async def check_health(self) -> None:
        await (await self._ingress()).check_health()

    async def respond(self, owner: str, response_id: str) -> str:
        return await (await self._ingress()).respond(owner, response_id)

    async def _ingress(self) -> _Ingress:
        if self._found is None:
            async with translated(self._name, self._deployment):
                # Blocks: it asks Serve's controller.
                handle: Handle = await asyncio.to_thread(
                    serve.get_deployment_handle, self._deployment
                )
            self._found = self._found or _Ingress(handle, self._name)
        return self._found
