"""Add the languages of versions and of collections."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns."""
    op.add_column("genserve_versions", sa.Column("language", sa.String(8)))
    op.add_column("genserve_collections", sa.Column("languages", sa.JSON))


def downgrade() -> None:
    """Drop the columns."""
    op.drop_column("genserve_collections", "languages")
    op.drop_column("genserve_versions", "language")
