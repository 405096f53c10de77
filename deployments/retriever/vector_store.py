"""What the retriever asks of a vector store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from deployments.filters import Attributes, Filter
    from deployments.retriever.bm25 import SparseVector
    from deployments.types import Chunk, Document, DocumentList, StoredIndex, StoredPoint


@dataclass(frozen=True, slots=True)
class VectorIndex:
    """The index of one embedding model.

    `name` is a hash of the fingerprint of the model and of the tokenizer of the word index.
    `dimensions` are 0 if they are unknown: such an index is only read.
    """

    name: str
    dimensions: int


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
    """A chunk that was found.

    `cosines` are its similarities to the dense vectors of the query, `bm25` its scores for the
    sparse ones, whichever of them found it. `score` is given by the ranking, higher is better.
    """

    stored: StoredChunk
    cosines: tuple[float, ...]
    bm25: tuple[float, ...]
    score: float = 0.0


@dataclass(frozen=True, slots=True)
class HybridQuery:
    """A question and its further phrasings, as vectors and as words.

    `dense` is float32 of shape (queries, dimensions) and of unit length; for each row of it, and
    for each sparse vector, the `limit` nearest chunks are looked up. `excluded` are documents, by
    id and edition; `filters` leaves out those whose attributes it does not match.
    """

    dense: NDArray[np.float32]
    sparse: Sequence[SparseVector]
    limit: int
    excluded: frozenset[tuple[str, str]] = frozenset()
    filters: Filter | None = None


class VectorStore(Protocol):
    """Chunks of documents, in one index for each embedding model; a document is found whole.

    A collection is a tenant of an index. The catalogue says which collections exist: one without
    chunks is the same here as an unknown one. Methods without the parameter `index` change all
    indexes. All methods may raise Unavailable and DeadlineExceeded, and may be called again after
    a failure.
    """

    @property
    def collections_of_0_1(self) -> CollectionsOf01:
        """Collections as version 0.1 stored them, until they are moved."""
        ...

    async def add(
        self, index: VectorIndex, document: Document, chunks: Sequence[EmbeddedChunk]
    ) -> None:
        """Store chunks hidden; those that are published already stay as they are.

        `document.chunks` must be the final count.
        """
        ...

    async def publish(self, index: VectorIndex, document: Document) -> None:
        """Show a version of a document at once, beside the one that is shown already.

        What other editions of it left behind is dropped. Its chunks get `document.attributes`,
        which are not read back. Raises InvalidRequest if not all of its chunks are stored.
        """
        ...

    async def set_attributes(
        self, collection: str, document_id: str, attributes: Attributes
    ) -> None:
        """Replace the attributes of all chunks of a document, of which there may be none."""
        ...

    async def published(
        self, index: VectorIndex, collection: str, document_id: str, version: int
    ) -> StoredChunk | None:
        """Return a published chunk of a version; None if it is not published."""
        ...

    async def discard(self, collection: str, document_id: str, versions: Sequence[int]) -> None:
        """Drop the chunks of some versions of a document."""
        ...

    async def candidates(
        self, index: VectorIndex, collection: str, query: HybridQuery
    ) -> list[Candidate]:
        """Find published chunks by meaning and by words, in one call, in no order."""
        ...

    async def chunks(
        self, index: VectorIndex, collection: str, wanted: Sequence[tuple[StoredChunk, int]]
    ) -> list[StoredChunk]:
        """Fetch published chunks by their numbers, each with a chunk of the same document.

        In no order; numbers that are not there are left out.
        """
        ...

    async def vectors(
        self, index: VectorIndex, collection: str, wanted: Sequence[tuple[StoredChunk, int]]
    ) -> list[tuple[StoredChunk, NDArray[np.float32]]]:
        """Fetch chunks as `chunks` does, each with its dense vector."""
        ...

    async def delete(self, collection: str, document_id: str) -> bool:
        """Delete every chunk of a document and return whether there were any."""
        ...

    async def drop(self, collection: str) -> bool:
        """Delete every chunk of a collection and return whether there were any."""
        ...

    async def empty(self, index: VectorIndex, collection: str) -> None:
        """Delete every chunk of a collection from one index."""
        ...

    async def collections(self) -> list[str]:
        """Name the collections of which something is stored, of every owner, in order."""
        ...

    async def indexes(self) -> list[StoredIndex]:
        """Name all indexes, in order, also those that cannot be opened."""
        ...

    async def inventory(
        self,
        index: str,
        limit: int,
        after: str | None = None,
        document: tuple[str, str] | None = None,
    ) -> list[StoredPoint]:
        """List the points of an index, published or not, in a fixed order behind the id `after`.

        Only those of a document, by collection and id, if it is given. What is added or removed
        meanwhile may be listed or not. Returns fewer than `limit` only at the end.
        """
        ...

    async def purge(self, age_s: float) -> bool:
        """Remove from the disk what was deleted at least `age_s` seconds ago.

        Return False for a Qdrant server: its optimizer frees the disk space later.
        """
        ...

    async def backup(self, name: str) -> bool:
        """Copy all that is stored now into `DATA_DIR/vectors/backups/NAME`, while it is used.

        What is added meanwhile may be in the copy. It is made once: a repeated call returns, and
        another name removes it. Return False for a Qdrant server, which the command reads itself.
        """
        ...

    async def close(self) -> None:
        """Close files and connections; idempotent."""
        ...


class CollectionsOf01(Protocol):
    """Collections as version 0.1 stored them: one store each, with the records of documents."""

    async def dimensions(self) -> dict[str, int]:
        """Return the dimensions of the vectors of each collection that is not moved yet."""
        ...

    async def documents(self, collection: str, limit: int, after: str | None) -> DocumentList:
        """List published documents in a fixed order, from behind the document id `after`."""
        ...

    async def delete(self, collection: str, document_id: str | None = None) -> bool:
        """Delete a document, or a collection; return whether it was stored here."""
        ...

    async def sample(self, collection: str) -> tuple[StoredChunk, NDArray[np.float32]] | None:
        """Return some published chunk with its dense vector; None if there is none."""
        ...

    async def copy(self, collection: str, index: VectorIndex) -> int:
        """Copy a collection into an index and return the number of its chunks.

        It may be interrupted, and is then copied again.
        """
        ...
