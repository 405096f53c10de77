"""The tables of the catalogue; `migrations/` creates and changes them.

Times are in milliseconds since the epoch. Counts are kept by the transactions that change what
they count.
"""

from __future__ import annotations

import sqlalchemy as sa

METADATA = sa.MetaData()


class Text(sa.TypeDecorator[str]):
    """Text from outside: without what PostgreSQL cannot store, NUL and unpaired surrogates."""

    impl = sa.Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: sa.Dialect) -> str | None:
        """Clean a value on its way into the database."""
        del dialect
        if value is None:
            return None
        return value.replace("\0", "").encode("utf-8", "replace").decode("utf-8")


_ID_CHARS = 100
_COLLECTION_CHARS = 96  # OWNER.NAME, of at most 32 and 63 characters
_OWNER_CHARS = 32
_CHUNKER_CHARS = 40
_PAIR_CHARS = 32
_LANGUAGE_CHARS = 8


def _count(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, server_default="0")


def _chunking() -> tuple[sa.Column[int], sa.Column[int]]:
    """Return the columns of a requested chunking; null: as the parser's settings say."""
    return sa.Column("chunk_tokens", sa.Integer), sa.Column("overlap_tokens", sa.Integer)


COLLECTIONS = sa.Table(
    "genserve_collections",
    METADATA,
    sa.Column("id", sa.String(_COLLECTION_CHARS), primary_key=True),
    sa.Column("owner", sa.String(_OWNER_CHARS), nullable=False),
    # In lists, vector stores come after the collections that an upload created.
    sa.Column("vector_store", sa.Boolean, nullable=False),
    sa.Column("name", Text, nullable=False),
    sa.Column("metadata", sa.JSON, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    _count("in_progress"),
    _count("completed"),
    _count("failed"),
    _count("cancelled"),
    _count("size_bytes"),  # of the completed documents
    # The vector index of the completed documents, and the name of its embedding model.
    sa.Column("index_name", sa.String(64)),
    sa.Column("embedding_model", Text),
    # While the embedding model is changed: a second index that is kept equal. `pair` names the two;
    # null: the chunks in the second one are being removed.
    sa.Column("other_index_name", sa.String(64)),
    sa.Column("other_embedding_model", Text),
    sa.Column("pair", sa.String(_PAIR_CHARS)),
    # Of documents that were ever completed, ISO 639 codes in order; null: none is known.
    sa.Column("languages", sa.JSON(none_as_null=True)),
    sa.Column("expires_days", sa.Integer),  # after `active_ms`; null: never
    sa.Column("active_ms", sa.BigInteger),  # of vector stores: when it was last used
    sa.Column("expires_ms", sa.BigInteger),
    sa.Index("genserve_collections_by_expiry", "expires_ms"),
    sa.Index("genserve_collections_by_owner", "owner", "vector_store", "id"),
)

DOCUMENTS = sa.Table(
    "genserve_documents",
    METADATA,
    sa.Column(
        "collection",
        sa.String(_COLLECTION_CHARS),
        sa.ForeignKey("genserve_collections.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Column("id", sa.String(_ID_CHARS), primary_key=True),
    # Of a document that is named by its file name; an attached file is named by its id.
    sa.Column("name", Text),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("version", sa.Integer, nullable=False),  # the current one, else the newest
    sa.Column("attributes", sa.JSON, nullable=False, server_default="{}"),
    sa.Index("genserve_documents_by_status", "collection", "status", "id"),
    sa.Index("genserve_documents_by_id", "id"),
    sa.Index("genserve_documents_by_name", "collection", "name", unique=True),
)

VERSIONS = sa.Table(
    "genserve_versions",
    METADATA,
    sa.Column("collection", sa.String(_COLLECTION_CHARS), primary_key=True),
    sa.Column("document_id", sa.String(_ID_CHARS), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),  # empty if version 0.1 has stored it
    sa.Column("author", sa.String(_OWNER_CHARS), nullable=False),
    sa.Column("filename", Text, nullable=False),
    sa.Column("title", Text, nullable=False),
    sa.Column("media_type", Text, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("pages", sa.Integer),
    sa.Column("chunks", sa.Integer, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("job_id", sa.String(_ID_CHARS)),
    sa.Column("error_code", sa.String(_ID_CHARS)),
    sa.Column("error_message", Text),
    *_chunking(),
    sa.Column("chunker", sa.String(_CHUNKER_CHARS)),  # that cut it, if it was read by 0.2 or later
    sa.Column("warnings", sa.JSON(none_as_null=True)),  # what was not read; null: nothing to say
    sa.Column("language", sa.String(_LANGUAGE_CHARS)),  # an ISO 639 code; null: not known
    sa.Column("restored_from", sa.Integer),  # the version whose content it has again
    # Its chunks are in both indexes of the collection if this is the `pair` of that.
    sa.Column("pair", sa.String(_PAIR_CHARS)),
    sa.ForeignKeyConstraint(
        ["collection", "document_id"],
        ["genserve_documents.collection", "genserve_documents.id"],
        ondelete="CASCADE",
    ),
    sa.Index("genserve_versions_by_status", "status", "created_ms"),
    sa.Index("genserve_versions_by_digest", "collection", "digest"),
)

CURRENT = sa.and_(
    VERSIONS.c.collection == DOCUMENTS.c.collection,
    VERSIONS.c.document_id == DOCUMENTS.c.id,
    VERSIONS.c.number == DOCUMENTS.c.version,
)
"""Joins a document and the version in which it is shown."""

FILES = sa.Table(
    "genserve_files",
    METADATA,
    sa.Column("id", sa.String(_ID_CHARS), primary_key=True),
    sa.Column("owner", sa.String(_OWNER_CHARS), nullable=False),
    sa.Column("filename", Text, nullable=False),
    sa.Column("purpose", sa.String(40), nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("digest", sa.String(64), nullable=False),  # empty if version 0.1 has stored it
    sa.Index("genserve_files_by_owner", "owner", "id"),
)

USAGE = sa.Table(
    "genserve_usage",
    METADATA,
    sa.Column("owner", sa.String(_OWNER_CHARS), primary_key=True),
    _count("collections"),
    _count("documents"),
    _count("files"),
    _count("size_bytes"),  # of the files and the documents
    _count("responses"),
    _count("conversations"),
    _count("responses_bytes"),  # of the responses and the conversations
)

REMOVALS = sa.Table(
    "genserve_removals",
    METADATA,
    sa.Column("collection", sa.String(_COLLECTION_CHARS), primary_key=True),
    sa.Column("document_id", sa.String(_ID_CHARS), primary_key=True),  # empty: the collection
    sa.Column("created_ms", sa.BigInteger, nullable=False),
)

ATTRIBUTE_CHANGES = sa.Table(
    "genserve_attribute_changes",
    METADATA,
    sa.Column("id", sa.String(_ID_CHARS), primary_key=True),
    sa.Column("collection", sa.String(_COLLECTION_CHARS), nullable=False),
    sa.Column("document_id", sa.String(_ID_CHARS), nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Index("genserve_attribute_changes_by_document", "collection", "document_id"),
    sa.Index("genserve_attribute_changes_by_time", "created_ms"),
)

BATCHES = sa.Table(
    "genserve_batches",
    METADATA,
    sa.Column("id", sa.String(_ID_CHARS), primary_key=True),
    sa.Column(
        "collection",
        sa.String(_COLLECTION_CHARS),
        sa.ForeignKey("genserve_collections.id", ondelete="CASCADE"),
        nullable=False,
    ),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("cancelled", sa.Boolean, nullable=False),
    sa.Index("genserve_batches_by_collection", "collection", "id"),
)

BATCH_FILES = sa.Table(
    "genserve_batch_files",
    METADATA,
    sa.Column(
        "batch_id",
        sa.String(_ID_CHARS),
        sa.ForeignKey("genserve_batches.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Column("document_id", sa.String(_ID_CHARS), primary_key=True),
    sa.Column("collection", sa.String(_COLLECTION_CHARS), nullable=False),
    sa.Column("owner", sa.String(_OWNER_CHARS), nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("version", sa.Integer),  # once its job is submitted
    sa.Column("error_code", sa.String(_ID_CHARS)),
    sa.Column("error_message", Text),
    *_chunking(),
    sa.Column("attributes", sa.JSON(none_as_null=True)),
    sa.Index("genserve_batch_files_by_owner", "status", "owner", "batch_id", "document_id"),
    sa.Index("genserve_batch_files_by_collection", "collection", "status", "document_id"),
)

IMPORTS = sa.Table(
    "genserve_imports",
    METADATA,
    sa.Column("source", sa.String(40), primary_key=True),
    sa.Column("finished_ms", sa.BigInteger, nullable=False),
)

ERASURES = sa.Table(
    "genserve_erasures",
    METADATA,
    sa.Column("id", sa.String(_ID_CHARS), primary_key=True),
    sa.Column("owner", sa.String(_OWNER_CHARS), nullable=False),
    sa.Column("collection", sa.String(_COLLECTION_CHARS)),  # null: everything of the owner
    sa.Column("document_id", sa.String(_ID_CHARS)),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("claimed_ms", sa.BigInteger, nullable=False),
    sa.Column("finished_ms", sa.BigInteger),
    *map(_count, ("collections", "documents", "versions", "files", "jobs", "size_bytes")),
    *map(_count, ("responses", "conversations")),
    sa.Index("genserve_erasures_by_owner", "owner", "finished_ms"),
    sa.Index("genserve_erasures_by_time", "finished_ms", "claimed_ms"),
)

BACKUPS = sa.Table(
    "genserve_backups",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("held_until_ms", sa.BigInteger, nullable=False),
    # The number of a request for a copy of the vectors, and whether it was made; null: not yet.
    sa.Column("vectors_wanted", sa.BigInteger),
    sa.Column("vectors_made", sa.Boolean),
)

MODEL_CHANGES = sa.Table(
    "genserve_model_changes",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("index_name", sa.String(64), nullable=False),  # of the new model
    sa.Column("embedding_model", Text, nullable=False),
    # Whether the service has both models; else a collection is unavailable until it is done.
    sa.Column("beside", sa.Boolean, nullable=False),
    sa.Column("automatic", sa.Boolean, nullable=False),  # switch once all documents are done
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("claimed_ms", sa.BigInteger, nullable=False),
    sa.Column("finished_ms", sa.BigInteger),
    # As the worker reported them last: the indexes of the models that the service has, the rate,
    # and documents that could not be copied.
    sa.Column("loaded", sa.JSON, nullable=False),
    sa.Column("chunks_per_s", sa.Float, nullable=False),
    sa.Column("failed", sa.Integer, nullable=False),
)

CHUNKER_CHANGES = sa.Table(
    "genserve_chunker_changes",
    METADATA,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("chunker", sa.String(_CHUNKER_CHARS), nullable=False),
    sa.Column("state", sa.String(20), nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("claimed_ms", sa.BigInteger, nullable=False),
    sa.Column("claimant", sa.String(40), nullable=False),  # the token of its worker, or empty
    # The version that is rechunked: its chunks in the index may be other ones than it says.
    sa.Column("collection", sa.String(_COLLECTION_CHARS)),
    sa.Column("document_id", sa.String(_ID_CHARS)),
    sa.Column("version", sa.Integer),
    sa.Column("job_id", sa.String(_ID_CHARS)),
    # As the worker reported them last: the rate, and documents that could not be rechunked.
    sa.Column("chunks_per_s", sa.Float, nullable=False),
    sa.Column("failed", sa.Integer, nullable=False),
)

RESPONSES = sa.Table(
    "genserve_responses",
    METADATA,
    sa.Column("id", sa.String(_ID_CHARS), primary_key=True),
    sa.Column("owner", sa.String(_OWNER_CHARS), nullable=False),
    sa.Column("status", sa.String(20), nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    sa.Column("expires_ms", sa.BigInteger, nullable=False),
    sa.Column("previous_id", sa.String(_ID_CHARS)),
    sa.Column("conversation_id", sa.String(_ID_CHARS)),
    sa.Column("body", sa.JSON, nullable=False),
    sa.Column("input", sa.JSON, nullable=False),
    # Of a response in the background: the request, its job, and the number of attempts.
    sa.Column("request", sa.JSON(none_as_null=True)),
    sa.Column("job_id", sa.String(_ID_CHARS)),
    _count("attempt"),
    _count("size_bytes"),  # as JSON, events included
    sa.Index("genserve_responses_by_owner", "owner", "id"),
    sa.Index("genserve_responses_by_expiry", "expires_ms"),
    sa.Index("genserve_responses_by_status", "status", "id"),
)

RESPONSE_EVENTS = sa.Table(
    "genserve_response_events",
    METADATA,
    sa.Column(
        "response_id",
        sa.String(_ID_CHARS),
        sa.ForeignKey("genserve_responses.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    # Sequence numbers of a batch of events.
    sa.Column("first_number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("last_number", sa.BigInteger, nullable=False),
    sa.Column("attempt", sa.BigInteger),  # that made them, if one did
    sa.Column("events", sa.JSON, nullable=False),
)

CONVERSATIONS = sa.Table(
    "genserve_conversations",
    METADATA,
    sa.Column("id", sa.String(_ID_CHARS), primary_key=True),
    sa.Column("owner", sa.String(_OWNER_CHARS), nullable=False),
    sa.Column("metadata", sa.JSON, nullable=False),
    sa.Column("created_ms", sa.BigInteger, nullable=False),
    _count("item_count"),
    _count("next_number"),
    _count("size_bytes"),
    sa.Index("genserve_conversations_by_owner", "owner", "id"),
)

CONVERSATION_ITEMS = sa.Table(
    "genserve_conversation_items",
    METADATA,
    sa.Column(
        "conversation_id",
        sa.String(_ID_CHARS),
        sa.ForeignKey("genserve_conversations.id", ondelete="CASCADE"),
        primary_key=True,
    ),
    sa.Column("number", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("id", sa.String(_ID_CHARS), nullable=False),
    sa.Column("item", sa.JSON, nullable=False),
    sa.Column("size_bytes", sa.BigInteger, nullable=False),
    sa.Index("genserve_conversation_items_by_id", "id", "conversation_id", unique=True),
)
