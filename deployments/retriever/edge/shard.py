"""One index on local disk: the blocking calls to its Qdrant Edge shard.

Nothing here builds an HNSW graph, which holds the interpreter lock for seconds. A search scans the
vectors of its collection, quantised to 4 bits, and scores the best again with the stored ones:
3 ms for 100,000 vectors of 384 dimensions, 15 ms without quantisation.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from qdrant_edge import (
    CountRequest,
    Distance,
    EdgeConfig,
    EdgeOptimizersConfig,
    EdgeShard,
    EdgeSparseVectorParams,
    EdgeVectorParams,
    FacetRequest,
    FieldCondition,
    Filter,
    HasIdCondition,
    IdfParams,
    IsEmptyCondition,
    KeywordIndexParams,
    MatchAny,
    MatchValue,
    Modifier,
    PayloadSchemaType,
    Point,
    QuantizationSearchParams,
    Query,
    QueryBatchRequest,
    QueryRequest,
    ScrollRequest,
    SearchParams,
    SparseVector,
    TurboQuantBitSize,
    TurboQuantQuantizationConfig,
    UpdateOperation,
)

from deployments.attribute_payloads import NUMBER_FIELDS, attributes_payload
from deployments.retriever import points
from deployments.retriever.edge.filters import condition

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from qdrant_edge import Payload, PointId, Record, ScoredPoint, Vector

    from deployments.filters import Attributes
    from deployments.retriever.vector_store import Candidate, EmbeddedChunk, HybridQuery
    from deployments.types import Document, StoredPoint

    RawPoint = tuple[PointId, Vector, Payload]

_NEVER_KB = 1_000_000_000
_MAX_COLLECTIONS = 1_000_000
_ALL = 1_000_000_000  # points
_OVERSAMPLING = 4.0  # times the limit: vectors that are scored again without quantisation


def _config(dimensions: int) -> EdgeConfig:
    dense = EdgeVectorParams(
        dimensions,
        Distance.Cosine,
        quantization_config=TurboQuantQuantizationConfig(bits=TurboQuantBitSize.Bits4),
    )
    return EdgeConfig(
        vectors={points.DENSE: dense},
        sparse_vectors={points.SPARSE: EdgeSparseVectorParams(modifier=Modifier.Idf)},
        optimizers=EdgeOptimizersConfig(indexing_threshold=_NEVER_KB, default_segment_number=1),
        max_search_threads=1,
    )


def _is(field: str, value: str) -> FieldCondition:
    return FieldCondition(field, MatchValue(value))


_IS_HIDDEN = Filter(must=[IsEmptyCondition(points.FOUND_IN)])
_RESCORED = SearchParams(
    quantization=QuantizationSearchParams(rescore=True, oversampling=_OVERSAMPLING)
)


def of_collection(collection: str) -> Filter:
    """Match every chunk of a collection."""
    return Filter(must=[_is(points.COLLECTION, collection)])


def of_document(collection: str, document_id: str, *others: Any) -> Filter:  # noqa: ANN401 - conditions
    """Match every chunk of a document, or those for which other conditions hold, too."""
    document = _is(points.DOCUMENT_ID, document_id)
    return Filter(must=[document, _is(points.COLLECTION, collection), *others])


def of_versions(collection: str, document_id: str, versions: Sequence[int]) -> Filter:
    """Match the chunks of some versions of a document."""
    numbers = MatchAny([str(version) for version in versions])
    return of_document(collection, document_id, FieldCondition(points.VERSION, numbers))


def of_edition(document: Document, edition: str) -> Filter:
    """Match the chunks of an edition."""
    return of_document(document.collection, document.id, _is(points.EDITION, edition))


def of_other_editions(document: Document, edition: str) -> Filter:
    """Match the chunks of a version that are of other editions."""
    version = of_versions(document.collection, document.id, [document.version])
    return Filter(must=version.must, must_not=[_is(points.EDITION, edition)])


class Shard:
    """An open shard; one thread at a time. Qdrant Edge raises plain `Exception`.

    Changes are durable on return, except those of `add`, `copy` and `remove`: the next durable
    change makes these durable, too.
    """

    def __init__(self, folder: Path, dimensions: int) -> None:
        self._edge = EdgeShard.load(str(folder), _config(dimensions))

    @staticmethod
    def create(folder: Path, dimensions: int) -> Shard:
        """Create an empty shard in a folder, and delete what a killed process left there."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        edge = EdgeShard.create(str(folder), _config(dimensions))
        for field in points.INDEXED_FIELDS:
            schema: Any = PayloadSchemaType.Keyword
            if field in points.TENANT_FIELDS:
                schema = KeywordIndexParams(is_tenant=True)
            edge.update(UpdateOperation.create_field_index(field, schema))
        for field in NUMBER_FIELDS:
            edge.update(UpdateOperation.create_field_index(field, PayloadSchemaType.Integer))
        edge.flush()
        edge.close()
        return Shard(folder, dimensions)

    def count(self) -> int:
        """Count all points."""
        return self._edge.info().points_count

    def add(self, document: Document, edition: str, chunks: Sequence[EmbeddedChunk]) -> None:
        """Insert chunks; replace those that exist only while they are hidden."""
        new = [
            Point(
                points.chunk_id(document, edition, embedded.chunk.number),
                {
                    points.DENSE: embedded.dense.tolist(),
                    points.SPARSE: SparseVector(
                        list(embedded.sparse.indices), list(embedded.sparse.values)
                    ),
                },
                points.chunk_payload(document, edition, embedded.chunk),
            )
            for embedded in chunks
        ]
        self._edge.update(UpdateOperation.upsert_points(new, condition=_IS_HIDDEN))

    def whole(self, document: Document, edition: str) -> None:
        """Raise InvalidRequest unless every chunk of an edition is stored."""
        stored = self._edge.count(CountRequest(filter=of_edition(document, edition)))
        points.check_whole(document, stored)

    def publish(self, document: Document, edition: str, others: list[PointId]) -> None:
        """Show an edition of a version, and remove the points of its other editions."""
        shown = of_edition(document, edition)
        payload = points.published_payload(document)
        self._edge.update(UpdateOperation.set_payload_by_filter(shown, payload))
        self.remove(others)
        self._edge.flush()

    def set_attributes(self, collection: str, document_id: str, attributes: Attributes) -> None:
        """Replace the attributes of all chunks of a document."""
        payload = attributes_payload(attributes)
        which = of_document(collection, document_id)
        self._edge.update(UpdateOperation.set_payload_by_filter(which, payload))
        self._edge.flush()

    def published(self, collection: str, document_id: str, version: int) -> dict[str, Any] | None:
        """Return the payload of a published chunk of a version."""
        of_version = _is(points.VERSION, str(version))
        found = of_document(collection, document_id, of_version, _is(points.FOUND_IN, collection))
        chunks, _ = self._edge.scroll(ScrollRequest(limit=1, filter=found, with_payload=True))
        return chunks[0].payload if chunks else None

    def find(self, which: Filter, limit: int = _ALL) -> list[PointId]:
        """Return the ids of the first points that a filter matches."""
        request = ScrollRequest(limit=limit, filter=which, with_payload=False, with_vector=False)
        return [point.id for point in self._edge.scroll(request)[0]]

    def remove(self, ids: list[PointId]) -> None:
        """Remove points; those that do not exist are ignored."""
        if ids:
            self._edge.update(UpdateOperation.delete_points(ids))

    def candidates(self, collection: str, query: HybridQuery) -> list[Candidate]:
        """Find the published chunks nearest by either vector."""
        found = Filter(must=[_is(points.FOUND_IN, collection)])
        # The inverse document frequency (IDF) of a word is computed per collection.
        in_collection = SearchParams(idf=IdfParams(corpus=found))
        if query.filters is not None:
            found = Filter(must=[*(found.must or ()), condition(query.filters)])
        if query.excluded:
            editions = [
                of_document(collection, document_id, _is(points.EDITION, edition))
                for document_id, edition in query.excluded
            ]
            found = Filter(must=found.must, must_not=list(editions))
        by_meaning = [Query.Nearest(row.tolist(), using=points.DENSE) for row in query.dense]
        by_words = [
            Query.Nearest(SparseVector(list(words.indices), list(words.values)), points.SPARSE)
            for words in query.sparse
            if words.indices
        ]
        searches = [(each, _RESCORED) for each in by_meaning]
        searches += [(each, in_collection) for each in by_words]
        ids = {
            point.id
            for answer in self._batch(
                QueryRequest(query.limit, query=each, params=params, filter=found)
                for each, params in searches
            )
            for point in answer
        }
        if not ids:
            return []
        # Score each search's candidates by all vectors; payloads would double the time.
        found = Filter(must=[HasIdCondition(ids)])
        answers = self._batch(
            QueryRequest(len(ids), query=each, params=params, filter=found)
            for each, params in searches
        )
        records = self._edge.retrieve(list(ids), with_payload=True, with_vector=False)
        payloads = {record.id: record.payload or {} for record in records}
        return points.candidates_from(query, answers, payloads)

    def _batch(self, requests: Iterable[QueryRequest]) -> list[list[ScoredPoint]]:
        return self._edge.query_batch(QueryBatchRequest(list(requests)))

    def chunks(self, collection: str, ids: list[str], *, with_vector: bool) -> list[Record]:
        """Return published chunks by point id, with their dense vectors if those are wanted."""
        vectors = [points.DENSE] if with_vector else False
        found = self._edge.retrieve(list(ids), with_payload=True, with_vector=vectors)
        return [one for one in found if points.is_published(one.payload or {}, collection)]

    def collections(self) -> list[str]:
        """Return the names of the collections that have points."""
        request = FacetRequest(points.COLLECTION, limit=_MAX_COLLECTIONS, exact=True)
        return [str(hit.value) for hit in self._edge.facet(request).hits]

    def read(self, limit: int, after: str | None) -> list[Record]:
        """Return points whole, in the order of their ids, beginning with `after` itself."""
        request = ScrollRequest(offset=after, limit=limit, with_payload=True, with_vector=True)
        return self._edge.scroll(request)[0]

    def inventory(
        self, limit: int, after: str | None, document: tuple[str, str] | None
    ) -> list[StoredPoint]:
        """List points in the order of their ids, from behind `after`; see VectorStore."""
        request = ScrollRequest(
            offset=after,
            limit=limit + 1,  # the offset itself is among them, if it still exists
            filter=of_document(*document) if document else None,
            with_payload=list(points.INVENTORIED_FIELDS),
            with_vector=False,
        )
        found = [
            points.inventoried(record.id, record.payload or {})
            for record in self._edge.scroll(request)[0]
        ]
        return [point for point in found if point.id != after][:limit]

    def copy(self, raw: Iterable[RawPoint]) -> None:
        """Store points as another shard has them."""
        self._edge.update(UpdateOperation.upsert_points([Point(*point) for point in raw]))

    def flush(self) -> None:
        """Write everything out."""
        self._edge.flush()

    def close(self) -> None:
        """Write everything out and close."""
        self._edge.flush()
        self._edge.close()
