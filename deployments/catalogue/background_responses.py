"""Store the attempts, the events and the results of responses in the background."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from deployments.catalogue.clock import now_ms
from deployments.catalogue.conversations import append_items
from deployments.catalogue.response_rows import (
    ACTIVE,
    CANCELLED,
    CONVERSED,
    FAILED,
    IN_PROGRESS,
    check_size,
    insert_events,
    is_response,
    json_bytes,
    not_found,
    stored_response,
)
from deployments.catalogue.tables import RESPONSE_EVENTS, RESPONSES
from deployments.catalogue.usage import change_usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deployments.catalogue.database import Database
    from deployments.catalogue.response_rows import Event, StoredResponse


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt to generate a response in the background; a later one invalidates it.

    `next_number` is the sequence number of its first event, and `broken_off` is the number of
    earlier attempts that wrote events.
    """

    response: StoredResponse
    number: int
    next_number: int
    broken_off: int


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events, in order; `ended` is true if no further event will follow."""

    events: list[Event]
    ended: bool


@dataclass(frozen=True, slots=True)
class UnfinishedResponse:
    """A response in the background that has not ended, with its job."""

    owner: str
    id: str
    job_id: str


class BackgroundResponses:
    """The responses in the background of all owners; `Responses.add` stores them first."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin_attempt(self, owner: str, response_id: str) -> Attempt | None:
        """Begin an attempt to generate a response, which invalidates earlier ones.

        Returns None if it does not exist, or has ended.
        """

        def begin(connection: sa.Connection) -> Attempt | None:
            row = _lock(connection, owner, response_id)
            if row is None or row.status not in ACTIVE:
                return None
            body = {**row.body, "status": IN_PROGRESS}
            _set(connection, row, status=IN_PROGRESS, body=body, attempt=row.attempt + 1)
            attempts = sa.select(sa.func.count(RESPONSE_EVENTS.c.attempt.distinct())).where(
                RESPONSE_EVENTS.c.response_id == response_id
            )
            broken_off = connection.execute(attempts).scalar_one()
            next_number = _next_number(connection, response_id)
            return Attempt(stored_response(row), row.attempt + 1, next_number, broken_off)

        return await self._database.write(begin)

    async def append_events(
        self,
        owner: str,
        response_id: str,
        events: Sequence[Event],
        *,
        attempt: int = 0,
        ended: Mapping[str, Any] | None = None,
    ) -> bool:
        """Append events of an attempt; with the last ones, set the final body, `ended`.

        Returns False, and writes nothing, if the response no longer exists, has ended, or has a
        later attempt.
        """

        def append(connection: sa.Connection) -> bool:
            # Without body, input and request, which may be large: this runs often.
            columns = RESPONSES.c
            state = sa.select(columns.id, columns.owner, columns.status, columns.attempt)
            locked = state.where(is_response(owner, response_id)).with_for_update()
            row = connection.execute(locked).first()
            if row is None or row.attempt != attempt or row.status not in ACTIVE:
                return False
            if ended is not None:
                _end(connection, _lock(connection, owner, response_id), dict(ended))
            _add_events(connection, row, events, attempt)
            return True

        return await self._database.write(append)

    async def cancel(self, owner: str, response_id: str) -> StoredResponse:
        """Cancel a response unless it has ended, and return it; raise NotFound.

        OpenAI has no event for this. The last event is `response.incomplete`, whose response has
        the status `cancelled`: many clients take a stream without a last event for a broken
        connection.
        """

        def cancel(connection: sa.Connection) -> StoredResponse:
            row = _lock(connection, owner, response_id)
            if row is None:
                raise not_found()
            if row.status not in ACTIVE:
                return stored_response(row)
            _end_by_event(connection, row, "incomplete", {**row.body, "status": CANCELLED})
            return stored_response(_lock(connection, owner, response_id))

        return await self._database.write(cancel)

    async def fail(self, owner: str, response_id: str, code: str, message: str) -> None:
        """Mark a response as failed, with a last event, unless it has ended."""

        def fail(connection: sa.Connection) -> None:
            row = _lock(connection, owner, response_id)
            if row is None or row.status not in ACTIVE:
                return
            error = {"code": code, "message": message}
            body = {**row.body, "status": FAILED, "error": error}
            _end_by_event(connection, row, "failed", body)

        await self._database.write(fail)

    async def events(self, owner: str, response_id: str, after: int, batches: int) -> EventPage:
        """Return the events after a sequence number, from at most `batches` stored batches.

        Raises NotFound.
        """
        status = sa.select(RESPONSES.c.status).where(is_response(owner, response_id))
        table = RESPONSE_EVENTS.c
        select = (
            sa.select(table.events)
            .where(table.response_id == response_id, table.last_number > after)
            .order_by(table.first_number)
            .limit(batches)
        )

        def read(connection: sa.Connection) -> EventPage:
            # Read the status first: the transaction that ends a response also adds its last events.
            found = connection.scalar(status)
            if found is None:
                raise not_found()
            rows = connection.scalars(select).all()
            events = [
                event for batch in rows for event in batch if event["sequence_number"] > after
            ]
            return EventPage(events, found not in ACTIVE and len(rows) < batches)

        return await self._database.read(read)

    async def unfinished(
        self, age_s: float, limit: int, after: str = ""
    ) -> list[UnfinishedResponse]:
        """List responses in the background that have not ended `age_s` after they were created.

        They are ordered by id; `after` is the id of the last one of the previous page.
        """
        columns = RESPONSES.c
        select = (
            sa.select(columns.owner, columns.id, columns.job_id)
            .where(
                columns.status.in_(ACTIVE),
                columns.job_id.is_not(None),
                columns.created_ms <= now_ms() - int(age_s * 1000),
                columns.id > after,
            )
            .order_by(columns.id)
            .limit(limit)
        )
        rows = await self._database.read(lambda connection: connection.execute(select).all())
        return [UnfinishedResponse(row.owner, row.id, row.job_id) for row in rows]


def _lock(connection: sa.Connection, owner: str, response_id: str) -> Any:  # noqa: ANN401 - a row
    """Return a response, if it exists, and keep it locked until the transaction ends."""
    select = RESPONSES.select().where(is_response(owner, response_id)).with_for_update()
    return connection.execute(select).first()


def _set(connection: sa.Connection, row: Any, **values: Any) -> None:  # noqa: ANN401 - a row
    connection.execute(RESPONSES.update().where(RESPONSES.c.id == row.id).values(**values))


def _grow(connection: sa.Connection, row: Any, added_bytes: int) -> None:  # noqa: ANN401 - a row
    """Add bytes to the size of a response and to the usage of its owner."""
    _set(connection, row, size_bytes=RESPONSES.c.size_bytes + added_bytes)
    change_usage(connection, row.owner, responses_bytes=added_bytes)


def _end(connection: sa.Connection, row: Any, body: dict[str, Any]) -> None:  # noqa: ANN401 - a row
    """Set the final body of a response, and append its items to its conversation.

    Locks the conversation before the usage, like every transaction that changes both: in different
    orders they could deadlock.
    """
    if row.conversation_id is not None and body["status"] in CONVERSED:
        turn = [*row.input, *body.get("output", ())]
        append_items(connection, row.owner, row.conversation_id, turn)
    check_size(json_bytes(body, row.input, row.request))
    _set(connection, row, status=body["status"], body=body)
    _grow(connection, row, json_bytes(body) - json_bytes(row.body))


def _end_by_event(
    connection: sa.Connection,
    row: Any,  # noqa: ANN401 - a row of the table
    kind: str,
    body: dict[str, Any],
) -> None:
    """End a response from outside its generation, with a last event."""
    number = _next_number(connection, row.id)
    event = {"type": f"response.{kind}", "sequence_number": number, "response": body}
    _end(connection, row, body)
    _add_events(connection, row, [event])


def _next_number(connection: sa.Connection, response_id: str) -> int:
    last = sa.select(sa.func.max(RESPONSE_EVENTS.c.last_number)).where(
        RESPONSE_EVENTS.c.response_id == response_id
    )
    number = connection.scalar(last)
    return 0 if number is None else number + 1


def _add_events(
    connection: sa.Connection,
    row: Any,  # noqa: ANN401 - a row of the table
    events: Sequence[Event],
    attempt: int | None = None,
) -> None:
    if events:
        insert_events(connection, row.id, events, attempt)
        _grow(connection, row, json_bytes(events))
