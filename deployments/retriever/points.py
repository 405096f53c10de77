"""How documents lie in a collection: the ids, payloads and names that every store shares.

A collection holds two kinds of point. A chunk has both vectors; the record of the document, which
describes the version that was published last, has none. All points of a document carry its id, so
that they can be published or deleted in one operation. `state` is a keyword and not a boolean
because qdrant-edge 0.9 turns a boolean to be matched into a number, which then matches nothing.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from deployments.collection_names import short_name
from deployments.errors import FOREIGN_COLLECTION, InvalidRequest, NotFound, Unavailable
from deployments.records import from_record
from deployments.retriever.vector_store import Candidate, StoredChunk
from deployments.types import Chunk, Document, DocumentList

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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
VERSION = "version"
FIRST_VERSION = 1
INDEXED_FIELDS = (DOCUMENT_ID, STATE, KIND)

RRF_K = 2
"""Of reciprocal rank fusion: a rank r, from 0, counts 1 / (k + r)."""

_NAMESPACE = uuid.UUID("5d0c2a83-5f0e-4d0b-9a52-1f3f0e5b7c94")


def edition_of(document: Document, chunker_version: int) -> str:
    """Name one way of cutting one version of a document.

    The chunker and the count of chunks are part of it so that a document cut anew in another way
    never mixes with what an earlier upload left behind. The job is, so that a version never mixes
    with one of the same number that a restored database does not know.
    """
    # The chunker of the document, as a newer version of the service may use another one.
    edition = f"{document.chunker or chunker_version}.{document.chunks}"
    if document.version == FIRST_VERSION:
        return edition  # as release 0.1 has it
    return f"{edition}.{document.version}.{document.job_id}"


def record_id(document_id: str) -> str:
    """Give the id of a document's record."""
    return str(uuid.uuid5(_NAMESPACE, document_id))


def chunk_id(document_id: str, edition: str, number: int) -> str:
    """Give the id of a chunk: the same chunk stored twice is one point."""
    return str(uuid.uuid5(_NAMESPACE, f"{document_id}\n{edition}\n{number}"))


def chunk_payload(document: Document, edition: str, chunk: Chunk) -> dict[str, Any]:
    """Make the payload of a chunk that cannot be found yet."""
    mine = {
        KIND: CHUNK,
        DOCUMENT_ID: document.id,
        VERSION: str(document.version),
        EDITION: edition,
        STATE: HIDDEN,
    }
    return mine | asdict(chunk)


def record_payload(document: Document) -> dict[str, Any]:
    """Make the payload of a record that is not listed yet."""
    return {KIND: RECORD, DOCUMENT_ID: document.id, STATE: HIDDEN}


def published_payload(document: Document) -> dict[str, Any]:
    """Make what publishing sets on every point of a document.

    The description of the document goes to the chunks as well, so that a passage has it without a
    second look-up.
    """
    return {STATE: PUBLISHED, "document": asdict(document)}


def document_from(payload: Mapping[str, Any]) -> Document:
    """Read the description of the document out of a published point."""
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
            f"Collection {short_name(collection)!r} holds vectors of {stored} dimensions and the "
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
        f"Collection {short_name(name)!r} was not made by this service: "
        "remove or rename it in Qdrant."
    )
    return Unavailable(message, code=FOREIGN_COLLECTION)
