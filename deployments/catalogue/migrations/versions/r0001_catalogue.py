"""Create the tables of collections, documents, files and usage.

A migration names columns itself: `tables.py` changes later.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "genserve_collections",
        sa.Column("id", sa.String(96), primary_key=True),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.Column("vector_store", sa.Boolean, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("metadata", sa.JSON, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        *map(_count, ("in_progress", "completed", "failed", "cancelled", "size_bytes")),
    )
    op.create_index(
        "genserve_collections_by_owner", "genserve_collections", ["owner", "vector_store", "id"]
    )
    op.create_table(
        "genserve_documents",
        sa.Column(
            "collection",
            sa.String(96),
            sa.ForeignKey("genserve_collections.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("id", sa.String(100), primary_key=True),
        sa.Column("name", sa.Text),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
    )
    op.create_index(
        "genserve_documents_by_status", "genserve_documents", ["collection", "status", "id"]
    )
    op.create_index("genserve_documents_by_id", "genserve_documents", ["id"])
    op.create_index(
        "genserve_documents_by_name", "genserve_documents", ["collection", "name"], unique=True
    )
    op.create_table(
        "genserve_versions",
        sa.Column("collection", sa.String(96), primary_key=True),
        sa.Column("document_id", sa.String(100), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("author", sa.String(32), nullable=False),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("title", sa.Text, nullable=False),
        sa.Column("media_type", sa.Text, nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("pages", sa.Integer),
        sa.Column("chunks", sa.Integer, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("job_id", sa.String(100)),
        sa.Column("error_code", sa.String(100)),
        sa.Column("error_message", sa.Text),
        sa.ForeignKeyConstraint(
            ["collection", "document_id"],
            ["genserve_documents.collection", "genserve_documents.id"],
            ondelete="CASCADE",
        ),
    )
    op.create_index("genserve_versions_by_status", "genserve_versions", ["status", "created_ms"])
    op.create_index("genserve_versions_by_digest", "genserve_versions", ["collection", "digest"])
    op.create_table(
        "genserve_files",
        sa.Column("id", sa.String(100), primary_key=True),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("purpose", sa.String(40), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
    )
    op.create_index("genserve_files_by_owner", "genserve_files", ["owner", "id"])
    op.create_table(
        "genserve_usage",
        sa.Column("owner", sa.String(32), primary_key=True),
        *map(_count, ("collections", "documents", "files", "size_bytes")),
    )
    op.create_table(
        "genserve_removals",
        sa.Column("collection", sa.String(96), primary_key=True),
        sa.Column("document_id", sa.String(100), primary_key=True),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "genserve_imports",
        sa.Column("source", sa.String(40), primary_key=True),
        sa.Column("finished_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "genserve_erasures",
        sa.Column("id", sa.String(100), primary_key=True),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.Column("collection", sa.String(96)),
        sa.Column("document_id", sa.String(100)),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("claimed_ms", sa.BigInteger, nullable=False),
        sa.Column("finished_ms", sa.BigInteger),
        *map(_count, ("collections", "documents", "versions", "files", "jobs", "size_bytes")),
    )
    op.create_index("genserve_erasures_by_owner", "genserve_erasures", ["owner", "finished_ms"])
    op.create_index("genserve_erasures_by_time", "genserve_erasures", ["finished_ms", "claimed_ms"])


def downgrade() -> None:
    """Drop the tables."""
    for name in (
        "erasures",
        "imports",
        "removals",
        "usage",
        "files",
        "versions",
        "documents",
        "collections",
    ):
        op.drop_table(f"genserve_{name}")


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")
