"""Add the warnings of versions, and changes of the chunker."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column and the table."""
    op.add_column("genserve_versions", sa.Column("warnings", sa.JSON))
    op.create_table(
        "genserve_chunker_changes",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("chunker", sa.String(40), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("claimed_ms", sa.BigInteger, nullable=False),
        sa.Column("claimant", sa.String(40), nullable=False),
        sa.Column("collection", sa.String(96)),
        sa.Column("document_id", sa.String(100)),
        sa.Column("version", sa.Integer),
        sa.Column("job_id", sa.String(100)),
        sa.Column("chunks_per_s", sa.Float, nullable=False),
        sa.Column("failed", sa.Integer, nullable=False),
    )


def downgrade() -> None:
    """Drop what was added."""
    op.drop_table("genserve_chunker_changes")
    op.drop_column("genserve_versions", "warnings")
