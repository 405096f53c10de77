"""What is asked of a Qdrant server: filters, lookups and points, in its client's words."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qdrant_client import models

from deployments.retriever import points

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from deployments.retriever.bm25 import SparseVector
    from deployments.retriever.vector_store import EmbeddedChunk
    from deployments.types import Document


def has(field: str, value: str) -> models.FieldCondition:
    """Match a field of the payload."""
    return models.FieldCondition(key=field, match=models.MatchValue(value=value))


IS_HIDDEN = models.Filter(must=[has(points.STATE, points.HIDDEN)])
IS_PUBLISHED = models.Filter(must=[has(points.STATE, points.PUBLISHED)])
IS_LISTED = models.Filter(
    must=[has(points.STATE, points.PUBLISHED), has(points.KIND, points.RECORD)]
)


def of_document(document_id: str) -> models.Filter:
    """Match every point of a document."""
    return models.Filter(must=[has(points.DOCUMENT_ID, document_id)])


def by_meaning(dense: NDArray[np.float32], limit: int) -> list[models.Prefetch]:
    """Look up each dense vector among what is published."""
    return [
        models.Prefetch(query=row.tolist(), using=points.DENSE, filter=IS_PUBLISHED, limit=limit)
        for row in dense
    ]


def by_words(sparse: Sequence[SparseVector], limit: int) -> list[models.Prefetch]:
    """Look up each sparse vector that has words."""
    return [
        models.Prefetch(
            query=models.SparseVector(indices=list(words.indices), values=list(words.values)),
            using=points.SPARSE,
            filter=IS_PUBLISHED,
            limit=limit,
        )
        for words in sparse
        if words.indices
    ]


def chunk_point(document_id: str, edition: str, embedded: EmbeddedChunk) -> models.PointStruct:
    """Make the point of a chunk, hidden."""
    sparse = models.SparseVector(
        indices=list(embedded.sparse.indices), values=list(embedded.sparse.values)
    )
    return models.PointStruct(
        id=points.chunk_id(document_id, edition, embedded.chunk.number),
        vector={points.DENSE: embedded.dense.tolist(), points.SPARSE: sparse},
        payload=points.chunk_payload(document_id, edition, embedded.chunk),
    )


def publication(document: Document, edition: str) -> list[models.UpdateOperation]:
    """List what shows one edition and drops the others, in this order."""
    record = models.PointStruct(
        id=points.record_id(document.id), vector={}, payload=points.record_payload(document)
    )
    shown = models.Filter(
        must=[has(points.DOCUMENT_ID, document.id)],
        should=[has(points.EDITION, edition), has(points.KIND, points.RECORD)],
    )
    stale = models.Filter(
        must=[has(points.DOCUMENT_ID, document.id), has(points.KIND, points.CHUNK)],
        must_not=[has(points.EDITION, edition)],
    )
    return [
        models.UpsertOperation(upsert=models.PointsList(points=[record], update_filter=IS_HIDDEN)),
        models.SetPayloadOperation(
            set_payload=models.SetPayload(payload=points.published_payload(document), filter=shown)
        ),
        models.DeleteOperation(delete=models.FilterSelector(filter=stale)),
    ]
