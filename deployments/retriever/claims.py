"""Claims: the catalogue records in which index the chunks of each collection are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from deployments.collection_names import short_name
from deployments.errors import Unavailable

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
        """Record an index unless the collection has another; return that; raise NotFound."""
        ...


def check_index(
    collection: str, claimed: CollectionIndex, index: VectorIndex, model: EmbeddingModel
) -> None:
    """Raise Unavailable if the chunks of a collection are in another index."""
    if claimed.name == index.name:
        return
    if claimed.name is None:
        message = (
            f"Collection {short_name(collection)!r} is of release 0.1 and not moved yet. If this "
            f"stays so, its vectors are not those of {model.name!r}: set the embedding model it "
            "was made with."
        )
    else:
        message = (
            f"Collection {short_name(collection)!r} was embedded with {claimed.model!r}, in this "
            f"revision and with these prefixes, and {model.name!r} is another model: set "
            "that one again, or delete the collection and upload its documents again."
        )
    raise Unavailable(message, code="embedding_model_changed")
