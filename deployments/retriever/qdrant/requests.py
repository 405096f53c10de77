"""Requests to a Qdrant server: filters, lookups and points, in its client's types."""

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


IS_HIDDEN = models.Filter(
    must=[models.IsEmptyCondition(is_empty=models.PayloadField(key=points.FOUND_IN))]
)


def in_collection(collection: str) -> models.Filter:
    """Match every chunk of a collection."""
    return models.Filter(must=[has(points.COLLECTION, collection)])


def of_document(collection: str, document_id: str, *others: models.FieldCondition) -> models.Filter:
    """Match the chunks of a document for which other conditions hold too."""
    document = has(points.DOCUMENT_ID, document_id)
    return models.Filter(must=[has(points.COLLECTION, collection), document, *others])


def of_edition(document: Document, edition: str) -> models.Filter:
    """Match the chunks of an edition."""
    return of_document(document.collection, document.id, has(points.EDITION, edition))


def of_versions(collection: str, document_id: str, versions: Sequence[int]) -> models.Filter:
    """Match the chunks of some versions."""
    numbers = models.MatchAny(any=[str(version) for version in versions])
    condition = models.FieldCondition(key=points.VERSION, match=numbers)
    return of_document(collection, document_id, condition)


def published_version(collection: str, document_id: str, version: int) -> models.Filter:
    """Match the published chunks of a version."""
    conditions = has(points.VERSION, str(version)), has(points.FOUND_IN, collection)
    return of_document(collection, document_id, *conditions)


def lookups(collection: str, query: HybridQuery) -> list[models.QueryRequest]:
    """Look up each dense vector, and each sparse vector that has words.

    What one of them finds is scored for all; the payloads come once.
    """
    published = models.Filter(must=[has(points.FOUND_IN, collection)])
    editions = [
        of_document(collection, document_id, has(points.EDITION, edition))
        for document_id, edition in query.excluded
    ]
    must: list[models.Condition] = [has(points.FOUND_IN, collection)]
    if query.filters is not None:
        must.append(condition(query.filters))
    found = models.Filter(must=must, must_not=[*editions] or None)
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
            # The inverse document frequency (IDF) of a word is computed per collection.
            params=models.SearchParams(idf=models.IdfCorpusParams(corpus=published)),
        )
        for words in query.sparse
        if words.indices
    ]
    searches = [*by_meaning, *by_words]
    return [
        models.QueryRequest(
            query=each.query,
            using=each.using,
            prefetch=searches,
            params=each.params,
            limit=len(searches) * query.limit,
            with_payload=number == 0,
        )
        for number, each in enumerate(searches)
    ]


def chunk_point(document: Document, edition: str, embedded: EmbeddedChunk) -> models.PointStruct:
    """Make the point of a chunk, hidden."""
    sparse = models.SparseVector(
        indices=list(embedded.sparse.indices), values=list(embedded.sparse.values)
    )
    return models.PointStruct(
        id=points.chunk_id(document, edition, embedded.chunk.number),
        vector={points.DENSE: embedded.dense.tolist(), points.SPARSE: sparse},
        payload=points.chunk_payload(document, edition, embedded.chunk),
    )


def publication(document: Document, edition: str) -> list[models.UpdateOperation]:
    """List what shows one edition of a version and drops its others, in this order."""
    shown = of_edition(document, edition)
    of_version = of_versions(document.collection, document.id, [document.version])
    others = models.Filter(must=of_version.must, must_not=[has(points.EDITION, edition)])
    payload = points.published_payload(document)
    return [
        models.SetPayloadOperation(set_payload=models.SetPayload(payload=payload, filter=shown)),
        models.DeleteOperation(delete=models.FilterSelector(filter=others)),
    ]
