"""What is asked of a Qdrant server: filters, lookups and points, in its client's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdrant_client import models

from deployments.retriever import points
from deployments.retriever.qdrant.filters import condition

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.retriever.vector_store import EmbeddedChunk, HybridQuery
    from deployments.types import Document


def has(field: str, value: str) -> models.FieldCondition:
    """Match a field of the payload."""
    return models.FieldCondition(key=field, match=models.MatchValue(value=value))


IS_HIDDEN = models.Filter(must=[has(points.STATE, points.HIDDEN)])
IS_LISTED = models.Filter(
    must=[has(points.STATE, points.PUBLISHED), has(points.KIND, points.RECORD)]
)


def of_document(document_id: str) -> models.Filter:
    """Match every point of a document."""
    return models.Filter(must=[has(points.DOCUMENT_ID, document_id)])


def found_by(query: HybridQuery) -> models.Filter:
    """Match what a query may find."""
    editions = [
        models.Filter(must=[has(points.DOCUMENT_ID, document_id), has(points.EDITION, edition)])
        for document_id, edition in query.excluded
    ]
    must: list[models.Condition] = [has(points.STATE, points.PUBLISHED)]
    if query.filters is not None:
        must.append(condition(query.filters))
    return models.Filter(must=must, must_not=editions or None)


def lookups(query: HybridQuery) -> list[models.Prefetch]:
    """Look up each dense vector, and each sparse vector that has words."""
    found = found_by(query)
    by_meaning = [
        models.Prefetch(query=row.tolist(), using=points.DENSE, filter=found, limit=query.limit)
        for row in query.dense
    ]
    by_words = [
        models.Prefetch(
            query=models.SparseVector(indices=list(words.indices), values=list(words.values)),
            using=points.SPARSE,
            filter=found,
            limit=query.limit,
        )
        for words in query.sparse
        if words.indices
    ]
    return [*by_meaning, *by_words]


def chunk_point(document: Document, edition: str, embedded: EmbeddedChunk) -> models.PointStruct:
    """Make the point of a chunk, hidden."""
    sparse = models.SparseVector(
        indices=list(embedded.sparse.indices), values=list(embedded.sparse.values)
    )
    return models.PointStruct(
        id=points.chunk_id(document.id, edition, embedded.chunk.number),
        vector={points.DENSE: embedded.dense.tolist(), points.SPARSE: sparse},
        payload=points.chunk_payload(document, edition, embedded.chunk),
    )


def publication(document: Document, edition: str) -> list[models.UpdateOperation]:
    """List what shows one edition of a version and drops its others, in this order."""
    record = models.PointStruct(
        id=points.record_id(document.id), vector={}, payload=points.record_payload(document)
    )
    shown = models.Filter(
        must=[has(points.DOCUMENT_ID, document.id)],
        should=[has(points.EDITION, edition), has(points.KIND, points.RECORD)],
    )
    others = models.Filter(
        must=[
            has(points.DOCUMENT_ID, document.id),
            has(points.VERSION, str(document.version)),
        ],
        must_not=[has(points.EDITION, edition)],
    )
    return [
        models.UpsertOperation(upsert=models.PointsList(points=[record], update_filter=IS_HIDDEN)),
        models.SetPayloadOperation(
            set_payload=models.SetPayload(payload=points.published_payload(document), filter=shown)
        ),
        models.DeleteOperation(delete=models.FilterSelector(filter=others)),
    ]


def of_versions(document_id: str, versions: Sequence[int]) -> models.Filter:
    """Match the chunks of some versions."""
    any_of: list[models.Condition] = [has(points.VERSION, str(version)) for version in versions]
    if points.FIRST_VERSION in versions:  # which release 0.1 did not write down
        any_of.append(models.IsEmptyCondition(is_empty=models.PayloadField(key=points.VERSION)))
    return models.Filter(
        must=[has(points.DOCUMENT_ID, document_id), has(points.KIND, points.CHUNK)],
        should=any_of,
    )
