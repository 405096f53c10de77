"""A Serve handle that fails as it is told to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any


class Handle:
    """As much of a handle as is called: raises what it is told to, as often as told."""

    deployment_name = "LLM"

    def __init__(self, error: BaseException, times: int = 99) -> None:
        self.error, self.times, self.calls = error, times, 0

    def options(self, **_: Any) -> Handle:
        return self

    def remote(self, *_: Any) -> Any:
        return self

    def __await__(self) -> Any:
        return self._answer().__await__()

    async def _answer(self) -> list[Any]:
        self.calls += 1
        if self.calls <= self.times:
            raise self.error
        return []

    async def __aiter__(self) -> AsyncIterator[str]:
        yield "data: 1\n\n"
        raise self.error

    def cancel(self) -> None: ...
