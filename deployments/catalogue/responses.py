"""Store the responses of the Responses API, and read the chains that they form."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from deployments.catalogue.clock import now_ms
from deployments.catalogue.conversations import append_items, check_references
from deployments.catalogue.response_rows import (
    CONVERSED,
    check_size,
    insert_events,
    is_response,
    json_bytes,
    not_found,
    of_owner,
    remove_responses,
    stored_response,
)
from deployments.catalogue.statements import insert_missing
from deployments.catalogue.tables import RESPONSES
from deployments.catalogue.usage import add_usage, change_usage, check_usage
from deployments.errors import InvalidRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.catalogue.database import Database
    from deployments.catalogue.entries import Quotas
    from deployments.catalogue.response_rows import Event, StoredResponse

MAX_CHAIN_BYTES = 32 * 1024**2
"""The most bytes that the responses of a chain may have together."""


class Responses:
    """The responses of all owners; expired ones, and those of other owners, do not exist."""

    def __init__(self, database: Database, quotas: Quotas) -> None:
        self._database = database
        self._quotas = quotas

    async def check_room(self, owner: str, *parts: Any) -> None:  # noqa: ANN401 - JSON
        """Raise InvalidRequest if another response would exceed a quota.

        `parts` are its JSON values that are known already. Raises TooLarge if they are too large.
        """

        def check(connection: sa.Connection) -> None:
            size_bytes = check_size(json_bytes(*parts))
            check_usage(
                connection, owner, self._quotas, responses=1, responses_bytes=max(size_bytes, 1)
            )

        await self._database.read(check)

    async def add(self, owner: str, response: StoredResponse, events: Sequence[Event] = ()) -> bool:
        """Store a response with its first events; return False if its id is stored already.

        The items of a completed or incomplete response are appended to its conversation. Raises
        InvalidRequest above a quota, TooLarge for a response that is too large, and Conflict while
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
            # In the database's thread: serialising a large response would block the event loop.
            size_bytes = check_size(json_bytes(response.body, response.input, response.request))
            size_bytes += json_bytes(events)
            # An expired response of the same idempotency key may still have this id.
            columns = RESPONSES.c
            expired = sa.and_(columns.owner == owner, columns.expires_ms <= now_ms())
            remove_responses(connection, sa.and_(columns.id == response.id, expired))
            if not insert_missing(connection, RESPONSES, **values, size_bytes=size_bytes):
                return False
            if events:
                insert_events(connection, response.id, events)
            if response.status in CONVERSED and response.conversation_id is not None:
                turn = [*response.input, *response.body.get("output", ())]
                append_items(connection, owner, response.conversation_id, turn)
            add_usage(connection, owner, self._quotas, responses=1, responses_bytes=size_bytes)
            return True

        return await self._database.write(add)

    async def response(self, owner: str, response_id: str) -> StoredResponse:
        """Find a response; raise NotFound."""
        select = RESPONSES.select().where(is_response(owner, response_id))
        row = await self._database.read(lambda connection: connection.execute(select).first())
        if row is None:
            raise not_found()
        return stored_response(row)

    async def responses(self, owner: str, response_ids: Sequence[str]) -> list[StoredResponse]:
        """Return the responses with these ids that exist, in any order.

        Raises InvalidRequest if they have more than MAX_REFERENCED_BYTES together.
        """
        which = sa.and_(of_owner(owner), RESPONSES.c.id.in_(response_ids))
        size = sa.select(sa.func.sum(RESPONSES.c.size_bytes)).where(which)

        def read(connection: sa.Connection) -> list[StoredResponse]:
            check_references(connection.scalar(size))
            return list(
                map(stored_response, connection.execute(RESPONSES.select().where(which)).all())
            )

        return await self._database.read(read)

    async def delete(self, owner: str, response_id: str) -> bool:
        """Delete a response with its events; return whether it existed."""
        delete = RESPONSES.delete().where(is_response(owner, response_id))

        def remove(connection: sa.Connection) -> bool:
            size_bytes = connection.scalar(delete.returning(RESPONSES.c.size_bytes))
            if size_bytes is None:
                return False
            change_usage(connection, owner, responses=-1, responses_bytes=-size_bytes)
            return True

        return await self._database.write(remove)

    async def chain(self, owner: str, response_id: str, limit: int) -> list[StoredResponse]:
        """Return a response and those before it, oldest first, in one query.

        The chain begins after the last response that was deleted or has expired. Raises NotFound,
        and InvalidRequest if it has more than `limit` responses or MAX_CHAIN_BYTES.
        """
        own, columns = of_owner(owner), RESPONSES.c
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
        # Looks up one response more than the bounds allow, without reading it, to detect an excess.
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
            raise not_found()
        if rows[0].id is None:
            msg = (
                f"the chain of earlier responses is longer than {limit} responses or "
                f"{MAX_CHAIN_BYTES // 1024**2} MiB: begin a new one"
            )
            raise InvalidRequest(msg, code="chain_too_long", param="previous_response_id")
        return list(map(stored_response, rows))

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

        # Read first: on SQLite, a write transaction would wait for all others.
        if await self._database.read(lambda connection: connection.execute(expired).first()):
            return await self._database.write(remove)
        return 0
