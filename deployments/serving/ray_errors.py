"""What Ray raises at a call of a deployment, as the ServiceErrors that the callers know."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from grpc.aio import AioRpcError
from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, RayServeException

from deployments.errors import Overloaded, ServiceError, TooLarge, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_OWN_CANCELLATION_S = 0.1
_NO_SUCH_METHOD = "that does not exist. Available methods"  # in Serve's RayServeException
_MESSAGE_TOO_LARGE = "message larger than max"  # in gRPC's details, with RESOURCE_EXHAUSTED


class Unreachable(Unavailable):
    """The deployment itself could not be reached, or stopped: another call may succeed.

    It is pickled as an ordinary Unavailable: the caller of the caller must not repeat it again, and
    the records of jobs must not depend on this class.
    """

    def __reduce__(self) -> tuple[type[Unavailable], tuple[str]]:
        return Unavailable, (self.message,)


class MissingMethod(Unreachable):
    """The replica is of an earlier version, which lacks the method, and is being replaced."""


@contextlib.asynccontextmanager
async def translated(name: str, deployment: str) -> AsyncGenerator[None, None]:
    """Raise what Ray does, by whichever of its two transports, as a ServiceError.

    `name` is the deployment to people, `deployment` to Serve.

    Over gRPC a replica's exception arrives as it was; by Ray's own calls, inside a RayTaskError
    that is an instance of both. A transport that broke is an AioRpcError or a RayError.
    """
    try:
        yield
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        # A client that leaves takes the calls made for it along, and that may be heard of here
        # before our own cancellation is, which then ends this sleep.
        await asyncio.sleep(_OWN_CANCELLATION_S)
        # This task was not cancelled: the replica was stopped during the call.
        msg = f"the {name} stopped; it is being replaced"
        raise Unreachable(msg) from None
    except Exception as error:
        cause = error.cause if isinstance(error, RayTaskError) else error
        if isinstance(cause, Overloaded):
            cause.where = cause.where or deployment
        if isinstance(cause, ServiceError):
            raise cause from None
        if isinstance(cause, BackPressureError):
            msg = f"the {name} has too many requests waiting; try again shortly"
            full = Overloaded(msg, retry_after_s=cause.retry_after_s)
            full.where = deployment
            raise full from None
        if isinstance(cause, AioRpcError) and _MESSAGE_TOO_LARGE in (cause.details() or ""):
            msg = f"the request is larger than the {name} accepts"
            raise TooLarge(msg) from None
        if isinstance(cause, RayServeException) and _NO_SUCH_METHOD in str(cause):
            msg = f"the {name} is of an earlier version; it is being replaced"
            raise MissingMethod(msg) from None
        if isinstance(cause, RayServeException | RayError | AioRpcError):
            msg = f"the {name} is not available"
            raise Unreachable(msg) from error
        msg = f"the {name} failed on this request"
        raise ServiceError(msg) from error
