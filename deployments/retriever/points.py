"""How documents lie in a collection: the ids, payloads and names that every store shares.

A collection holds two kinds of point. A chunk has both vectors; the document's record, which
is its catalogue entry, has none. All points of a document carry its id, so that they can be
published or deleted in one operation. `state` is a keyword and not a boolean because
qdrant-edge 0.9 turns a boolean to be matched into a number, which then matches nothing.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from deployments.errors import InvalidRequest, NotFound, Unavailable
from deployments.records import from_record
from deployments.retriever.vector_store import Candidate, StoredChunk
from deployments.types import VECTOR_STORE_PREFIX, Chunk, Collection, Document, DocumentList

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DEFAULT_COLLECTION = "default"
DENSE = "dense"
SPARSE = "bm25"

STATE = "state"
HIDDEN = "hidden"
PUBLISHED = "published"
KIND = "kind"
CHUNK = "chunk"
RECORD = "document"
DOCUMENT_ID = "document_id"
EDITION = "edition"
INDEXED_FIELDS = (DOCUMENT_ID, STATE, KIND)

RRF_K = 2
"""Of reciprocal rank fusion: a rank r, from 0, counts 1 / (k + r)."""

_NAME = re.compile(r"(?:[a-z0-9][a-z0-9_-]{0,31}\.)?[a-z0-9][a-z0-9_-]{0,62}")
_NAMESPACE = uuid.UUID("5d0c2a83-5f0e-4d0b-9a52-1f3f0e5b7c94")


def check_collection_name(name: str) -> None:
    """Raise InvalidRequest unless the name is safe as part of a path or a URL.

    It may be `OWNER.NAME`: owners share a store, and nothing else.
    """
    if not _NAME.fullmatch(name):
        message = (
            "A collection name has 1 to 63 characters: lower-case letters, digits, "
            "'-' and '_', beginning with a letter or digit."
        )
        raise InvalidRequest(message, param="collection")


def owner_of(collection: str) -> str:
    """Name whose collection it is; empty for nobody's in particular."""
    return collection.rpartition(".")[0]


def is_default(collection: str) -> bool:
    """Return whether a collection always exists, as each owner's `default` does."""
    return _shown(collection) == DEFAULT_COLLECTION


def is_made_on_purpose(collection: str) -> bool:
    """Return whether a collection is a vector store, which its first chunk does not create.

    Otherwise a deleted one would be recreated by a chunk that was still on its way.
    """
    return _shown(collection).startswith(VECTOR_STORE_PREFIX)


def edition_of(document: Document, chunker_version: int) -> str:
    """Name one way of cutting the document.

    The count of chunks is part of it so that a document cut anew with another chunk length
    never mixes with what an earlier upload left behind.
    """
    return f"{chunker_version}.{document.chunks}"


def record_id(document_id: str) -> str:
    """Give the id of a document's record."""
    return str(uuid.uuid5(_NAMESPACE, document_id))


def chunk_id(document_id: str, edition: str, number: int) -> str:
    """Give the id of a chunk: the same chunk stored twice is one point."""
    return str(uuid.uuid5(_NAMESPACE, f"{document_id}\n{edition}\n{number}"))


def chunk_payload(document_id: str, edition: str, chunk: Chunk) -> dict[str, Any]:
    """Make the payload of a chunk that cannot be found yet."""
    mine = {KIND: CHUNK, DOCUMENT_ID: document_id, EDITION: edition, STATE: HIDDEN}
    return mine | asdict(chunk)


def record_payload(document: Document) -> dict[str, Any]:
    """Make the payload of a record that is not listed yet."""
    return {KIND: RECORD, DOCUMENT_ID: document.id, STATE: HIDDEN}


def published_payload(document: Document) -> dict[str, Any]:
    """Make what publishing sets on every point of a document.

    The catalogue entry goes to the chunks as well, so that a passage names its document
    without a second lookup and never differently from the catalogue.
    """
    return {STATE: PUBLISHED, "document": asdict(document)}


def document_from(payload: Mapping[str, Any]) -> Document:
    """Read the catalogue entry out of a published point."""
    return from_record(Document, payload["document"])


def stored_from(payload: Mapping[str, Any]) -> StoredChunk:
    """Read a published chunk."""
    return StoredChunk(document_from(payload), payload[EDITION], from_record(Chunk, payload))


def candidate_from(payload: Mapping[str, Any], vectors: object, score: float) -> Candidate:
    """Read a published chunk as it was found, with its dense vector."""
    dense = np.asarray(cast("dict[str, list[float]]", vectors)[DENSE], dtype=np.float32)
    return Candidate(stored_from(payload), dense, score)


def chunk_ids(wanted: Sequence[tuple[StoredChunk, int]]) -> list[str]:
    """Give the ids of chunks named by another of the same document and their numbers."""
    return [chunk_id(near.document.id, near.edition, number) for near, number in wanted]


def page_of(payloads: Sequence[Mapping[str, Any]], limit: int, after: str | None) -> DocumentList:
    """Cut a page out of at least `limit` + 2 records, where there are as many, from `after` on."""
    documents = [document_from(payload) for payload in payloads]
    documents = [document for document in documents if document.id != after]
    page = tuple(documents[:limit])
    return DocumentList(page, page[-1].id if len(documents) > limit else None)


def summary_of(collection: str, payloads: Sequence[Mapping[str, Any]]) -> Collection:
    """Sum up a collection from all of its published records."""
    documents = [document_from(payload) for payload in payloads]
    return Collection(
        collection,
        documents=len(documents),
        size_bytes=sum(document.size_bytes for document in documents),
        created_at=min((document.created_at for document in documents), default=None),
    )


def unknown_collection(name: str) -> NotFound:
    """Say that there is no such collection."""
    return NotFound(f"There is no collection {_shown(name)!r}.", param="collection")


def unknown_document(document_id: str) -> NotFound:
    """Say that there is no such document."""
    return NotFound(f"There is no document {document_id!r} in this collection.")


def too_many_collections(most: int) -> InvalidRequest:
    """Say that no collection can be added."""
    message = f"There are {most} collections already, the most this service keeps."
    return InvalidRequest(message, param="collection")


def check_dimensions(collection: str, *, stored: int, given: int) -> None:
    """Raise Unavailable if the collection was made with another embedder."""
    if stored != given:
        message = (
            f"Collection {_shown(collection)!r} holds vectors of {stored} dimensions and the "
            f"embedder makes {given}: upload its documents again into a new collection, "
            "or set the embedding model it was made with."
        )
        raise Unavailable(message)


def check_whole(document: Document, stored_chunks: int) -> None:
    """Raise InvalidRequest unless every chunk of the document is stored."""
    if stored_chunks != document.chunks or stored_chunks == 0:
        message = (
            f"Document {document.id!r} cannot be published: {stored_chunks} of its "
            f"{document.chunks} chunks are stored."
        )
        raise InvalidRequest(message)


def foreign_collection(name: str) -> Unavailable:
    """Say that the collection was not made by this service."""
    message = (
        f"Collection {_shown(name)!r} was not made by this service: remove or rename it in Qdrant."
    )
    return Unavailable(message)


def _shown(collection: str) -> str:
    return collection.rpartition(".")[2]
