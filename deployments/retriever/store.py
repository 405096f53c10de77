"""What the retriever asks of a vector store."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from deployments.retriever.lexical import SparseVector
    from deployments.types import Chunk, Document, DocumentList, Passage


@dataclass(frozen=True, slots=True)
class EmbeddedChunk:
    """A chunk with its two vectors; `dense` is float32 of shape (dimensions,)."""

    chunk: Chunk
    dense: NDArray[np.float32]
    sparse: SparseVector


class VectorStore(Protocol):
    """Collections of documents, each searchable whole or not at all.

    A collection comes into being with its first chunk and takes its dimensions from it;
    `default` is there from the beginning, empty. All methods may raise InvalidRequest for a
    bad collection name, Unavailable and DeadlineExceeded; those that only read raise NotFound
    for an unknown collection. Every method may be called again after a failure.
    """

    async def add(self, document: Document, chunks: Sequence[EmbeddedChunk]) -> None:
        """Store chunks hidden; chunks already there and published stay as they are.

        `document.chunks` must be the final count.
        """
        ...

    async def publish(self, document: Document) -> None:
        """Show the document at once and drop what other editions of it left behind.

        Raises InvalidRequest if not all of its chunks are stored.
        """
        ...

    async def search(
        self, collection: str, query: NDArray[np.float32], limit: int
    ) -> list[Passage]:
        """Find the published chunks nearest to a vector of shape (dimensions,), best first."""
        ...

    async def documents(self, collection: str, limit: int, after: str | None) -> DocumentList:
        """List published documents in a fixed order, from behind the document id `after`."""
        ...

    async def document(self, collection: str, document_id: str) -> Document:
        """Find one published document; raises NotFound."""
        ...

    async def delete(self, collection: str, document_id: str) -> bool:
        """Remove every point of a document; whether there were any."""
        ...

    async def close(self) -> None:
        """Let go of files and connections; may be called twice."""
        ...
