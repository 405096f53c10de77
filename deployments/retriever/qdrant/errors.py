"""What a Qdrant server's failures mean to a caller."""

from __future__ import annotations

import httpx
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from deployments.errors import (
    Conflict,
    DeadlineExceeded,
    NotFound,
    Overloaded,
    ServiceError,
    Unavailable,
)

_UNAUTHORISED = (401, 403)
_NOT_FOUND = 404
_CONFLICT = 409


def connection_lost(error: Exception) -> bool:
    """Tell a connection that could not be made or broke from every other failure."""
    return isinstance(error, ResponseHandlingException) and isinstance(
        error.source, (httpx.NetworkError, httpx.ConnectTimeout, httpx.RemoteProtocolError)
    )


def service_error(error: Exception) -> ServiceError:  # noqa: PLR0911 - one per failure
    """Return our error, without addresses or the server's own words."""
    if isinstance(error, ResourceExhaustedResponse):
        message = "The document store has too much to do."
        return Overloaded(message, retry_after_s=error.retry_after_s)
    if isinstance(error, UnexpectedResponse):
        if error.status_code == _NOT_FOUND:
            return NotFound("The index does not exist on the document store's server.")
        if error.status_code == _CONFLICT:
            return Conflict("The index exists already.")
        if error.status_code in _UNAUTHORISED:
            return Unavailable("The document store refuses this service's API key.")
    if connection_lost(error):
        return Unavailable("The document store cannot be reached.")
    if isinstance(error, ResponseHandlingException) and isinstance(
        error.source, httpx.TimeoutException
    ):
        return DeadlineExceeded("The document store did not answer in time.")
    return Unavailable("The document store failed.")
