"""Tallies: how many chunks the vector store has of each version of each document."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from deployments.types import StoredIndex, StoredPoint

_PAGE_POINTS = 500  # some 10 ms of the embedded store's thread
MIXED = "mixed"


class Inventory(Protocol):
    """The vector store, or the retriever over it."""

    async def indexes(self) -> list[StoredIndex]:
        """Name all indexes."""
        ...

    async def inventory(
        self,
        index: str,
        limit: int,
        after: str | None = None,
        document: tuple[str, str] | None = None,
    ) -> list[StoredPoint]:
        """List points; see `VectorStore.inventory`."""
        ...


@dataclass(slots=True)
class Tally:
    """The chunks of a version in one index.

    `attributes` is the digest that all published ones have, or `MIXED`.
    """

    published: int = 0
    hidden: int = 0
    attributes: str | None = None

    def add(self, attributes: str, *, published: bool) -> None:
        """Count a chunk."""
        if not published:
            self.hidden += 1
            return
        self.published += 1
        if self.attributes != attributes:
            self.attributes = attributes if self.published == 1 else MIXED


Versions = dict[tuple[str, int], Tally]
"""The tallies of a document, by index and version."""


@dataclass
class Tallies:
    """The tallies of all documents: some 400 bytes for each, however many chunks it has."""

    of: dict[str, dict[str, Versions]] = field(default_factory=dict)
    points: int = 0
    _interned: dict[str, str] = field(default_factory=dict)

    def add(self, index: str, points: Iterable[StoredPoint]) -> None:
        """Count some points of an index."""
        for point in points:
            self.points += 1
            digest = self._interned.setdefault(point.attributes, point.attributes)
            documents = self.of.setdefault(point.collection, {})
            versions = documents.setdefault(point.document_id, {})
            tally = versions.setdefault((index, point.version), Tally())
            tally.add(digest, published=point.published)

    def take(self, collection: str, document_id: str) -> Versions:
        """Return the tallies of a document, and forget them."""
        return self.of.get(collection, {}).pop(document_id, {})

    def left(self) -> Iterator[tuple[str, list[str]]]:
        """Yield the collections, with the documents that were not taken."""
        for collection, documents in self.of.items():
            if documents:
                yield collection, list(documents)


async def take_inventory(store: Inventory, index: str, tallies: Tallies, *, pause_s: float) -> None:
    """Count all points of an index, in slices with pauses between them."""
    after: str | None = None
    while page := await store.inventory(index, _PAGE_POINTS, after):
        tallies.add(index, page)
        after = page[-1].id
        if len(page) < _PAGE_POINTS:
            return
        await asyncio.sleep(pause_s)


async def versions_of(
    store: Inventory, indexes: Iterable[str], collection: str, document_id: str
) -> Versions:
    """Count the chunks of one document, as they are now."""
    tallies = Tallies()
    for index in indexes:
        after: str | None = None
        while page := await store.inventory(index, _PAGE_POINTS, after, (collection, document_id)):
            tallies.add(index, page)
            after = page[-1].id
    return tallies.take(collection, document_id)
