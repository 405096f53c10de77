"""Generate responses in the background.

A request stores the response, a job generates it, and any ingress replica streams its events. The
job calls `run` on any ingress replica, which writes events and the final body into the catalogue.
Each run is an attempt. A later attempt or the end of the response invalidates it: a cancelled or
deleted response is not generated further, even if its job cannot be reached.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from loguru import logger

from deployments.catalogue.response_rows import CANCELLED, FAILED, QUEUED
from deployments.errors import Conflict, InvalidRequest, NotFound, ServiceError, Unavailable
from deployments.job_ids import job_id_for
from deployments.types import JobKind, ResponseSpec
from serve_app.responses.ids import new_response_id
from serve_app.schemas.responses.request import ResponseRequest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Mapping, Sequence

    from deployments.catalogue.owned import OwnedCatalogue
    from deployments.catalogue.response_rows import Event, StoredResponse
    from deployments.interfaces import Jobs
    from serve_app.responses.interfaces import Item, ResponseStorage
    from serve_app.responses.responding import Responding
    from serve_app.responses.stored import StoredResponses

_POLL_S, _MAX_POLL_S = 0.2, 1.0
"""The interval at which a reader polls for events, and its maximum while there are none."""
_WRITE_S = 0.2
"""The interval at which collected events are written."""
_BATCHES = 64
"""The most stored batches of events that are read at once."""
_MAX_ATTEMPTS = 3
"""The most attempts that write events: a failure of the last one is final."""


class Background:
    """The responses in the background of one owner."""

    def __init__(
        self,
        owner: str,
        jobs: Jobs,
        catalogue: OwnedCatalogue,
        stored: StoredResponses,
        responding: Callable[[ResponseStorage], Responding],
    ) -> None:
        """Keep the parts; `responding` creates a Responding for a storage."""
        self._owner = owner
        self._jobs = jobs
        self._responses = catalogue.responses
        self._background = catalogue.background_responses
        self._stored = stored
        self._responding = responding

    async def begin(self, request: ResponseRequest, key: str | None) -> StoredResponse:
        """Store a response and submit its job; return the queued response.

        Returns the existing response if the idempotency `key` was used for this request before.
        Raises Overloaded if the queue is full, Conflict if the key was used for another request,
        and the errors of `Responding.turn`.
        """
        fields = request.model_dump(mode="json", by_alias=True, exclude_unset=True)
        if key is not None:
            response_id = _response_id_for(self._owner, key)
            with contextlib.suppress(NotFound):
                return await self._again(await self._responses.response(response_id), fields)
        else:
            response_id = new_response_id()
        turn = await self._responding(self._stored).turn(request, response_id)
        body = {**turn.response, "status": QUEUED}
        response = replace(
            self._stored.new(body, turn.input_items),
            request=fields,
            job_id=job_id_for(self._owner, JobKind.RESPONSE, response_id),
        )
        kinds = ("response.created", "response.queued")
        events = [
            {"type": kind, "sequence_number": number, "response": body}
            for number, kind in enumerate(kinds)
        ]
        # The id is stored already if another request has used the key meanwhile.
        if not await self._responses.add(response, events):
            return await self._again(await self._responses.response(response_id), fields)
        try:
            is_old = await self._submit(response)
        except ServiceError:
            # If a job was submitted after all, it finds nothing to do.
            await self._responses.delete(response_id)
            raise
        if is_old:  # the first response of the key was deleted, but its job is still stored
            await self._responses.delete(response_id)
            return await self.begin(request, None)
        return response

    async def _again(self, known: StoredResponse, fields: Mapping[str, Any]) -> StoredResponse:
        """Return the response of an idempotency key; raise Conflict for another request."""
        if known.request != fields:
            msg = "this Idempotency-Key was used for another request: choose a new one"
            raise Conflict(msg, code="idempotency_key_reused", param="Idempotency-Key")
        if not known.ended:
            await self._submit(known)  # the first request may have failed before it did
        return known

    async def _submit(self, response: StoredResponse) -> bool:
        """Submit the job of a response; return whether its job existed and has ended."""
        spec = ResponseSpec(response.id, response.body["model"])
        submitted = await self._jobs.submit_response(spec)
        return submitted.job.ended and not submitted.created

    async def run(self, response_id: str) -> str:
        """Generate a response, and return its final status; idempotent.

        Raises the error of a failed attempt, unless it was the last one.
        """
        attempt = await self._background.begin_attempt(response_id)
        if attempt is None:
            return await self._status(response_id)
        request = ResponseRequest.model_validate(attempt.response.request)
        request = request.model_copy(update={"stream": True})
        end = _DeferredSave(self._stored)
        responding = self._responding(end)
        created_at = attempt.response.created_ms // 1000
        turn = await responding.turn(request, response_id, created_at)
        stream = responding.stream(turn, first_number=attempt.next_number, begun_before=True)
        async with contextlib.aclosing(_collected(stream)) as batches:
            async for events in batches:
                if attempt.broken_off + 1 < _MAX_ATTEMPTS:
                    _raise_failure(end.response)
                if not await self._background.append_events(
                    response_id, events, attempt=attempt.number, ended=end.response
                ):
                    return await self._status(response_id)
        return await self._status(response_id)

    async def _status(self, response_id: str) -> str:
        try:
            response = await self._responses.response(response_id)
        except NotFound:
            return CANCELLED  # it was deleted
        if not response.ended:
            msg = "another attempt to generate this response has begun"
            raise Unavailable(msg)
        return response.status

    async def follow(
        self, response: StoredResponse, after: int = -1
    ) -> AsyncGenerator[Sequence[Event], None]:
        """Yield the events after a sequence number, until the response has ended.

        Raises InvalidRequest if it does not run in the background.
        """
        if response.job_id is None:
            msg = "only a response that was created with `background` can be streamed later"
            raise InvalidRequest(msg, param="stream")
        wait_s = _POLL_S
        while True:
            page = await self._background.events(response.id, after, _BATCHES)
            if page.events:
                after = page.events[-1]["sequence_number"]
                yield page.events
            if page.ended:
                return
            wait_s = _POLL_S if page.events else min(2 * wait_s, _MAX_POLL_S)
            await asyncio.sleep(wait_s)

    async def cancel(self, response_id: str) -> StoredResponse:
        """Cancel a response and return it; one that has ended is returned as it is.

        Raises InvalidRequest if it does not run in the background.
        """
        response = await self._responses.response(response_id)
        if response.job_id is None:
            msg = "only a response that was created with `background` can be cancelled"
            raise InvalidRequest(msg, param="response_id")
        cancelled = await self._background.cancel(response_id)
        await self._stop_job(response)
        return cancelled

    async def delete(self, response_id: str) -> None:
        """Delete a response, and stop it if it runs; raise NotFound."""
        response = await self._responses.response(response_id)
        await self._responses.delete(response_id)
        await self._stop_job(response)

    async def _stop_job(self, response: StoredResponse) -> None:
        if response.job_id is None or response.ended:
            return
        try:
            await self._jobs.cancel(response.job_id)
        except (Conflict, NotFound):
            pass  # the job has ended meanwhile
        except ServiceError as error:
            # The generation stops when it writes its next events.
            logger.warning("job {} could not be cancelled: {}", response.job_id, error)


class _DeferredSave:
    """A storage that keeps the final response in memory: it is written with its last events."""

    def __init__(self, stored: StoredResponses) -> None:
        self._stored = stored
        self.response: Mapping[str, Any] | None = None

    async def history(
        self, previous_response_id: str | None, conversation_id: str | None
    ) -> list[Item]:
        return await self._stored.history(previous_response_id, conversation_id)

    async def items(self, item_ids: Sequence[str]) -> list[Item]:
        return await self._stored.items(item_ids)

    async def save(self, response: Mapping[str, Any], input_items: Sequence[Item]) -> None:  # noqa: ARG002 - stored already
        self.response = dict(response)


def _raise_failure(response: Mapping[str, Any] | None) -> None:
    if response is not None and response["status"] == FAILED:
        msg = f"the response broke off: {response['error']['message']}"
        raise Unavailable(msg)


async def _collected(
    stream: AsyncGenerator[Sequence[Event], None],
) -> AsyncGenerator[Sequence[Event], None]:
    """Yield the first events at once, and later ones in batches, every `_WRITE_S`."""
    loop = asyncio.get_running_loop()
    collected: list[Event] = []
    write_at = 0.0
    async with contextlib.aclosing(stream):
        upcoming = asyncio.ensure_future(anext(stream, None))
        try:
            while True:
                wait_s = max(write_at - loop.time(), 0.0) if collected else None
                await asyncio.wait({upcoming}, timeout=wait_s)
                if upcoming.done():
                    events = upcoming.result()
                    if events is None:
                        break
                    collected += events
                    upcoming = asyncio.ensure_future(anext(stream, None))
                if loop.time() >= write_at:
                    yield collected
                    collected = []
                    write_at = loop.time() + _WRITE_S
        finally:
            upcoming.cancel()
            await asyncio.gather(upcoming, return_exceptions=True)
    if collected:
        yield collected


def _response_id_for(owner: str, key: str) -> str:
    """Derive the id of a response from an idempotency key, so that every replica finds it."""
    return f"resp_{job_id_for(owner, 'background', key).removeprefix('job_')}"
