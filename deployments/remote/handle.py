"""What the calls of all deployments share: errors, repetition and cancellation.

Whatever Ray raises leaves here as a ServiceError, see `ray_errors`. Calls are repeated a few times
when the replica stopped during them; not repeated are generations, parsing, and the submission of
images without an idempotency key. A method that a replica of an earlier version does not have is
repeated in the same way, and for longer where no client waits (`_updated`).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

import stamina

from deployments.serving.ray_errors import MissingMethod, Unreachable, translated

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator

    Handle = DeploymentHandle[Any]

_RETRY_ATTEMPTS = 3
_RETRY_TIMEOUT_S = 5.0
_UPDATE_S = 300.0
"""The longest wait, in work that no client waits for, for a rolling update of a deployment."""
_UPDATE_PAUSE_S, _MAX_UPDATE_PAUSE_S = 1.0, 2.0


def transport(*, large: bool) -> dict[str, Any]:
    """Return the options of a method, which are `large` if its messages exceed those of gRPC."""
    # Ray's own default, of the environment, is left alone for the others.
    return {"_by_reference": True} if large else {}


class Remote:
    """A deployment by its handle; one prepared handle a method, as each costs a metrics pusher.

    `_large` names the methods whose arguments or result may exceed a gRPC message, which holds
    4 MiB. They are called by reference, through Ray's object store, which takes longer.
    `_abandonable` names those that change nothing: cancelled here, they are cancelled there, or
    not begun.
    """

    _methods: tuple[str, ...] = ()
    _abandonable: frozenset[str] = frozenset()
    _large: frozenset[str] = frozenset()

    def __init__(self, handle: Handle, name: str) -> None:
        self._name = name
        self._deployment = handle.deployment_name
        self._calls = {
            method: handle.options(method_name=method, **transport(large=method in self._large))
            for method in (*self._methods, "check_health")
        }

    async def _call(self, method: str, *args: Any) -> Any:  # noqa: ANN401 - whatever it returns
        async with translated(self._name, self._deployment):
            response: Any = self._calls[method].remote(*args)
            try:
                return await response
            except asyncio.CancelledError:
                # Its deadline has passed or its client has left. Serve would go on with it.
                if method in self._abandonable:
                    response.cancel()
                raise

    async def _repeatable(self, method: str, *args: Any) -> Any:  # noqa: ANN401
        async for attempt in stamina.retry_context(
            on=Unreachable, attempts=_RETRY_ATTEMPTS, timeout=_RETRY_TIMEOUT_S
        ):
            with attempt:
                return await self._call(method, *args)
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    async def _updated(
        self,
        call: Callable[..., Awaitable[Any]],
        method: str,
        *args: Any,  # noqa: ANN401 - the method's
    ) -> Any:  # noqa: ANN401 - whatever it returns
        """Call a method that an earlier version does not have, once its replicas are replaced."""
        async for attempt in stamina.retry_context(
            on=MissingMethod,
            attempts=None,
            timeout=_UPDATE_S,
            wait_initial=_UPDATE_PAUSE_S,
            wait_max=_MAX_UPDATE_PAUSE_S,
        ):
            with attempt:
                return await call(method, *args)
        raise AssertionError  # pragma: no cover - the last attempt returns or raises

    async def check_health(self) -> None:
        await self._call("check_health")


async def streamed(handle: Handle, name: str, *args: Any) -> AsyncGenerator[Any, None]:  # noqa: ANN401
    """Whatever a deployment yields; closing it stops the deployment's work."""
    async with translated(name, handle.deployment_name):
        items = cast("DeploymentResponseGenerator[Any]", handle.remote(*args))
        try:
            async for item in items:
                yield item
        finally:
            # Harmless after the end; before it, this is what stops the work.
            items.cancel()
