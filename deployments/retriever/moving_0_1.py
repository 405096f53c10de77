"""Moving of collections as version 0.1 stored them into the index of the embedding model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from loguru import logger

from deployments.errors import NotFound
from deployments.retriever.embedding import index_of, read_as

if TYPE_CHECKING:
    from deployments.retriever.claims import Claims
    from deployments.retriever.embedding import IndexEmbedder
    from deployments.retriever.vector_store import CollectionsOf01, VectorStore
    from deployments.types import EmbeddingModel

_SAME_VECTOR = 0.98  # cosine similarity: a processor of another kind computes slightly others


async def move_collections(store: VectorStore, embedder: IndexEmbedder, claims: Claims) -> int:
    """Move collections into the index of a model and return their number.

    Those with vectors of another model stay.
    """
    collections_of_0_1, moved = store.collections_of_0_1, 0
    for collection, dimensions in (await collections_of_0_1.dimensions()).items():
        model = await embedder.model()
        index = index_of(model)
        try:
            claimed = await claims.of(collection)
            if claimed is None or claimed.name is None:
                if not await _is_of(collections_of_0_1, collection, dimensions, model, embedder):
                    logger.warning(
                        "collection {} of version 0.1 is not moved: its vectors are not of "
                        "the embedding model {}",
                        *(collection, model.name),
                    )
                    continue
                chunks = await collections_of_0_1.copy(collection, index)
                await claims.record_moved(collection, model)
                logger.info("moved collection {} of version 0.1: {} chunks", collection, chunks)
            elif claimed.name != index.name:
                continue  # it is in the index of another model
            await collections_of_0_1.delete(collection)
            moved += 1
        except NotFound:  # deleted since, or another program's
            continue
    return moved


async def _is_of(
    stored: CollectionsOf01,
    collection: str,
    dimensions: int,
    model: EmbeddingModel,
    embedder: IndexEmbedder,
) -> bool:
    """Return whether a model has made the vectors of a collection of version 0.1."""
    if dimensions != model.dimensions:
        return False
    if (sample := await stored.sample(collection)) is None:
        return True
    found, dense = sample
    text = read_as(found.document.title, found.chunk.section, found.chunk.text)
    _, again = await embedder.embed([text], "passage")
    return float(again[0] @ dense) >= _SAME_VECTOR
