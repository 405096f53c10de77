"""One collection on local disk: the blocking calls to its Qdrant Edge shard.

Nothing here optimises for approximate search: a scan of 20 000 vectors of 384 dimensions takes
2 ms and is exact, while building an HNSW graph over them holds the interpreter lock for seconds.
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
    FieldCondition,
    Filter,
    Fusion,
    IsEmptyCondition,
    MatchValue,
    Modifier,
    PayloadSchemaType,
    Point,
    Prefetch,
    Query,
    QueryRequest,
    ScrollRequest,
    SparseVector,
    UpdateOperation,
)

from deployments.retriever import points

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from qdrant_edge import ScoredPoint

    from deployments.retriever.vector_store import EmbeddedChunk, HybridQuery
    from deployments.types import Document

_NEVER_KB = 1_000_000_000
_DELETED_SHARE = 0.5


def _config(dimensions: int) -> EdgeConfig:
    return EdgeConfig(
        vectors={points.DENSE: EdgeVectorParams(dimensions, Distance.Cosine)},
        sparse_vectors={points.SPARSE: EdgeSparseVectorParams(modifier=Modifier.Idf)},
        optimizers=EdgeOptimizersConfig(
            indexing_threshold=_NEVER_KB,
            deleted_threshold=_DELETED_SHARE,
            default_segment_number=1,
        ),
        max_search_threads=1,
    )


def _is(field: str, value: str) -> FieldCondition:
    return FieldCondition(field, MatchValue(value))


_IS_HIDDEN = Filter(must=[_is(points.STATE, points.HIDDEN)])
_IS_PUBLISHED = Filter(must=[_is(points.STATE, points.PUBLISHED)])
_IS_LISTED = Filter(must=[_is(points.STATE, points.PUBLISHED), _is(points.KIND, points.RECORD)])


def _of(document_id: str) -> Filter:
    return Filter(must=[_is(points.DOCUMENT_ID, document_id)])


class Shard:
    """An open shard; one thread at a time. Qdrant Edge raises plain `Exception`."""

    def __init__(self, folder: Path, dimensions: int) -> None:
        self.dimensions = dimensions
        self._edge = EdgeShard.load(str(folder), _config(dimensions))

    @staticmethod
    def create(folder: Path, dimensions: int) -> None:
        """Make an empty shard, which appears at `folder` whole or not at all."""
        unfinished = folder.with_name(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        edge = EdgeShard.create(str(unfinished), _config(dimensions))
        for field in points.INDEXED_FIELDS:
            edge.update(UpdateOperation.create_field_index(field, PayloadSchemaType.Keyword))
        edge.flush()
        edge.close()
        unfinished.rename(folder)

    def add(self, document: Document, edition: str, chunks: Sequence[EmbeddedChunk]) -> None:
        """Insert chunks; replace those there only while they are hidden."""
        self._upsert(
            [
                Point(
                    points.chunk_id(document.id, edition, embedded.chunk.number),
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
        )

    def publish(self, document: Document, edition: str) -> None:
        """Show one edition of a version and drop its others; durable on return."""
        of_edition = Filter(
            must=[
                _is(points.DOCUMENT_ID, document.id),
                _is(points.KIND, points.CHUNK),
                _is(points.EDITION, edition),
            ]
        )
        points.check_whole(document, self._edge.count(CountRequest(filter=of_edition)))
        record = Point(points.record_id(document.id), {}, points.record_payload(document))
        self._upsert([record])
        shown = Filter(
            must=[_is(points.DOCUMENT_ID, document.id)],
            should=[_is(points.EDITION, edition), _is(points.KIND, points.RECORD)],
        )
        others = Filter(
            must=[
                _is(points.DOCUMENT_ID, document.id),
                _is(points.VERSION, str(document.version)),
            ],
            must_not=[_is(points.EDITION, edition)],
        )
        self._edge.update(
            UpdateOperation.set_payload_by_filter(shown, points.published_payload(document))
        )
        self._edge.update(UpdateOperation.delete_points_by_filter(others))
        self._settle()

    def discard(self, document_id: str, versions: Sequence[int]) -> None:
        """Remove the chunks of some versions."""
        any_of: list[Any] = [_is(points.VERSION, str(version)) for version in versions]
        if points.FIRST_VERSION in versions:  # which release 0.1 did not write down
            any_of.append(IsEmptyCondition(points.VERSION))
        chunks = Filter(
            must=[_is(points.DOCUMENT_ID, document_id), _is(points.KIND, points.CHUNK)],
            should=any_of,
        )
        self._remove(chunks)

    def candidates(self, query: HybridQuery) -> list[ScoredPoint]:
        """Find the published chunks nearest by either vector, by fused rank."""
        # Records have no vectors, so they are never found: `state` alone is enough, and a
        # second condition would triple the time of the scan.
        lookups = [Query.Nearest(row.tolist(), using=points.DENSE) for row in query.dense] + [
            Query.Nearest(SparseVector(list(words.indices), list(words.values)), points.SPARSE)
            for words in query.sparse
            if words.indices
        ]
        found = _IS_PUBLISHED
        if query.excluded:
            editions: list[Any] = [
                Filter(must=[_is(points.DOCUMENT_ID, document_id), _is(points.EDITION, edition)])
                for document_id, edition in query.excluded
            ]
            found = Filter(must=[_is(points.STATE, points.PUBLISHED)], must_not=editions)
        return self._edge.query(
            QueryRequest(
                limit=len(lookups) * query.limit,
                prefetches=[Prefetch(query.limit, lookup, filter=found) for lookup in lookups],
                query=Fusion.Rrf(k=points.RRF_K),  # type: ignore[arg-type]  # the stub is off
                with_payload=True,
                with_vector=[points.DENSE],
            )
        )

    def chunks(self, ids: list[str]) -> list[dict[str, Any]]:
        """Find the payloads of published chunks by point id."""
        found = self._edge.retrieve(list(ids), with_payload=True, with_vector=False)
        payloads = [point.payload or {} for point in found]
        return [one for one in payloads if one[points.STATE] == points.PUBLISHED]

    def records(self, limit: int, after: str | None) -> list[dict[str, Any]]:
        """List payloads of published records by point id, beginning with `after` itself."""
        start = None if after is None else points.record_id(after)
        found, _ = self._edge.scroll(
            ScrollRequest(offset=start, limit=limit, filter=_IS_LISTED, with_payload=True)
        )
        return [point.payload or {} for point in found]

    def record(self, document_id: str) -> dict[str, Any] | None:
        """Find the payload of a published record."""
        found = self._edge.retrieve(
            [points.record_id(document_id)], with_payload=True, with_vector=False
        )
        payload = found[0].payload if found else None
        return payload if payload and payload[points.STATE] == points.PUBLISHED else None

    def delete(self, document_id: str) -> bool:
        """Remove every point of the document; durable on return."""
        return self._remove(_of(document_id))

    def _remove(self, points_of: Filter) -> bool:
        """Remove points and return whether there were any; durable on return."""
        there = self._edge.count(CountRequest(filter=points_of)) > 0
        if there:
            self._edge.update(UpdateOperation.delete_points_by_filter(points_of))
            self._settle()
        return there

    def flush(self) -> None:
        """Write everything out."""
        self._edge.flush()

    def close(self) -> None:
        """Write everything out and close."""
        self._edge.flush()
        self._edge.close()

    def _upsert(self, new: list[Point]) -> None:
        self._edge.update(UpdateOperation.upsert_points(new, condition=_IS_HIDDEN))

    def _settle(self) -> None:
        """Bound what must be replayed on opening; reclaim deleted points once they are many."""
        self._edge.flush()
        self._edge.optimize()
