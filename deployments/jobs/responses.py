"""Generate a response in the background, and end it if its job fails or is cancelled."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from deployments.catalogue.response_rows import CANCELLED, FAILED
from deployments.errors import InvalidRequest, NotFound, Overloaded, ServiceError, Unprocessable
from deployments.jobs.cancellation import JobCancelled

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from deployments.catalogue.background_responses import BackgroundResponses
    from deployments.interfaces import Checked, Responder
    from deployments.types import ResponseSpec

    class Backends(Protocol):
        """Calls a backend, and waits while it is unavailable."""

        async def call(
            self, job_id: str, backend: Checked, work: Callable[[], Awaitable[str]]
        ) -> str: ...


@dataclass(frozen=True)
class ResponseSteps:
    """Steps of response jobs; the response is stored as ended before its step is checkpointed."""

    responder: Responder
    responses: BackgroundResponses
    backends: Backends

    async def respond(self, job_id: str, spec: ResponseSpec) -> None:
        """Generate a response; raise JobCancelled if it was cancelled or deleted."""
        status = await self.backends.call(
            job_id, self.responder, lambda: self.responder.respond(spec.owner, spec.response_id)
        )
        if status == CANCELLED:
            raise JobCancelled
        if status == FAILED:
            msg = "the response failed: its `error` says why"
            raise Unprocessable(msg, code="response_failed")

    async def discard(self, spec: ResponseSpec, failure: Exception) -> None:
        """End a response whose job was cancelled or has failed."""
        if isinstance(failure, JobCancelled):
            await self.withdraw(spec)
        elif isinstance(failure, ServiceError):
            error = _openai_code(failure), failure.message
            await self.responses.fail(spec.owner, spec.response_id, *error)

    async def withdraw(self, spec: ResponseSpec) -> None:
        """End a response whose job was cancelled before it began."""
        with contextlib.suppress(NotFound):
            await self.responses.cancel(spec.owner, spec.response_id)


def _openai_code(failure: ServiceError) -> str:
    """Return the error code of a failed response, one of those in OpenAI's types."""
    if isinstance(failure, InvalidRequest):
        return "invalid_prompt"
    return "rate_limit_exceeded" if isinstance(failure, Overloaded) else "server_error"
