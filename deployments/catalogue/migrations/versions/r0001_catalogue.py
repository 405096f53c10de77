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
        sa.Column("index_name", sa.String(64)),
        sa.Column("embedding_model", sa.Text),
        sa.Column("expires_days", sa.Integer),
        sa.Column("active_ms", sa.BigInteger),
        sa.Column("expires_ms", sa.BigInteger),
    )
    op.create_index("genserve_collections_by_expiry", "genserve_collections", ["expires_ms"])
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
        sa.Column("attributes", sa.JSON, nullable=False, server_default="{}"),
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
        sa.Column("chunk_tokens", sa.Integer),
        sa.Column("overlap_tokens", sa.Integer),
        sa.Column("chunker", sa.String(40)),
        sa.Column("restored_from", sa.Integer),
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
        sa.Column("digest", sa.String(64), nullable=False),
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
        "genserve_batches",
        sa.Column("id", sa.String(100), primary_key=True),
        sa.Column(
            "collection",
            sa.String(96),
            sa.ForeignKey("genserve_collections.id", ondelete="CASCADE"),
            nullable=False,
        ),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
        sa.Column("cancelled", sa.Boolean, nullable=False),
    )
    op.create_index("genserve_batches_by_collection", "genserve_batches", ["collection", "id"])
    op.create_table(
        "genserve_batch_files",
        sa.Column(
            "batch_id",
            sa.String(100),
            sa.ForeignKey("genserve_batches.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("document_id", sa.String(100), primary_key=True),
        sa.Column("collection", sa.String(96), nullable=False),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.Column("status", sa.String(20), nullable=False),
        sa.Column("version", sa.Integer),
        sa.Column("error_code", sa.String(100)),
        sa.Column("error_message", sa.Text),
        sa.Column("chunk_tokens", sa.Integer),
        sa.Column("overlap_tokens", sa.Integer),
        sa.Column("attributes", sa.JSON),
    )
    op.create_index(
        "genserve_batch_files_by_owner",
        "genserve_batch_files",
        ["status", "owner", "batch_id", "document_id"],
    )
    op.create_index(
        "genserve_batch_files_by_collection",
        "genserve_batch_files",
        ["collection", "status", "document_id"],
    )
    op.create_table(
        "genserve_imports",
        sa.Column("source", sa.String(40), primary_key=True),
        sa.Column("finished_ms", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "genserve_attribute_changes",
        sa.Column("id", sa.String(100), primary_key=True),
        sa.Column("collection", sa.String(96), nullable=False),
        sa.Column("document_id", sa.String(100), nullable=False),
        sa.Column("created_ms", sa.BigInteger, nullable=False),
    )
    op.create_index(
        "genserve_attribute_changes_by_document",
        "genserve_attribute_changes",
        ["collection", "document_id"],
    )
    op.create_index(
        "genserve_attribute_changes_by_time", "genserve_attribute_changes", ["created_ms"]
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
        "attribute_changes",
        "imports",
        "batch_files",
        "batches",
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
