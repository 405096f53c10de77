"""Points: the ids and payloads of chunks, the same in every store.

An index holds the chunks of many collections, each a tenant: `collection` is in the payload of
every point, and in the id. `found_in` repeats it once the chunk is published. So one condition
limits a search to what it may find; a second one would double the time of a scan.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from deployments.attribute_payloads import (
    ATTRIBUTES,
    VALUES,
    attributes_payload,
    payload_digest,
)
from deployments.errors import (
    FOREIGN_COLLECTION,
    NOT_STORED_WHOLE,
    InvalidRequest,
    NotFound,
    Unavailable,
)
from deployments.records import from_record
from deployments.retriever.vector_store import Candidate, StoredChunk
from deployments.types import Chunk, Document, StoredPoint

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from deployments.retriever.vector_store import HybridQuery

DENSE = "dense"
SPARSE = "bm25"

COLLECTION = "collection"
FOUND_IN = "found_in"
DOCUMENT_ID = "document_id"
EDITION = "edition"
VERSION = "version"
FIRST_VERSION = 1
TENANT_FIELDS = (COLLECTION, FOUND_IN)
INDEXED_FIELDS = (*TENANT_FIELDS, DOCUMENT_ID, VALUES)
INVENTORIED_FIELDS = (COLLECTION, FOUND_IN, DOCUMENT_ID, VERSION, ATTRIBUTES)
NAMESPACE = uuid.UUID("5d0c2a83-5f0e-4d0b-9a52-1f3f0e5b7c94")


def edition_of(document: Document, chunker_version: int) -> str:
    """Name one way of cutting one version of a document.

    The chunker and the count of chunks are part of it so that a document that is cut in another way
    never mixes with what an earlier upload left behind. The job is, so that a version never mixes
    with one of the same number that a restored database does not know.
    """
    # The chunker of the document, as a newer version of the service may use another one.
    edition = f"{document.chunker or chunker_version}.{document.chunks}"
    if document.version == FIRST_VERSION:
        return edition  # as version 0.1 has it
    return f"{edition}.{document.version}.{document.job_id}"


def chunk_id(document: Document, edition: str, number: int) -> str:
    """Return the id of a chunk: the same chunk stored twice is one point."""
    return chunk_id_of(document.collection, document.id, edition, number)


def chunk_id_of(collection: str, document_id: str, edition: str, number: int) -> str:
    """Return the id of a chunk of a document."""
    return str(uuid.uuid5(NAMESPACE, f"{collection}\n{document_id}\n{edition}\n{number}"))


def chunk_payload(document: Document, edition: str, chunk: Chunk) -> dict[str, Any]:
    """Return the payload of a chunk that cannot be found yet."""
    mine = {
        COLLECTION: document.collection,
        DOCUMENT_ID: document.id,
        VERSION: str(document.version),
        EDITION: edition,
    }
    return mine | asdict(chunk)


def published_payload(document: Document) -> dict[str, Any]:
    """Return what publishing adds to the payload of every chunk.

    It has the description of the document, so that a passage needs no second look-up.
    """
    described = asdict(document)
    del described[ATTRIBUTES], described["warnings"]  # the catalogue has them
    attributes = attributes_payload(document.attributes)
    return {FOUND_IN: document.collection, "document": described, **attributes}


def inventoried(point_id: object, payload: Mapping[str, Any]) -> StoredPoint:
    """Read a point that was fetched with `INVENTORIED_FIELDS` of its payload."""
    collection = payload.get(COLLECTION, "")
    version = str(payload.get(VERSION, FIRST_VERSION))
    return StoredPoint(
        str(point_id),
        collection,
        payload.get(DOCUMENT_ID, ""),
        int(version) if version.isdecimal() else 0,
        is_published(payload, collection),
        payload_digest(payload.get(ATTRIBUTES)),
    )


def is_published(payload: Mapping[str, Any], collection: str) -> bool:
    """Return whether a chunk can be found in a collection."""
    return bool(payload.get(FOUND_IN) == collection)


def document_from(payload: Mapping[str, Any]) -> Document:
    """Read the description of the document out of a published point."""
    return from_record(Document, payload["document"])


def stored_from(payload: Mapping[str, Any]) -> StoredChunk:
    """Read a published chunk."""
    return StoredChunk(document_from(payload), payload[EDITION], from_record(Chunk, payload))


def all_stored_from(payloads: Iterable[Mapping[str, Any]]) -> list[StoredChunk]:
    """Read published chunks of a collection; read the document of each edition once."""
    documents: dict[tuple[str, str], Document] = {}
    stored = []
    for payload in payloads:
        edition = payload[EDITION]
        key = (payload[DOCUMENT_ID], edition)
        if key not in documents:
            documents[key] = document_from(payload)
        stored.append(StoredChunk(documents[key], edition, from_record(Chunk, payload)))
    return stored


class FoundPoint(Protocol):
    """A point found by a search, in the types of either store."""

    @property
    def id(self) -> Any: ...  # noqa: ANN401 - a string, or a UUID
    @property
    def score(self) -> float: ...


def candidates_from(
    query: HybridQuery,
    answers: Sequence[Sequence[FoundPoint]],
    payloads: Mapping[Any, Mapping[str, Any]],
) -> list[Candidate]:
    """Read what was found, scored by each vector of a query in its order, without the empty ones.

    Dense vectors score all points, sparse ones those with a common word. `payloads` has the payload
    of each point by its id.
    """
    queries = len(query.dense)
    each_scores = [{point.id: point.score for point in found} for found in answers]
    scores = iter(each_scores)
    cosines = [next(scores) for _ in range(queries)]
    bm25 = [next(scores) if words.indices else {} for words in query.sparse]
    ids = [id_ for id_ in each_scores[0] if id_ in payloads]
    return [
        Candidate(
            stored,
            tuple(each.get(id_, 0.0) for each in cosines),
            tuple(each.get(id_, 0.0) for each in bm25),
        )
        for id_, stored in zip(ids, all_stored_from(payloads[id_] for id_ in ids), strict=True)
    ]


def dense_of(vectors: object) -> NDArray[np.float32]:
    """Return the dense one of the vectors of a point."""
    return np.asarray(cast("dict[str, list[float]]", vectors)[DENSE], dtype=np.float32)


def chunk_ids(wanted: Sequence[tuple[StoredChunk, int]]) -> list[str]:
    """Give the ids of chunks named by another of the same document and their numbers."""
    return [chunk_id(near.document, near.edition, number) for near, number in wanted]


def unknown_document(document_id: str) -> NotFound:
    """Return the error for a document or version that is not published."""
    return NotFound(f"There is no document {document_id!r} in this collection.")


def check_whole(document: Document, stored_chunks: int) -> None:
    """Raise InvalidRequest unless every chunk of the document is stored."""
    if stored_chunks != document.chunks or stored_chunks == 0:
        message = (
            f"Document {document.id!r} cannot be published: {stored_chunks} of its "
            f"{document.chunks} chunks are stored."
        )
        raise InvalidRequest(message, code=NOT_STORED_WHOLE)


def foreign_collection(name: str) -> Unavailable:
    """Return the error for a collection of the server that another program has created."""
    message = f"Collection {name!r} was not made by this service: remove or rename it in Qdrant."
    return Unavailable(message, code=FOREIGN_COLLECTION)
