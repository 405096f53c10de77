"""Calls to a Qdrant server, with retries and our errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, ParamSpec, TypeVar

import stamina
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException

from deployments.retriever.qdrant.errors import connection_lost, service_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

P = ParamSpec("P")
T = TypeVar("T")

_ATTEMPTS = 3
# The client hands on what it cannot read of an answer as one kind of ValueError or another.
FAILURES = (ApiException, QdrantException, ValueError)


class Caller:
    """Calls methods of the client, again where the connection is lost, for `timeout_s` seconds."""

    def __init__(self, timeout_s: float) -> None:
        self._retrying = stamina.AsyncRetryingCaller(
            attempts=_ATTEMPTS,
            timeout=timeout_s,
            wait_initial=0.05,
            wait_jitter=0.05,
            wait_max=1.0,
        ).on(connection_lost)

    async def __call__(
        self, method: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call a method; raises ServiceErrors."""
        try:
            return await self._retrying(method, *args, **kwargs)
        except FAILURES as error:
            raise service_error(error) from error
