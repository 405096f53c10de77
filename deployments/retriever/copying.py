"""Copies of documents from one index of their collection into the other, a slice at a time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from deployments.errors import Conflict, NotFound, Unavailable
from deployments.retriever.embedding import embedded_as, read_as
from deployments.retriever.vector_store import EmbeddedChunk, VectorIndex

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deployments.retriever.bm25 import LexicalEncoder
    from deployments.retriever.claims import Claims
    from deployments.retriever.embedding import Embedders, LoadedModel
    from deployments.retriever.vector_store import StoredChunk, VectorStore
    from deployments.types import Chunk, Document


@dataclass(frozen=True, slots=True)
class Copy:
    """A document to be copied, as it was published in the `source`."""

    document: Document
    source: VectorIndex
    target: LoadedModel


@dataclass(frozen=True, slots=True)
class Copier:
    """Copies texts and embeds them with the model of the target; its caller locks the document."""

    store: VectorStore
    embedders: Embedders
    claims: Claims
    lexical: LexicalEncoder

    async def slice(
        self, document: Document, first: int, limit: int, *, only_second: bool
    ) -> tuple[Copy, int]:
        """Store the chunks from a number on, hidden; return the number behind the last one.

        Raises NotFound if they are not all in the source, and Conflict if the collection has not
        got two indexes any more.
        """
        collection = document.collection
        claimed = await self.claims.of(collection)
        if claimed is None or claimed.pair is None or claimed.name is None or claimed.other is None:
            msg = "the collection has no second index any more"
            raise Conflict(msg)
        source, other = (VectorIndex(name, 0) for name in (claimed.name, claimed.other))
        if only_second:
            source, other = other, source
        near = await self._published(source, document)
        if near is None:
            # The two may have been exchanged after it was published in one of them.
            source, other = other, source
            near = await self._published(source, document)
        if near is None:
            raise _not_stored(document)
        target = await self.embedders.of(other.name)
        if target is None:
            msg = "the model of the index is not loaded"
            raise Unavailable(msg)
        numbers = range(first, min(first + limit, near.document.chunks))
        wanted = [(near, number) for number in numbers]
        found = await self.store.chunks(source, collection, wanted)
        if len(found) != len(numbers):
            raise _not_stored(document)
        chunks = sorted((one.chunk for one in found), key=lambda chunk: chunk.number)
        await self._add(target, near.document, chunks)
        return Copy(near.document, source, target), numbers.stop

    async def _published(self, index: VectorIndex, document: Document) -> StoredChunk | None:
        return await self.store.published(index, document.collection, document.id, document.version)

    async def _add(self, target: LoadedModel, document: Document, chunks: Sequence[Chunk]) -> None:
        parts = [(document.title, chunk.section, chunk.text) for chunk in chunks]
        texts = [embedded_as(*each) for each in parts]
        model, dense = await target.embedder.embed(texts, "passage")
        if model != target.model:
            msg = "the embedding model is being replaced: try again"
            raise Unavailable(msg)
        texts = [read_as(*each) for each in parts]
        words = await asyncio.to_thread(self.lexical.passages, texts, document.language)
        embedded = [EmbeddedChunk(*each) for each in zip(chunks, dense, words, strict=True)]
        await self.store.add(target.index, document, embedded)

    async def publish(self, copy: Copy, document: Document) -> bool:
        """Publish and mark a document that is copied whole, with the attributes of `document`.

        Return False if it was removed or replaced meanwhile: then it must be discarded.
        """
        published = replace(copy.document, attributes=document.attributes)
        await self.store.publish(copy.target.index, published)
        return await self.claims.mark(document, [copy.source.name, copy.target.index.name])


def _not_stored(document: Document) -> NotFound:
    msg = f"version {document.version} of document {document.id} is not stored whole"
    return NotFound(msg)
