"""Add the warnings of versions: what was not read of them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column."""
    op.add_column("genserve_versions", sa.Column("warnings", sa.JSON))


def downgrade() -> None:
    """Drop the column."""
    op.drop_column("genserve_versions", "warnings")
