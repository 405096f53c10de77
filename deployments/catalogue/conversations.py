"""Store conversations: metadata and ordered items, to which responses append theirs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from deployments.catalogue.entries import EntryPage
from deployments.catalogue.statements import page_of
from deployments.catalogue.tables import CONVERSATION_ITEMS, CONVERSATIONS
from deployments.catalogue.usage import add_usage, change_usage
from deployments.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deployments.catalogue.database import Database
    from deployments.catalogue.entries import PageQuery, Quotas

MAX_ITEMS = 10_000
"""The most items of a conversation; only a response under way may exceed it."""
MAX_CONVERSATION_BYTES = 32 * 1024**2
"""The most JSON bytes of a conversation's items; only a response under way may exceed it."""
MAX_REFERENCED_BYTES = 32 * 1024**2
"""The most bytes of the stored responses, and of the items, that a request may reference."""

Item = dict[str, Any]
"""An item as OpenAI's JSON, with its `id`."""


@dataclass(frozen=True, slots=True)
class ConversationEntry:
    """A conversation, without its items; `created_at` is in seconds since the epoch."""

    id: str
    created_at: int
    metadata: Mapping[str, str]


class Conversations:
    """The conversations of all owners; to one owner, those of the others do not exist.

    They do not expire. Methods raise NotFound for a conversation, or an item, that does not exist.
    """

    def __init__(self, database: Database, quotas: Quotas) -> None:
        self._database = database
        self._quotas = quotas

    async def add(self, owner: str, entry: ConversationEntry, items: Sequence[Item]) -> None:
        """Add a conversation with its first items; raise InvalidRequest above a quota."""

        def add(connection: sa.Connection) -> None:
            connection.execute(
                CONVERSATIONS.insert().values(
                    id=entry.id,
                    owner=owner,
                    metadata=dict(entry.metadata),
                    created_ms=entry.created_at * 1000,
                )
            )
            added_bytes = append_items(connection, owner, entry.id, items, counted=False)
            add_usage(connection, owner, self._quotas, conversations=1, responses_bytes=added_bytes)

        await self._database.write(add)

    async def get(self, owner: str, conversation_id: str) -> ConversationEntry:
        """Find a conversation."""
        select = CONVERSATIONS.select().where(_is_conversation(owner, conversation_id))
        row = await self._database.read(lambda connection: connection.execute(select).first())
        return _entry(row)

    async def set_metadata(
        self, owner: str, conversation_id: str, metadata: Mapping[str, str]
    ) -> ConversationEntry:
        """Replace the metadata of a conversation."""
        update = (
            CONVERSATIONS.update()
            .where(_is_conversation(owner, conversation_id))
            .values(metadata=dict(metadata))
            .returning(*CONVERSATIONS.c)
        )
        return _entry(
            await self._database.write(lambda connection: connection.execute(update).first())
        )

    async def remove(self, owner: str, conversation_id: str) -> bool:
        """Remove a conversation with its items, and return whether it existed."""
        return bool(
            await self._database.write(
                lambda connection: remove_conversations(
                    connection, _is_conversation(owner, conversation_id)
                )
            )
        )

    async def append(self, owner: str, conversation_id: str, items: Sequence[Item]) -> None:
        """Append items; raise InvalidRequest if the conversation is full or a quota exceeded."""

        def append(connection: sa.Connection) -> None:
            added_bytes = append_items(connection, owner, conversation_id, items, counted=False)
            add_usage(connection, owner, self._quotas, responses_bytes=added_bytes)
            _check_room(_row(connection, owner, conversation_id))

        await self._database.write(append)

    async def append_turn(self, owner: str, conversation_id: str, items: Sequence[Item]) -> None:
        """Append the items of a response that is not stored; ignore a missing conversation."""
        await self._database.write(
            lambda connection: append_items(connection, owner, conversation_id, items)
        )

    async def items(self, owner: str, conversation_id: str) -> list[Item]:
        """Return all items, oldest first; raise InvalidRequest if the conversation is full."""
        select = (
            sa.select(CONVERSATION_ITEMS.c.item)
            .where(CONVERSATION_ITEMS.c.conversation_id == conversation_id)
            .order_by(CONVERSATION_ITEMS.c.number)
        )

        def read(connection: sa.Connection) -> list[Item]:
            _check_room(_row(connection, owner, conversation_id), 1)
            return list(connection.scalars(select))

        return await self._database.read(read)

    async def page(self, owner: str, conversation_id: str, query: PageQuery) -> EntryPage[Item]:
        """List items; `query.after` is the id of an item."""
        columns = CONVERSATION_ITEMS.c
        select = sa.select(columns.item, columns.number).where(
            columns.conversation_id == conversation_id
        )

        def read(connection: sa.Connection) -> EntryPage[Item]:
            _row(connection, owner, conversation_id)
            after = None
            if query.after is not None:
                after = (_item_row(connection, conversation_id, query.after, "after").number,)
            rows, more = page_of(connection, select, (columns.number,), after, query)
            return EntryPage(tuple(row.item for row in rows), more)

        return await self._database.read(read)

    async def item(self, owner: str, conversation_id: str, item_id: str) -> Item:
        """Find an item."""

        def read(connection: sa.Connection) -> Item:
            _row(connection, owner, conversation_id)
            found: Item = _item_row(connection, conversation_id, item_id, "item_id").item
            return found

        return await self._database.read(read)

    async def items_by_id(self, owner: str, item_ids: Sequence[str]) -> dict[str, Item]:
        """Return the items of the owner's conversations by id; leave out unknown ids.

        Raises InvalidRequest if they have more than MAX_REFERENCED_BYTES together.
        """
        columns = CONVERSATION_ITEMS.c
        join = CONVERSATION_ITEMS.join(CONVERSATIONS, CONVERSATIONS.c.id == columns.conversation_id)
        which = sa.and_(CONVERSATIONS.c.owner == owner, columns.id.in_(item_ids))
        size = sa.select(sa.func.sum(columns.size_bytes)).select_from(join).where(which)
        select = sa.select(columns.id, columns.item).select_from(join).where(which)

        def read(connection: sa.Connection) -> dict[str, Item]:
            check_references(connection.scalar(size))
            return {row.id: row.item for row in connection.execute(select)}

        return await self._database.read(read)

    async def remove_item(
        self, owner: str, conversation_id: str, item_id: str
    ) -> ConversationEntry:
        """Remove an item, and return its conversation."""

        def remove(connection: sa.Connection) -> ConversationEntry:
            entry = _entry(_lock(connection, owner, conversation_id))
            found = _item_row(connection, conversation_id, item_id, "item_id")
            columns = CONVERSATION_ITEMS.c
            delete = CONVERSATION_ITEMS.delete().where(
                columns.conversation_id == conversation_id, columns.number == found.number
            )
            if connection.execute(delete).rowcount:
                _update_counts(connection, owner, conversation_id, -1, -found.size_bytes)
                change_usage(connection, owner, responses_bytes=-found.size_bytes)
            return entry

        return await self._database.write(remove)


def append_items(
    connection: sa.Connection,
    owner: str,
    conversation_id: str,
    items: Sequence[Item],
    *,
    counted: bool = True,
) -> int:
    """Append items to a conversation, and return their size; 0 if it does not exist.

    Skips items that the conversation has already, which were sent as references. Adds their size to
    the owner's usage if `counted`; otherwise the caller does that.
    """
    # Locked first: another transaction may append the same items.
    if _lock(connection, owner, conversation_id) is None:
        return 0
    columns = CONVERSATION_ITEMS.c
    new = {item["id"]: item for item in items}
    known = sa.select(columns.id).where(
        columns.conversation_id == conversation_id, columns.id.in_(list(new))
    )
    for item_id in connection.scalars(known).all():
        del new[item_id]
    if not new:
        return 0
    items = list(new.values())
    sizes = [len(json.dumps(item)) for item in items]
    first = _update_counts(connection, owner, conversation_id, len(items), sum(sizes))
    rows = [
        {
            "conversation_id": conversation_id,
            "number": first + place,
            "id": item["id"],
            "item": item,
            "size_bytes": size,
        }
        for place, (item, size) in enumerate(zip(items, sizes, strict=True))
    ]
    connection.execute(CONVERSATION_ITEMS.insert(), rows)
    if counted:
        change_usage(connection, owner, responses_bytes=sum(sizes))
    return sum(sizes)


def check_references(size_bytes: int | None) -> None:
    """Raise InvalidRequest if the stored data that references name is too large to be read."""
    if size_bytes is not None and size_bytes > MAX_REFERENCED_BYTES:
        msg = (
            "the stored data that the references in `input` name has over "
            f"{MAX_REFERENCED_BYTES // 1024**2} MiB: refer to fewer items"
        )
        raise InvalidRequest(msg, code="references_too_large", param="input")


def remove_conversations(connection: sa.Connection, which: sa.ColumnElement[bool]) -> int:
    """Remove conversations of one owner, subtract them from the usage, and return how many."""
    delete = CONVERSATIONS.delete().where(which)
    columns = CONVERSATIONS.c
    rows = connection.execute(delete.returning(columns.owner, columns.size_bytes)).all()
    if rows:
        size_bytes = sum(row.size_bytes for row in rows)
        change_usage(
            connection, rows[0].owner, conversations=-len(rows), responses_bytes=-size_bytes
        )
    return len(rows)


def _update_counts(
    connection: sa.Connection, owner: str, conversation_id: str, items: int, size_bytes: int
) -> int:
    """Update the counts of a conversation; return the number of the first item to append."""
    columns = CONVERSATIONS.c
    added = max(items, 0)
    number: int = connection.execute(
        CONVERSATIONS.update()
        .where(_is_conversation(owner, conversation_id))
        .values(
            item_count=columns.item_count + items,
            size_bytes=columns.size_bytes + size_bytes,
            next_number=columns.next_number + added,
        )
        .returning(columns.next_number)
    ).scalar_one()
    return number - added


def _is_conversation(owner: str, conversation_id: str) -> sa.ColumnElement[bool]:
    return sa.and_(CONVERSATIONS.c.id == conversation_id, CONVERSATIONS.c.owner == owner)


def _lock(connection: sa.Connection, owner: str, conversation_id: str) -> Any:  # noqa: ANN401 - a row
    """Return a conversation, if it exists, and keep it locked until the transaction ends."""
    select = (
        CONVERSATIONS.select().where(_is_conversation(owner, conversation_id)).with_for_update()
    )
    return connection.execute(select).first()


def _row(connection: sa.Connection, owner: str, conversation_id: str) -> Any:  # noqa: ANN401 - a row
    row = connection.execute(
        CONVERSATIONS.select().where(_is_conversation(owner, conversation_id))
    ).first()
    if row is None:
        raise _not_found()
    return row


def _item_row(connection: sa.Connection, conversation_id: str, item_id: str, param: str) -> Any:  # noqa: ANN401 - a row of the table
    columns = CONVERSATION_ITEMS.c
    select = CONVERSATION_ITEMS.select().where(
        columns.conversation_id == conversation_id, columns.id == item_id
    )
    row = connection.execute(select.order_by(columns.number)).first()
    if row is None:
        msg = "there is no such item in this conversation"
        raise NotFound(msg, param=param)
    return row


def _check_room(row: Any, added: int = 0) -> None:  # noqa: ANN401 - a row of the table
    if row.item_count + added > MAX_ITEMS or row.size_bytes > MAX_CONVERSATION_BYTES:
        msg = (
            f"a conversation may have {MAX_ITEMS:,} items and "
            f"{MAX_CONVERSATION_BYTES // 1024**2} MiB: begin a new one"
        )
        raise InvalidRequest(msg, code="conversation_full", param="conversation")


def _not_found() -> NotFound:
    return NotFound("there is no such conversation", param="conversation_id")


def _entry(row: Any) -> ConversationEntry:  # noqa: ANN401 - a row of the table
    if row is None:
        raise _not_found()
    return ConversationEntry(row.id, row.created_ms // 1000, row.metadata)
