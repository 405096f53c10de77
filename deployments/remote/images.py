"""The Images deployment by its handle."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from deployments.remote.handle import Remote, streamed, transport

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from deployments import types
    from deployments.remote.handle import Handle


class RemoteImageGenerator(Remote):
    """Calls of the Images deployment."""

    def __init__(self, handle: Handle, name: str) -> None:
        super().__init__(handle, name)
        self._stream = handle.options(method_name="generate", stream=True, **transport(large=True))

    async def generate(
        self, request: types.ImageRequest
    ) -> AsyncGenerator[types.ImageProgress, None]:
        async with contextlib.aclosing(streamed(self._stream, self._name, request)) as steps:
            async for step in steps:
                yield step
