"""Claims: the catalogue records in which index the chunks of each collection are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from deployments.collection_names import short_name
from deployments.errors import EMBEDDING_MODEL_CHANGED, Unavailable
from deployments.retriever.embedding import index_of

if TYPE_CHECKING:
    from deployments.catalogue.entries import CollectionIndex
    from deployments.retriever.vector_store import VectorIndex
    from deployments.types import EmbeddingModel


class IndexedCollections(Protocol):
    """The collections of the catalogue."""

    async def index(self, collection: str) -> CollectionIndex:
        """Return the index of a collection; raise NotFound."""
        ...

    async def claim_index(
        self, collection: str, name: str, model: str, *, moved: bool = False
    ) -> CollectionIndex:
        """Record an index, unless documents are completed in another, and return the one recorded.

        Raises NotFound.
        """
        ...


class Claims:
    """Records which index collections are in; without a catalogue, every collection exists."""

    def __init__(self, collections: IndexedCollections | None) -> None:
        self._collections = collections

    async def of(self, collection: str) -> CollectionIndex | None:
        """Return the index of a collection; raise NotFound. None without a catalogue."""
        return None if self._collections is None else await self._collections.index(collection)

    async def record(self, collection: str, model: EmbeddingModel, *, moved: bool = False) -> None:
        """Record the index of a collection; raise NotFound, and Unavailable if it has another."""
        if self._collections is None:
            return
        index = index_of(model)
        claimed = await self._collections.claim_index(
            collection, index.name, model.name, moved=moved
        )
        check_index(collection, claimed, index, model)


def check_index(
    collection: str, claimed: CollectionIndex, index: VectorIndex, model: EmbeddingModel
) -> None:
    """Raise Unavailable if the chunks of a collection are in another index."""
    if claimed.name == index.name:
        return
    if claimed.name is None:
        raise not_moved(collection)
    message = (
        f"Collection {short_name(collection)!r} was embedded with {claimed.model!r}. The present "
        f"model, {model.name!r}, has other weights or prefixes. Restore the settings of the "
        "embedder, or delete the collection and upload its documents again."
    )
    raise Unavailable(message, code=EMBEDDING_MODEL_CHANGED)


def not_moved(collection: str) -> Unavailable:
    """Return the error for a collection that is as version 0.1 has stored it."""
    message = (
        f"Collection {short_name(collection)!r} was stored by version 0.1, with another embedding "
        "model than the present one. Set that model again, and the collection is moved at the "
        "next start; or delete it and upload its documents again."
    )
    return Unavailable(message, code=EMBEDDING_MODEL_CHANGED)
