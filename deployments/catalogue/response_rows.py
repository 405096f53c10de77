"""Rows of stored responses and of their events: conditions, sizes and conversion."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from deployments.catalogue.clock import now_ms
from deployments.catalogue.tables import RESPONSE_EVENTS, RESPONSES
from deployments.catalogue.usage import change_usage
from deployments.errors import NotFound, TooLarge

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_RESPONSE_BYTES = 16 * 1024**2
"""The most JSON bytes of a response: its body, input and request, without its events."""
QUEUED, IN_PROGRESS, CANCELLED, FAILED = "queued", "in_progress", "cancelled", "failed"
ACTIVE = (QUEUED, IN_PROGRESS)
CONVERSED = ("completed", "incomplete")
"""The statuses of responses whose items are appended to their conversation."""

Event = dict[str, Any]
"""A streaming event as OpenAI's JSON, with its `sequence_number`."""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A stored response; the times are in milliseconds since the epoch.

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
        return self.status not in ACTIVE


def remove_responses(connection: sa.Connection, which: sa.ColumnElement[bool]) -> int:
    """Remove responses, subtract them from the usage of their owners, and return how many."""
    delete = RESPONSES.delete().where(which)
    rows = connection.execute(delete.returning(RESPONSES.c.owner, RESPONSES.c.size_bytes)).all()
    for owner in sorted({row.owner for row in rows}):
        sizes = [row.size_bytes for row in rows if row.owner == owner]
        change_usage(connection, owner, responses=-len(sizes), responses_bytes=-sum(sizes))
    return len(rows)


def of_owner(owner: str) -> sa.ColumnElement[bool]:
    """Return the condition for the responses of an owner that have not expired."""
    return sa.and_(RESPONSES.c.owner == owner, RESPONSES.c.expires_ms > now_ms())


def is_response(owner: str, response_id: str) -> sa.ColumnElement[bool]:
    """Return the condition for a response of an owner that has not expired."""
    return sa.and_(RESPONSES.c.id == response_id, of_owner(owner))


def insert_events(
    connection: sa.Connection,
    response_id: str,
    events: Sequence[Event],
    attempt: int | None = None,
) -> None:
    """Insert a batch of events; the caller adds their size to the response and to the usage."""
    connection.execute(
        RESPONSE_EVENTS.insert().values(
            response_id=response_id,
            first_number=events[0]["sequence_number"],
            last_number=events[-1]["sequence_number"],
            attempt=attempt,
            events=list(events),
        )
    )


def json_bytes(*values: Any) -> int:  # noqa: ANN401 - JSON
    """Return the size of values as JSON, without those that are None."""
    return sum(len(json.dumps(value)) for value in values if value is not None)


def check_size(size_bytes: int) -> int:
    """Return the size of a response; raise TooLarge if it exceeds MAX_RESPONSE_BYTES."""
    if size_bytes > MAX_RESPONSE_BYTES:
        msg = (
            f"a stored response with its input has at most {MAX_RESPONSE_BYTES // 1024**2} MiB: "
            "set `store` to false"
        )
        raise TooLarge(msg, param="store")
    return size_bytes


def not_found() -> NotFound:
    """Return the error for a response that does not exist."""
    return NotFound("there is no such response", param="response_id")


def stored_response(row: Any) -> StoredResponse:  # noqa: ANN401 - a row of the table
    """Convert a row to a response."""
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
