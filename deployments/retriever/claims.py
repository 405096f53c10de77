"""Claims: the catalogue records in which indexes the chunks of each collection are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from deployments.collection_names import short_name
from deployments.errors import EMBEDDING_MODEL_CHANGED, Unavailable
from deployments.retriever.embedding import index_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from deployments.catalogue.entries import ChangeProgress, CollectionIndex
    from deployments.retriever.embedding import Embedders, LoadedModel
    from deployments.types import Document, EmbeddingModel

_RETRY_AFTER_S = 60.0


class IndexedCollections(Protocol):
    """The collections of the catalogue."""

    async def index(self, collection: str) -> CollectionIndex:
        """Return the indexes of a collection; raise NotFound."""
        ...

    async def claim_index(
        self, collection: str, loaded: Mapping[str, str], *, moved: bool = False
    ) -> CollectionIndex:
        """Record which of the `loaded` indexes a collection is in; return them, or raise NotFound.

        They are given with the names of their models.
        """
        ...


class IndexPairs(Protocol):
    """The changes of the embedding model in the catalogue."""

    async def mark(self, document: Document, indexes: Collection[str]) -> bool:
        """Record in which indexes a version is published; return whether it is still wanted."""
        ...

    async def progress(self, collection: str | None = None) -> ChangeProgress:
        """Count what is in both indexes."""
        ...


@dataclass(frozen=True, slots=True)
class Targets:
    """The indexes into which an upload goes.

    It must be stored in the `first`, and in the `second` if that is possible. `paired` says whether
    the collection has two indexes, of which the model of one may not be loaded.
    """

    first: LoadedModel
    second: LoadedModel | None = None
    paired: bool = False


class Claims:
    """Records which indexes collections are in; without a catalogue, every collection exists."""

    def __init__(
        self, collections: IndexedCollections | None, pairs: IndexPairs | None, embedders: Embedders
    ) -> None:
        self._collections = collections
        self._pairs = pairs
        self._embedders = embedders

    async def of(self, collection: str) -> CollectionIndex | None:
        """Return the indexes of a collection; raise NotFound. None without a catalogue."""
        return None if self._collections is None else await self._collections.index(collection)

    async def targets(self, collection: str) -> Targets:
        """Record the indexes of a collection and return those of an upload; raise NotFound.

        Raises Unavailable if the model of neither is loaded.
        """
        loaded, all_known = await self._embedders.loaded()
        if self._collections is None:
            return Targets(loaded[0])
        names = {each.index.name: each.model.name for each in loaded}
        if not all_known:
            found = await self._collections.index(collection)
            if found.completed and found.name not in names:
                msg = "the embedder of the next model does not answer"
                raise Unavailable(msg)
        claimed = await self._collections.claim_index(collection, names)
        by_name = {each.index.name: each for each in loaded}
        present, other = by_name.get(claimed.name or ""), by_name.get(claimed.other or "")
        if present is not None:
            return Targets(present, other, paired=claimed.pair is not None)
        if other is not None:
            return Targets(other, paired=True)
        error = await self.not_served(collection, claimed)
        # With a code that jobs retry: a second index that is emptied now is replaced soon.
        raise error if claimed.name is None else Unavailable(error.message)

    async def record_moved(self, collection: str, model: EmbeddingModel) -> None:
        """Record that a collection of version 0.1 is in the index of a model; raise NotFound."""
        if self._collections is not None:
            loaded = {index_of(model).name: model.name}
            await self._collections.claim_index(collection, loaded, moved=True)

    async def mark(self, document: Document, indexes: Collection[str]) -> bool:
        """Record in which indexes a version is published; return whether it is still wanted."""
        return self._pairs is None or await self._pairs.mark(document, indexes)

    async def not_served(self, collection: str, claimed: CollectionIndex) -> Unavailable:
        """Return the error for a collection in the index of no loaded model."""
        if claimed.name is None:
            return not_moved(collection)
        model = self._embedders.first.known
        now = model.name if model else "the present model"
        message = (
            f"Collection {short_name(collection)!r} was embedded with {claimed.model!r}, and is "
            f"being embedded again with {now!r}. "
        )
        if claimed.pair is not None and self._pairs is not None:
            progress = await self._pairs.progress(collection)
            message += f"{progress.done_documents} of {progress.documents} documents are done. "
        message += "Try again once all are."
        return Unavailable(message, code=EMBEDDING_MODEL_CHANGED, retry_after_s=_RETRY_AFTER_S)


def not_moved(collection: str) -> Unavailable:
    """Return the error for a collection that is as version 0.1 has stored it."""
    message = (
        f"Collection {short_name(collection)!r} was stored by version 0.1, with another embedding "
        "model than the present one. Set that model again, and the collection is moved at the "
        "next start; or delete it and upload its documents again."
    )
    return Unavailable(message, code=EMBEDDING_MODEL_CHANGED)
