"""Embedder, scraper, parser and retriever in memory."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from deployments.chunk_batches import write_batches
from deployments.errors import InvalidRequest, NotFound
from deployments.types import (
    Chunk,
    Collection,
    Document,
    DocumentList,
    Embeddings,
    Page,
    ParsedDocument,
    ParseSpec,
    Passage,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deployments.file_store import FileStore
    from deployments.types import TextKind

_WORD = re.compile(r"\w+")
_DEFAULT = "default"


@dataclass
class FakeEmbedder:
    """Embeds every text as the same vector of one dimension; a token is a word."""

    embedded: list[str] = field(default_factory=list)

    async def check_health(self) -> None: ...

    async def embed(self, texts: Sequence[str], kind: TextKind) -> NDArray[np.float32]:
        del kind
        self.embedded += texts
        return np.ones((len(texts), 1), dtype=np.float32)

    async def embeddings(self, texts: Sequence[str], dimensions: int | None = None) -> Embeddings:
        if dimensions not in {None, 1}:
            msg = "dimensions: this model makes vectors of 1 numbers"
            raise InvalidRequest(msg, param="dimensions")
        tokens = tuple(len(text.split()) for text in texts)
        return Embeddings(await self.embed(texts, "passage"), tokens)

    async def rerank(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Score each text by the words it shares with the query."""
        return np.array([len(_words(query) & _words(text)) for text in texts], dtype=np.float32)


@dataclass
class FakeScraper:
    """Returns `pages` for whatever URLs it is asked, or raises `error`; records the URLs."""

    pages: list[Page] = field(default_factory=list)
    error: Exception | None = None
    asked: list[str] = field(default_factory=list)

    async def check_health(self) -> None: ...

    async def fetch(self, urls: Sequence[str]) -> list[Page]:
        self.asked += urls
        if self.error:
            raise self.error
        return self.pages


@dataclass
class FakeParser:
    """Makes the same number of chunks of every file, or raises `error`; counts its calls."""

    files: FileStore
    chunks: int = 3
    error: Exception | None = None
    calls: int = 0

    async def check_health(self) -> None: ...

    async def parse(self, spec: ParseSpec) -> ParsedDocument:
        self.calls += 1
        if self.error:
            raise self.error
        chunks = [Chunk(n, f"text {n}", 2, n + 1, n + 1) for n in range(self.chunks)]
        batches = await write_batches(self.files, spec.chunks_folder, chunks, spec.batch_chunks)
        title = f"title of {spec.filename}"
        return ParsedDocument(title, "application/pdf", self.chunks, len(chunks), batches)


@dataclass
class FakeRetriever:
    """Keeps documents, hidden until published.

    A search returns `passages` if there are any, else the chunks that share a word with a query.
    """

    passages: list[Passage] = field(default_factory=list)
    made: set[str] = field(default_factory=set)
    stored: dict[str, dict[int, Chunk]] = field(default_factory=dict)  # by document, by number
    published: dict[str, Document] = field(default_factory=dict)
    search_error: Exception | None = None
    publish_error: Exception | None = None
    never_answers: bool = False
    queries: list[str] = field(default_factory=list)
    bounds: list[tuple[int, int]] = field(default_factory=list)  # passages and characters

    async def check_health(self) -> None: ...

    async def add(self, document: Document, chunks: Sequence[Chunk]) -> None:
        await asyncio.sleep(0)
        self.stored.setdefault(document.id, {}).update({one.number: one for one in chunks})

    async def publish(self, document: Document) -> None:
        if self.publish_error:
            raise self.publish_error
        self.published[document.id] = document

    async def search(
        self, queries: Sequence[str], collection: str, limit: int, max_chars: int
    ) -> list[Passage]:
        await self.collection(collection)
        self.queries += queries
        self.bounds.append((limit, max_chars))
        if self.never_answers:
            await asyncio.Event().wait()
        if self.search_error:
            raise self.search_error
        return (self.passages or self._matches(_words(*queries), collection))[:limit]

    def _matches(self, words: set[str], collection: str) -> list[Passage]:
        return [
            Passage(
                document.id,
                document.filename,
                document.title,
                chunk.section,
                chunk.number,
                chunk.number,
                chunk.text,
                chunk.page_start,
                chunk.page_end,
                score=1.0,
            )
            for document in self.published.values()
            if document.collection == collection
            for chunk in self.stored.get(document.id, {}).values()
            if words & _words(chunk.text)
        ]

    async def collections(self) -> list[str]:
        return sorted(self.made)

    async def collection(self, collection: str) -> Collection:
        if collection not in self.made and collection.rpartition(".")[2] != _DEFAULT:
            msg = f"there is no collection {collection}"
            raise NotFound(msg, param="collection")
        held = [one for one in self.published.values() if one.collection == collection]
        return Collection(collection, len(held), sum(document.size_bytes for document in held))

    async def create(self, collection: str) -> None:
        self.made.add(collection)

    async def drop(self, collection: str) -> bool:
        there = collection in self.made
        self.made.discard(collection)
        return there

    async def documents(self, collection: str, limit: int, after: str | None) -> DocumentList:
        del collection, after
        return DocumentList(tuple(self.published.values())[:limit])

    async def document(self, collection: str, document_id: str) -> Document:
        del collection
        if document_id not in self.published:
            msg = "there is no such document"
            raise NotFound(msg)
        return self.published[document_id]

    async def delete(self, collection: str, document_id: str) -> bool:
        del collection
        known = document_id in self.stored
        self.stored.pop(document_id, None)
        self.published.pop(document_id, None)
        return known


def _words(*texts: str) -> set[str]:
    return {word for text in texts for word in _WORD.findall(text.lower())}
