"""What Serve keeps of a request for the calls made on its behalf: its id, and what ends with it.

Serve has no public way to change either.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

T = TypeVar("T")


@contextlib.contextmanager
def under_id(request_id: str) -> Iterator[None]:
    """Make log lines bear this id, here and in every deployment called, as those of a request do.

    For work that no request waits for.
    """
    from ray.serve.context import _serve_request_context

    token = _serve_request_context.set(_changed(request_id=request_id))
    try:
        yield
    finally:
        _serve_request_context.reset(token)


def detached(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Begin work that is not undone when the client of this request leaves; await its task.

    Shielding alone does not do: Serve cancels every call that was made in the context of a
    request whose client has left, whichever task waits for it. Its id stays, for the logs.
    """
    from ray.serve.context import _serve_request_context

    context = contextvars.copy_context()
    context.run(_serve_request_context.set, _changed(_internal_request_id=""))
    return asyncio.get_running_loop().create_task(work, context=context)


def _changed(**fields: Any) -> Any:  # noqa: ANN401 - Ray's private class
    from ray.serve.context import _get_serve_request_context

    return dataclasses.replace(_get_serve_request_context(), **fields)
