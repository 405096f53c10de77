"""The step that generates a response in the background, and what ends it otherwise."""

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
        """Calls what it is given, and waits while that is unavailable."""

        async def call(
            self, job_id: str, backend: Checked, work: Callable[[], Awaitable[str]]
        ) -> str: ...


@dataclass(frozen=True)
class ResponseSteps:
    """A response is in the catalogue, as it ended, before its step is recorded."""

    responder: Responder
    responses: BackgroundResponses
    backends: Backends

    async def respond(self, job_id: str, spec: ResponseSpec) -> None:
        """Generate a response; raise JobCancelled if it was cancelled, or deleted."""
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
    """Return the code of an error of a response, of those that OpenAI's type knows."""
    if isinstance(failure, InvalidRequest):
        return "invalid_prompt"
    return "rate_limit_exceeded" if isinstance(failure, Overloaded) else "server_error"
