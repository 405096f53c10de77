"""Work that a request begins and that is not undone when its client leaves."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


def detached(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Begin work in a task that shares nothing with the request; keep the task, and await it.

    Shielding alone does not do: Serve cancels every call to a deployment that was made in the
    context of a request whose client has left, whichever task waits for it.
    """
    return asyncio.get_running_loop().create_task(work, context=contextvars.Context())
