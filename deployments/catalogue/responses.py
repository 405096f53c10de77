"""Stored responses of the Responses API, and the events of those that run in the background."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from deployments.catalogue.clock import now_ms
from deployments.catalogue.conversations import append_items, check_references
from deployments.catalogue.statements import insert_missing
from deployments.catalogue.tables import RESPONSE_EVENTS, RESPONSES
from deployments.catalogue.usage import add_usage, change_usage, check_usage
from deployments.errors import InvalidRequest, NotFound, TooLarge

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deployments.catalogue.database import Database
    from deployments.catalogue.entries import Quotas

MAX_RESPONSE_BYTES = 16 * 1024**2
"""Of one response: its body, input and request as JSON, without its events."""
MAX_CHAIN_BYTES = 32 * 1024**2
"""Of the responses of a chain together; more are not read."""
QUEUED, IN_PROGRESS, CANCELLED, FAILED = "queued", "in_progress", "cancelled", "failed"
_ACTIVE = (QUEUED, IN_PROGRESS)
CONVERSED = ("completed", "incomplete")
"""The statuses of responses whose items are added to their conversation."""

Event = dict[str, Any]
"""A streaming event as OpenAI's JSON, with its `sequence_number`."""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response as it is stored; the times are in milliseconds since the epoch.

    `body` is the response object, and `input` has the input items of this turn only, each with its
    id. A response that runs in the background has its `request` and the id of its job.
    """

    id: str
    status: str
    created_ms: int
    expires_ms: int
    body: dict[str, Any]
    input: list[dict[str, Any]]
    previous_id: str | None = None
    conversation_id: str | None = None
    request: dict[str, Any] | None = None
    job_id: str | None = None

    @property
    def ended(self) -> bool:
        """Whether its status is final."""
        return self.status not in _ACTIVE


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try to generate a response; a later one invalidates it.

    `next_number` is the sequence number of its first event, and `broken_off` how many attempts
    before it wrote events.
    """

    response: StoredResponse
    number: int
    next_number: int
    broken_off: int


@dataclass(frozen=True, slots=True)
class EventPage:
    """Some events, in order; `ended` says that no event follows them, ever."""

    events: list[Event]
    ended: bool


@dataclass(frozen=True, slots=True)
class UnfinishedResponse:
    """A response whose job should be under way."""

    owner: str
    id: str
    job_id: str


class Responses:
    """The responses of all owners; one of another owner, or an expired one, does not exist."""

    def __init__(self, database: Database, quotas: Quotas) -> None:
        self._database = database
        self._quotas = quotas

    async def check_room(self, owner: str, *parts: Any) -> None:  # noqa: ANN401 - JSON
        """Raise InvalidRequest if a further response of these parts would be over a quota.

        Raises TooLarge if it is itself too large.
        """

        def check(connection: sa.Connection) -> None:
            size_bytes = _check_size(_bytes(*parts))
            check_usage(
                connection, owner, self._quotas, responses=1, responses_bytes=max(size_bytes, 1)
            )

        await self._database.read(check)

    async def add(self, owner: str, response: StoredResponse, events: Sequence[Event] = ()) -> bool:
        """Store a response with its first events; return False if its id is stored already.

        If it is complete or incomplete, its items are added to its conversation. Raises
        InvalidRequest if it is over a quota, TooLarge if it is itself too large, and Conflict while
        everything of the owner is being erased.
        """
        values = {
            "id": response.id,
            "owner": owner,
            "status": response.status,
            "created_ms": response.created_ms,
            "expires_ms": response.expires_ms,
            "previous_id": response.previous_id,
            "conversation_id": response.conversation_id,
            "body": response.body,
            "input": response.input,
            "request": response.request,
            "job_id": response.job_id,
            "attempt": 0,
        }

        def add(connection: sa.Connection) -> bool:
            # Here, not before: it takes long for a large response, and would block the event loop.
            size_bytes = _check_size(_bytes(response.body, response.input, response.request))
            size_bytes += _bytes(events)
            # One with this id, of the same idempotency key, may have expired.
            columns = RESPONSES.c
            expired = sa.and_(columns.owner == owner, columns.expires_ms <= now_ms())
            remove_responses(connection, sa.and_(columns.id == response.id, expired))
            if not insert_missing(connection, RESPONSES, **values, size_bytes=size_bytes):
                return False
            if events:
                _insert_events(connection, response.id, events)
            if response.status in CONVERSED and response.conversation_id is not None:
                turn = [*response.input, *response.body.get("output", ())]
                append_items(connection, owner, response.conversation_id, turn)
            add_usage(connection, owner, self._quotas, responses=1, responses_bytes=size_bytes)
            return True

        return await self._database.write(add)

    async def response(self, owner: str, response_id: str) -> StoredResponse:
        """Find a response; raise NotFound."""
        select = RESPONSES.select().where(_is(owner, response_id))
        row = await self._database.read(lambda connection: connection.execute(select).first())
        if row is None:
            raise _not_found()
        return _response(row)

    async def responses(self, owner: str, response_ids: Sequence[str]) -> list[StoredResponse]:
        """Return those of the responses that exist, in any order.

        Raises InvalidRequest if they have over MAX_REFERENCED_BYTES together.
        """
        which = sa.and_(_own(owner), RESPONSES.c.id.in_(response_ids))
        size = sa.select(sa.func.sum(RESPONSES.c.size_bytes)).where(which)

        def read(connection: sa.Connection) -> list[StoredResponse]:
            check_references(connection.scalar(size))
            return list(map(_response, connection.execute(RESPONSES.select().where(which)).all()))

        return await self._database.read(read)

    async def delete(self, owner: str, response_id: str) -> bool:
        """Delete a response with its events; return whether it existed."""
        delete = RESPONSES.delete().where(_is(owner, response_id))

        def remove(connection: sa.Connection) -> bool:
            size_bytes = connection.scalar(delete.returning(RESPONSES.c.size_bytes))
            if size_bytes is None:
                return False
            change_usage(connection, owner, responses=-1, responses_bytes=-size_bytes)
            return True

        return await self._database.write(remove)

    async def chain(self, owner: str, response_id: str, limit: int) -> list[StoredResponse]:
        """Return a response and those before it, the oldest first, in one query.

        The chain begins after the last response that was deleted or has expired. Raises NotFound,
        and InvalidRequest if it has more than `limit` responses or MAX_CHAIN_BYTES.
        """
        own, columns = _own(owner), RESPONSES.c
        last = (
            sa.select(
                columns.id,
                columns.previous_id,
                sa.literal(1).label("depth"),
                columns.size_bytes.label("total_bytes"),
            )
            .where(own, columns.id == response_id)
            .cte("chain", recursive=True)
        )
        chain = last.union_all(
            sa.select(
                columns.id,
                columns.previous_id,
                last.c.depth + 1,
                last.c.total_bytes + columns.size_bytes,
            )
            .join(last, columns.id == last.c.previous_id)
            .where(own, last.c.depth <= limit, last.c.total_bytes <= MAX_CHAIN_BYTES)
        )
        # One response over the bounds is looked up, to tell that they are exceeded, and not read.
        select = (
            sa.select(chain.c.depth, chain.c.total_bytes, *columns)
            .select_from(chain)
            .outerjoin(
                RESPONSES,
                sa.and_(
                    columns.id == chain.c.id,
                    chain.c.depth <= limit,
                    chain.c.total_bytes <= MAX_CHAIN_BYTES,
                ),
            )
            .order_by(chain.c.depth.desc())
        )
        rows = await self._database.read(lambda connection: connection.execute(select).all())
        if not rows:
            raise _not_found()
        if rows[0].id is None:
            msg = (
                f"the chain of earlier responses is longer than {limit} responses or "
                f"{MAX_CHAIN_BYTES // 1024**2} MiB: begin a new one"
            )
            raise InvalidRequest(msg, code="chain_too_long", param="previous_response_id")
        return list(map(_response, rows))

    async def begin_attempt(self, owner: str, response_id: str) -> Attempt | None:
        """Begin to generate a response, in place of any earlier attempt.

        Return None if it does not exist, or has ended.
        """

        def begin(connection: sa.Connection) -> Attempt | None:
            row = _lock(connection, owner, response_id)
            if row is None or row.status not in _ACTIVE:
                return None
            body = {**row.body, "status": IN_PROGRESS}
            _set(connection, row, status=IN_PROGRESS, body=body, attempt=row.attempt + 1)
            attempts = sa.select(sa.func.count(RESPONSE_EVENTS.c.attempt.distinct())).where(
                RESPONSE_EVENTS.c.response_id == response_id
            )
            broken_off = connection.execute(attempts).scalar_one()
            next_number = _next_number(connection, response_id)
            return Attempt(_response(row), row.attempt + 1, next_number, broken_off)

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
        """Add events of an attempt, and with the last ones the body of the response that `ended`.

        Return False, and add nothing, if the response does not exist any more, has ended, or has a
        later attempt.
        """

        def append(connection: sa.Connection) -> bool:
            # Without its body, input and request, which may be large: this is called often.
            columns = RESPONSES.c
            state = sa.select(columns.id, columns.owner, columns.status, columns.attempt)
            locked = state.where(_is(owner, response_id)).with_for_update()
            row = connection.execute(locked).first()
            if row is None or row.attempt != attempt or row.status not in _ACTIVE:
                return False
            if ended is not None:
                _end(connection, _lock(connection, owner, response_id), dict(ended))
            _add_events(connection, row, events, attempt)
            return True

        return await self._database.write(append)

    async def cancel(self, owner: str, response_id: str) -> StoredResponse:
        """End a response as cancelled, unless it has ended; return it. Raises NotFound.

        OpenAI has no event for it. The last one is `response.incomplete`, with the true status in
        its response: clients know it as an end, and many take a stream without one for a broken
        connection.
        """

        def cancel(connection: sa.Connection) -> StoredResponse:
            row = _lock(connection, owner, response_id)
            if row is None:
                raise _not_found()
            if row.status not in _ACTIVE:
                return _response(row)
            _end_by_event(connection, row, "incomplete", {**row.body, "status": CANCELLED})
            return _response(_lock(connection, owner, response_id))

        return await self._database.write(cancel)

    async def fail(self, owner: str, response_id: str, code: str, message: str) -> None:
        """End a response as failed, with an event that says so, unless it has ended."""

        def fail(connection: sa.Connection) -> None:
            row = _lock(connection, owner, response_id)
            if row is None or row.status not in _ACTIVE:
                return
            error = {"code": code, "message": message}
            body = {**row.body, "status": FAILED, "error": error}
            _end_by_event(connection, row, "failed", body)

        await self._database.write(fail)

    async def events(self, owner: str, response_id: str, after: int, batches: int) -> EventPage:
        """Return the events that follow a sequence number, of a few batches; raise NotFound."""
        status = sa.select(RESPONSES.c.status).where(_is(owner, response_id))
        table = RESPONSE_EVENTS.c
        select = (
            sa.select(table.events)
            .where(table.response_id == response_id, table.last_number > after)
            .order_by(table.first_number)
            .limit(batches)
        )

        def read(connection: sa.Connection) -> EventPage:
            # The status first: what ends a response adds its last events, too.
            found = connection.scalar(status)
            if found is None:
                raise _not_found()
            rows = connection.scalars(select).all()
            events = [one for batch in rows for one in batch if one["sequence_number"] > after]
            return EventPage(events, found not in _ACTIVE and len(rows) < batches)

        return await self._database.read(read)

    async def unfinished(
        self, age_s: float, limit: int, after: str = ""
    ) -> list[UnfinishedResponse]:
        """List responses in the background that were begun at least this long ago, by id."""
        columns = RESPONSES.c
        select = (
            sa.select(columns.owner, columns.id, columns.job_id)
            .where(
                columns.status.in_(_ACTIVE),
                columns.job_id.is_not(None),
                columns.created_ms <= now_ms() - int(age_s * 1000),
                columns.id > after,
            )
            .order_by(columns.id)
            .limit(limit)
        )
        rows = await self._database.read(lambda connection: connection.execute(select).all())
        return [UnfinishedResponse(row.owner, row.id, row.job_id) for row in rows]

    async def remove_expired(self, limit: int) -> int:
        """Remove some responses that have expired, and return how many."""
        expired = (
            sa.select(RESPONSES.c.id)
            .where(RESPONSES.c.expires_ms <= now_ms())
            .order_by(RESPONSES.c.expires_ms)
            .limit(limit)
        )

        def remove(connection: sa.Connection) -> int:
            return remove_responses(connection, RESPONSES.c.id.in_(expired))

        # Read first: on SQLite, a transaction that writes would wait for all others.
        if await self._database.read(lambda connection: connection.execute(expired).first()):
            return await self._database.write(remove)
        return 0


def remove_responses(connection: sa.Connection, which: sa.ColumnElement[bool]) -> int:
    """Remove responses, and return how many; their owners have so much more room."""
    delete = RESPONSES.delete().where(which)
    rows = connection.execute(delete.returning(RESPONSES.c.owner, RESPONSES.c.size_bytes)).all()
    for owner in sorted({row.owner for row in rows}):
        sizes = [row.size_bytes for row in rows if row.owner == owner]
        change_usage(connection, owner, responses=-len(sizes), responses_bytes=-sum(sizes))
    return len(rows)


def _own(owner: str) -> sa.ColumnElement[bool]:
    return sa.and_(RESPONSES.c.owner == owner, RESPONSES.c.expires_ms > now_ms())


def _is(owner: str, response_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(RESPONSES.c.id == response_id, _own(owner))


def _lock(connection: sa.Connection, owner: str, response_id: str) -> Any:  # noqa: ANN401 - a row
    select = RESPONSES.select().where(_is(owner, response_id)).with_for_update()
    return connection.execute(select).first()


def _set(connection: sa.Connection, row: Any, **values: Any) -> None:  # noqa: ANN401 - a row
    connection.execute(RESPONSES.update().where(RESPONSES.c.id == row.id).values(**values))


def _grow(connection: sa.Connection, row: Any, added_bytes: int) -> None:  # noqa: ANN401 - a row
    """Count further bytes of a response."""
    _set(connection, row, size_bytes=RESPONSES.c.size_bytes + added_bytes)
    change_usage(connection, row.owner, responses_bytes=added_bytes)


def _end(connection: sa.Connection, row: Any, body: dict[str, Any]) -> None:  # noqa: ANN401 - a row
    """Set the final body of a response, and add its items to its conversation.

    The conversation is locked before the usage, here and wherever both change.
    """
    if row.conversation_id is not None and body["status"] in CONVERSED:
        turn = [*row.input, *body.get("output", ())]
        append_items(connection, row.owner, row.conversation_id, turn)
    _check_size(_bytes(body, row.input, row.request))
    _set(connection, row, status=body["status"], body=body)
    _grow(connection, row, _bytes(body) - _bytes(row.body))


def _end_by_event(
    connection: sa.Connection,
    row: Any,  # noqa: ANN401 - a row of the table
    kind: str,
    body: dict[str, Any],
) -> None:
    """End a response from outside its generation, with an event that says so."""
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
        _insert_events(connection, row.id, events, attempt)
        _grow(connection, row, _bytes(events))


def _insert_events(
    connection: sa.Connection,
    response_id: str,
    events: Sequence[Event],
    attempt: int | None = None,
) -> None:
    connection.execute(
        RESPONSE_EVENTS.insert().values(
            response_id=response_id,
            first_number=events[0]["sequence_number"],
            last_number=events[-1]["sequence_number"],
            attempt=attempt,
            events=list(events),
        )
    )


def _bytes(*values: Any) -> int:  # noqa: ANN401 - of JSON
    return sum(len(json.dumps(value)) for value in values if value is not None)


def _check_size(size_bytes: int) -> int:
    if size_bytes > MAX_RESPONSE_BYTES:
        msg = (
            f"a response with its input may have {MAX_RESPONSE_BYTES // 1024**2} MiB to be stored: "
            "set `store` to false"
        )
        raise TooLarge(msg, param="store")
    return size_bytes


def _not_found() -> NotFound:
    return NotFound("there is no such response", param="response_id")


def _response(row: Any) -> StoredResponse:  # noqa: ANN401 - a row of the table
    return StoredResponse(
        row.id,
        row.status,
        row.created_ms,
        row.expires_ms,
        row.body,
        row.input,
        row.previous_id,
        row.conversation_id,
        row.request,
        row.job_id,
    )
