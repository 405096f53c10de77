"""What the retriever asks of a vector store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from deployments.retriever.bm25 import SparseVector
    from deployments.types import Chunk, Document, DocumentList


@dataclass(frozen=True, slots=True)
class EmbeddedChunk:
    """A chunk with its two vectors; `dense` is float32 of shape (dimensions,)."""

    chunk: Chunk
    dense: NDArray[np.float32]
    sparse: SparseVector


@dataclass(frozen=True, slots=True)
class StoredChunk:
    """A published chunk; `edition` names the cutting of its document that it belongs to."""

    document: Document
    edition: str
    chunk: Chunk


@dataclass(frozen=True, slots=True)
class Candidate:
    """A chunk that was found; `dense` is float32 of shape (dimensions,) and of unit length.

    `score` is its reciprocal rank fused over all queries, higher is better.
    """

    stored: StoredChunk
    dense: NDArray[np.float32]
    score: float


@dataclass(frozen=True, slots=True)
class HybridQuery:
    """A question and its further phrasings, as vectors and as words.

    `dense` is float32 of shape (queries, dimensions); for each row of it, and for each sparse
    vector, the `limit` nearest chunks are looked up. `excluded` are documents, by id and edition.
    """

    dense: NDArray[np.float32]
    sparse: Sequence[SparseVector]
    limit: int
    excluded: frozenset[tuple[str, str]] = frozenset()


class VectorStore(Protocol):
    """Collections of documents, each searchable whole or not at all.

    A collection is created explicitly, or by its first chunk, which sets its dimensions;
    `default` and every owner's `OWNER.default` always exist. All methods may raise InvalidRequest
    for a bad collection name, Unavailable and DeadlineExceeded; those that only read raise
    NotFound for an unknown collection. Every method may be called again after a failure.
    """

    async def add(self, document: Document, chunks: Sequence[EmbeddedChunk]) -> None:
        """Store chunks hidden; chunks already there and published stay as they are.

        `document.chunks` must be the final count.
        """
        ...

    async def publish(self, document: Document) -> None:
        """Show a version of a document at once, beside the one that is shown already.

        What other editions of it left behind is dropped. Raises InvalidRequest if not all of its
        chunks are stored.
        """
        ...

    async def discard(self, collection: str, document_id: str, versions: Sequence[int]) -> None:
        """Drop the chunks of some versions of a document."""
        ...

    async def candidates(self, collection: str, query: HybridQuery) -> list[Candidate]:
        """Find published chunks by meaning and by words; their ranks are fused, best first."""
        ...

    async def chunks(
        self, collection: str, wanted: Sequence[tuple[StoredChunk, int]]
    ) -> list[StoredChunk]:
        """Fetch published chunks by their numbers, each with a chunk of the same document.

        In no order; numbers that are not there are left out.
        """
        ...

    async def documents(self, collection: str, limit: int, after: str | None) -> DocumentList:
        """List published documents in a fixed order, from behind the document id `after`."""
        ...

    async def document(self, collection: str, document_id: str) -> Document:
        """Find one published document; raises NotFound."""
        ...

    async def delete(self, collection: str, document_id: str) -> bool:
        """Delete every point of a document and return whether there were any."""
        ...

    async def collections(self) -> list[str]:
        """Name all collections in alphabetical order."""
        ...

    async def create(self, collection: str, dimensions: int) -> None:
        """Create an empty collection unless it exists."""
        ...

    async def drop(self, collection: str) -> bool:
        """Delete a collection and return whether it existed."""
        ...

    async def purge(self, age_s: float) -> bool:
        """Remove from the disk what was deleted at least `age_s` seconds ago.

        Return False if a server keeps the disk: it does so at a time of its own.
        """
        ...

    async def close(self) -> None:
        """Close files and connections; idempotent."""
        ...
