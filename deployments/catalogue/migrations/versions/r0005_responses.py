"""Add stored responses with their events, and conversations."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_USED = ("responses", "conversations", "responses_bytes")
_ERASED = ("responses", "conversations")


def upgrade() -> None:
    """Add the tables and the counts."""
    op.create_table(
        "genserve_responses",
        sa.Column("id", sa.String(100), primary_key=True),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_ms", sa.BigInteger, nullable=False),
        sa.Column("previous_id", sa.String(100)),
        sa.Column("conversation_id", sa.String(100)),
        sa.Column("body", sa.JSON, nullable=False),
        sa.Column("input", sa.JSON, nullable=False),
        sa.Column("request", sa.JSON),
        sa.Column("job_id", sa.String(100)),
        _count("attempt"),
        _count("size_bytes"),
    )
    op.create_index("genserve_responses_by_owner", "genserve_responses", ["owner", "id"])
    op.create_index("genserve_responses_by_expiry", "genserve_responses", ["expires_ms"])
    op.create_index("genserve_responses_by_status", "genserve_responses", ["status", "id"])
    op.create_table(
        "genserve_response_events",
        sa.Column(
            "response_id",
            sa.String(100),
            sa.ForeignKey("genserve_responses.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("first_number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("last_number", sa.BigInteger, nullable=False),
        sa.Column("attempt", sa.BigInteger),
        sa.Column("events", sa.JSON, nullable=False),
    )
    op.create_table(
        "genserve_conversations",
        sa.Column("id", sa.String(100), primary_key=True),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.Column("metadata", sa.JSON, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        *map(_count, ("item_count", "next_number", "size_bytes")),
    )
    op.create_index("genserve_conversations_by_owner", "genserve_conversations", ["owner", "id"])
    op.create_table(
        "genserve_conversation_items",
        sa.Column(
            "conversation_id",
            sa.String(100),
            sa.ForeignKey("genserve_conversations.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("id", sa.String(100), nullable=False),
        sa.Column("item", sa.JSON, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
    )
    op.create_index(
        "genserve_conversation_items_by_id",
        "genserve_conversation_items",
        ["id", "conversation_id"],
        unique=True,
    )
    for name in _USED:
        op.add_column("genserve_usage", _count(name))
    for name in _ERASED:
        op.add_column("genserve_erasures", _count(name))


def downgrade() -> None:
    """Drop what was added."""
    for name in _ERASED:
        op.drop_column("genserve_erasures", name)
    for name in _USED:
        op.drop_column("genserve_usage", name)
    for name in ("conversation_items", "conversations", "response_events", "responses"):
        op.drop_table(f"genserve_{name}")


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")
