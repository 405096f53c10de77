"""Copies of the indexes on a Qdrant server in files, for backups.

Points are read and written through the API: that works on a server of several nodes, whose own
snapshots have to be taken on each. A file `NAME.jsonl.gz` holds the number of dimensions, and then
a point in each line, with its dense vector as base64 of float32.
"""

from __future__ import annotations

import asyncio
import base64
import gzip
import itertools
import json
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from qdrant_client import models

from deployments.retriever import points
from deployments.retriever.vector_store import VectorIndex

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from qdrant_client import AsyncQdrantClient

    from deployments.retriever.qdrant.calls import Caller
    from deployments.retriever.qdrant.indexes import ServerIndexes

_SUFFIX = ".jsonl.gz"
_LEVEL = 1  # vectors hardly shrink
_POINTS = 256  # in one request
_MAX_LINE_BYTES = 64 * 1024**2


class IndexCopies:
    """Writes all indexes of a server to files, and files to indexes."""

    def __init__(self, client: AsyncQdrantClient, call: Caller, indexes: ServerIndexes) -> None:
        self._client = client
        self._call = call
        self._indexes = indexes

    async def exist(self) -> bool:
        """Return whether the server has any index."""
        return bool(await self._indexes.names())

    async def save(self, folder: Path) -> None:
        """Write each index to a file: all points that are there now, and perhaps newer ones."""
        for name in await self._indexes.names():
            index = await self._indexes.index_of(name)
            file = await asyncio.to_thread(gzip.open, folder / (index.name + _SUFFIX), "wt", _LEVEL)
            try:
                await self._save(name, index, file)
            finally:
                await asyncio.to_thread(file.close)

    async def _save(self, name: str, index: VectorIndex, file: IO[Any]) -> None:
        file.write(json.dumps({"dimensions": index.dimensions}) + "\n")
        after: Any = None
        while True:
            records, after = await self._call(
                self._client.scroll,
                name,
                limit=_POINTS,
                offset=after,
                with_payload=True,
                with_vectors=True,
            )
            await asyncio.to_thread(_write, file, records)
            if after is None:
                return

    async def load(self, folder: Path) -> None:
        """Create the indexes of a folder, which must not exist."""
        for path in await asyncio.to_thread(lambda: sorted(folder.glob(f"*{_SUFFIX}"))):
            file = await asyncio.to_thread(gzip.open, path, "rt")
            try:
                dimensions = json.loads(file.readline(_MAX_LINE_BYTES))["dimensions"]
                index = VectorIndex(path.name.removesuffix(_SUFFIX), dimensions)
                name = await self._indexes.prepare(index)
                while some := await asyncio.to_thread(lambda: list(_read(file))):  # noqa: B023
                    await self._call(self._client.upsert, name, some)
            finally:
                await asyncio.to_thread(file.close)


def _write(file: IO[Any], records: Sequence[models.Record]) -> None:
    for record in records:
        vectors: Any = record.vector
        dense = np.asarray(vectors[points.DENSE], dtype="<f4").tobytes()
        sparse = vectors.get(points.SPARSE)
        line = {
            "id": record.id,
            "dense": base64.b64encode(dense).decode(),
            "sparse": [sparse.indices, sparse.values] if sparse else [[], []],
            "payload": record.payload,
        }
        file.write(json.dumps(line) + "\n")


def _read(file: IO[Any]) -> Iterator[models.PointStruct]:
    """Yield the points of one request."""
    for line in itertools.islice(iter(lambda: file.readline(_MAX_LINE_BYTES), ""), _POINTS):
        record = json.loads(line)
        dense = np.frombuffer(base64.b64decode(record["dense"]), dtype="<f4")
        indices, values = record["sparse"]
        vectors: dict[str, Any] = {
            points.DENSE: dense.tolist(),
            points.SPARSE: models.SparseVector(indices=indices, values=values),
        }
        yield models.PointStruct(id=record["id"], vector=vectors, payload=record["payload"])
