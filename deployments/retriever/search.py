"""The retriever: embeds documents and questions and asks a vector store."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

from deployments.retriever.lexical import LexicalEncoder
from deployments.retriever.points import check_collection_name
from deployments.retriever.store import EmbeddedChunk

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.interfaces import Embedder
    from deployments.retriever.store import VectorStore
    from deployments.types import Chunk, Document, DocumentList, Passage


class DocumentRetriever:
    """Implements `deployments.interfaces.Retriever` on any store and embedder.

    At most `add_batch_chunks` texts go to the embedder and the store in one call. The size
    of the vectors is the embedder's: a new collection takes it from its first chunk.
    """

    def __init__(self, store: VectorStore, embedder: Embedder, add_batch_chunks: int) -> None:
        self._store = store
        self._embedder = embedder
        self._add_batch_chunks = add_batch_chunks
        self._lexical = LexicalEncoder()

    async def add(self, document: Document, chunks: Sequence[Chunk]) -> None:
        """Embed and store chunks, hidden; `document.chunks` must be the final count."""
        check_collection_name(document.collection)
        remaining = iter(chunks)
        while batch := list(islice(remaining, self._add_batch_chunks)):
            dense = await self._embedder.embed([chunk.text for chunk in batch], "passage")
            await self._store.add(
                document,
                [
                    EmbeddedChunk(chunk, row, self._lexical.passage(chunk.text))
                    for chunk, row in zip(batch, dense, strict=True)
                ],
            )

    async def publish(self, document: Document) -> None:
        """Make the whole document visible at once; InvalidRequest if chunks are missing."""
        await self._store.publish(document)

    async def search(self, query: str, collection: str, limit: int) -> list[Passage]:
        """Find at most `limit` passages by cosine similarity, best first."""
        check_collection_name(collection)
        if not (await self._store.documents(collection, 1, None)).documents:
            return []  # without asking the embedder, which may be busy or away
        dense = await self._embedder.embed([query], "query")
        return await self._store.search(collection, dense[0], limit)

    async def documents(self, collection: str, limit: int, after: str | None) -> DocumentList:
        """List published documents in a fixed order, from behind the document id `after`."""
        return await self._store.documents(collection, limit, after)

    async def document(self, collection: str, document_id: str) -> Document:
        """Find one published document; raises NotFound."""
        return await self._store.document(collection, document_id)

    async def delete(self, collection: str, document_id: str) -> bool:
        """Remove a document whole, published or not; whether anything was there."""
        return await self._store.delete(collection, document_id)

    async def close(self) -> None:
        """Close the store."""
        await self._store.close()
