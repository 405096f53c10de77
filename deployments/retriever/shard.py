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
    MatchValue,
    Modifier,
    PayloadSchemaType,
    Point,
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

    import numpy as np
    from numpy.typing import NDArray

    from deployments.retriever.store import EmbeddedChunk
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

    def add(self, document_id: str, edition: str, chunks: Sequence[EmbeddedChunk]) -> None:
        """Insert chunks; replace those there only while they are hidden."""
        self._upsert(
            [
                Point(
                    points.chunk_id(document_id, edition, embedded.chunk.number),
                    {
                        points.DENSE: embedded.dense.tolist(),
                        points.SPARSE: SparseVector(
                            list(embedded.sparse.indices), list(embedded.sparse.values)
                        ),
                    },
                    points.chunk_payload(document_id, edition, embedded.chunk),
                )
                for embedded in chunks
            ]
        )

    def publish(self, document: Document, edition: str) -> None:
        """Show one edition of the document and drop the others; durable on return."""
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
        stale = Filter(
            must=[_is(points.DOCUMENT_ID, document.id), _is(points.KIND, points.CHUNK)],
            must_not=[_is(points.EDITION, edition)],
        )
        self._edge.update(
            UpdateOperation.set_payload_by_filter(shown, points.published_payload(document))
        )
        self._edge.update(UpdateOperation.delete_points_by_filter(stale))
        self._settle()

    def search(self, query: NDArray[np.float32], limit: int) -> list[tuple[dict[str, Any], float]]:
        """Find payload and cosine similarity of the nearest published chunks."""
        # Records have no dense vector, so they are never found: `state` alone is enough,
        # and a second condition would triple the time of the scan.
        found = self._edge.query(
            QueryRequest(
                limit=limit,
                query=Query.Nearest(query.tolist(), using=points.DENSE),
                filter=_IS_PUBLISHED,
                with_payload=True,
            )
        )
        return [(point.payload or {}, point.score) for point in found]

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
        there = self._edge.count(CountRequest(filter=_of(document_id))) > 0
        if there:
            self._edge.update(UpdateOperation.delete_points_by_filter(_of(document_id)))
            self._settle()
        return there

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
