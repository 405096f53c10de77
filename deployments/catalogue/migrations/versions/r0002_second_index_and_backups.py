"""Add a second index of collections, changes of the embedding model, and backups."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the columns and the table."""
    for column in (
        sa.Column("other_index_name", sa.String(64)),
        sa.Column("other_embedding_model", sa.Text),
        sa.Column("pair", sa.String(32)),
    ):
        op.add_column("genserve_collections", column)
    op.add_column("genserve_versions", sa.Column("pair", sa.String(32)))
    op.create_table(
        "genserve_model_changes",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("index_name", sa.String(64), nullable=False),
        sa.Column("embedding_model", sa.Text, nullable=False),
        sa.Column("beside", sa.Boolean, nullable=False),
        sa.Column("automatic", sa.Boolean, nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("claimed_ms", sa.BigInteger, nullable=False),
        sa.Column("finished_ms", sa.BigInteger),
        sa.Column("loaded", sa.JSON, nullable=False),
        sa.Column("chunks_per_s", sa.Float, nullable=False),
        sa.Column("failed", sa.Integer, nullable=False),
    )
    op.create_table(
        "genserve_backups",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("held_until_ms", sa.BigInteger, nullable=False),
        sa.Column("vectors_wanted", sa.BigInteger),
        sa.Column("vectors_made", sa.Boolean),
    )


def downgrade() -> None:
    """Drop what was added."""
    op.drop_table("genserve_backups")
    op.drop_table("genserve_model_changes")
    op.drop_column("genserve_versions", "pair")
    for name in ("other_index_name", "other_embedding_model", "pair"):
        op.drop_column("genserve_collections", name)
