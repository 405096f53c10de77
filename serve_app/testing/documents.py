"""Embedder, scraper, parser and retriever in memory."""

from __future__ import annotations

import asyncio
import contextlib
import re
from dataclasses import dataclass, field, replace
from itertools import cycle, islice
from typing import TYPE_CHECKING

import numpy as np

from deployments.chunk_batches import write_batches
from deployments.collection_names import is_default, unknown_collection
from deployments.errors import MODEL_CHANGED, Conflict, InvalidRequest, NotFound, Unprocessable
from deployments.filters import matches
from deployments.parser.reading.formats import Format, detect
from deployments.parser.reading.unpacking import unpack_some
from deployments.retriever.points import unknown_document
from deployments.types import (
    Chunk,
    Document,
    DocumentList,
    EmbeddedChunks,
    EmbeddingModel,
    Embeddings,
    Page,
    ParsedDocument,
    ParseSpec,
    Passage,
    Scores,
    UnpackedFiles,
    UnpackSpec,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deployments.catalogue.catalogue import Catalogue
    from deployments.file_store import FileStore
    from deployments.filters import Attributes, Filter
    from deployments.types import EmbeddingOptions, StoredIndex, StoredPoint, TextKind

_MAX_FILE_BYTES = 32 * 1024**2
FAKE_INDEX = "fa4e" * 8
_WORD = re.compile(r"\w+")
_BLANK_LINE = re.compile(r"\n\s*\n")


@dataclass
class FakeEmbedder:
    """Embeds every text as the same vector of one dimension; a token is a word."""

    embedded: list[str] = field(default_factory=list)

    async def check_health(self) -> None: ...

    async def model(self) -> EmbeddingModel:
        return EmbeddingModel("fake-embedder", "fake", 1)

    async def embed(
        self, texts: Sequence[str], kind: TextKind, fingerprint: str = ""
    ) -> NDArray[np.float32]:
        del kind, fingerprint
        self.embedded += texts
        return np.ones((len(texts), 1), dtype=np.float32)

    async def embeddings(
        self,
        texts: Sequence[str],
        dimensions: int | None = None,
        first: int = 0,
        options: EmbeddingOptions | None = None,
    ) -> Embeddings:
        del first, options
        if dimensions not in {None, 1}:
            msg = "dimensions: this model makes vectors of 1 numbers"
            raise InvalidRequest(msg, param="dimensions")
        tokens = tuple(len(text.split()) for text in texts)
        return Embeddings(await self.embed(texts, "passage"), tokens)

    async def rerank(self, query: str, texts: Sequence[str]) -> NDArray[np.float32]:
        """Score each text by the words it shares with the query."""
        return np.array([len(_words(query) & _words(text)) for text in texts], dtype=np.float32)

    async def relevance(self, query: str, texts: Sequence[str], max_tokens: int) -> Scores:
        """Score each text by the share of the query's words that are in it."""
        read = [" ".join(text.split()[:max_tokens]) for text in texts]
        asked = len(_words(query)) or 1
        return Scores(
            await self.rerank(query, read) / np.float32(asked),
            sum(len(text.split()) for text in [query, *read]),
            tuple(n for n, text in enumerate(texts) if len(text.split()) > max_tokens),
        )


@dataclass
class FakeScraper:
    """Returns `pages` for whatever URLs it is asked, or raises `error`; records the URLs."""

    pages: list[Page] = field(default_factory=list)
    error: Exception | None = None
    asked: list[str] = field(default_factory=list)

    async def check_health(self) -> None: ...

    async def fetch(self, urls: Sequence[str], owner: str = "") -> list[Page]:  # noqa: ARG002
        self.asked += urls
        if self.error:
            raise self.error
        return self.pages


@dataclass
class FakeParser:
    """Makes one chunk of each paragraph of a file, read as UTF-8, or raises `error`.

    With `chunks`, it makes that many: the paragraphs are repeated, or the last ones left out.
    `calls` counts the files that it was asked to parse.
    """

    files: FileStore
    chunks: int | None = None
    error: Exception | None = None
    calls: int = 0

    async def check_health(self) -> None: ...

    async def parse(self, spec: ParseSpec) -> ParsedDocument:
        self.calls += 1
        if self.error:
            raise self.error
        data = (await self.files.get(spec.path))[spec.start_byte :]
        media_type = detect(data, spec.filename)
        page = 1 if media_type is Format.PDF else None
        texts = _paragraphs(data.decode("utf-8-sig", errors="replace"))
        if not texts:
            msg = "There is no text in this file."
            raise Unprocessable(msg, code="no_text")
        if self.chunks is not None:
            texts = list(islice(cycle(texts), self.chunks))
        chunks = [
            Chunk(number, text, len(text.split()), page, page) for number, text in enumerate(texts)
        ]
        title = f"title of {spec.filename}"
        if spec.inline and len(chunks) <= spec.batch_chunks:
            return ParsedDocument(title, media_type, page, len(chunks), 0, inline=tuple(chunks))
        batches = await write_batches(self.files, spec.chunks_folder, chunks, spec.batch_chunks)
        return ParsedDocument(title, media_type, page, len(chunks), batches)

    async def unpack(self, spec: UnpackSpec) -> UnpackedFiles:
        """Unpack a ZIP file as the real parser does."""
        done = unpack_some(await self.files.get(spec.path), spec.position, _MAX_FILE_BYTES)
        contents = iter(done.contents)
        for number, file in enumerate(done.files, spec.position.files):
            if file.code is None:
                await self.files.put(f"{spec.folder}/{number}", next(contents))
        return UnpackedFiles(tuple(done.files), done.next)


@dataclass
class FakeRetriever:
    """Keeps the versions of documents, hidden until published; the newest of those is found.

    A search returns `passages` if there are any, whatever the collection holds. Otherwise it
    returns the chunks of the collections that share a word with a query, the most alike first.
    Attributes are those of the `catalogue`, if there is one.
    """

    passages: list[Passage] = field(default_factory=list)
    made: set[str] = field(default_factory=set)
    # By collection, document id and version; the chunks then by their number.
    versions: dict[tuple[str, str, int], dict[int, Chunk]] = field(default_factory=dict)
    published: dict[tuple[str, str], Document] = field(default_factory=dict)
    search_error: Exception | None = None
    publish_error: Exception | None = None
    never_answers: bool = False
    queries: list[str] = field(default_factory=list)
    bounds: list[tuple[int, int]] = field(default_factory=list)  # passages and characters
    applied: list[tuple[str, str]] = field(default_factory=list)  # documents with new attributes
    catalogue: Catalogue | None = None

    async def check_health(self) -> None: ...

    async def add(self, document: Document, chunks: Sequence[Chunk]) -> None:
        await asyncio.sleep(0)
        self.made.add(document.collection)
        key = document.collection, document.id, document.version
        self.versions.setdefault(key, {}).update({chunk.number: chunk for chunk in chunks})

    async def replace_chunks(self, document: Document, chunks: Sequence[Chunk]) -> float:
        await self.add(document, chunks)
        return 0.0

    async def add_embedded(self, document: Document, chunks: EmbeddedChunks) -> None:
        if chunks.index != FAKE_INDEX:
            msg = "the vectors are of another embedding model than the present one"
            raise Conflict(msg, code=MODEL_CHANGED)
        if chunks.vectors.shape != (len(chunks.chunks), 1):
            msg = "the vectors of this embedding model have 1 dimension"
            raise InvalidRequest(msg)
        await self.add(document, chunks.chunks)

    async def publish(self, document: Document, chunks: Sequence[Chunk] = ()) -> None:
        if chunks:
            await self.add(document, chunks)
        if self.publish_error:
            raise self.publish_error
        self.made.add(document.collection)
        key = document.collection, document.id
        if key not in self.published or self.published[key].version <= document.version:
            self.published[key] = document
            if self.catalogue is not None:
                loaded = {FAKE_INDEX: "fake-embedder"}
                with contextlib.suppress(NotFound):  # the catalogue does not know it
                    await self.catalogue.collections.claim_index(document.collection, loaded)

    async def discard(self, collection: str, document_id: str, versions: Sequence[int]) -> None:
        for version in versions:
            self.versions.pop((collection, document_id, version), None)
        shown = self.published.get((collection, document_id))
        if shown is not None and shown.version in versions:
            del self.published[collection, document_id]

    async def apply_attributes(self, collection: str, document_id: str) -> None:
        self.applied.append((collection, document_id))
        if self.publish_error:
            raise self.publish_error

    async def search(  # noqa: PLR0913 - a question and its bounds
        self,
        queries: Sequence[str],
        collections: str | Sequence[str],
        limit: int,
        max_chars: int,
        filters: Filter | None = None,
        *,
        by_document: bool = False,
    ) -> list[Passage]:
        names = [collections] if isinstance(collections, str) else list(collections)
        if len(names) == 1:
            self._check_exists(names[0])
        self.queries += queries
        self.bounds.append((limit, max_chars))
        if self.never_answers:
            await asyncio.Event().wait()
        if self.search_error:
            raise self.search_error
        if self.passages:
            return self.passages if by_document else self.passages[:limit]
        words = _words(*queries)
        found = [each for name in names for each in await self._matches(words, name, filters)]
        found.sort(key=lambda passage: passage.score, reverse=True)
        if by_document:
            places = dict.fromkeys(passage.document_id for passage in found)
            order = {document_id: place for place, document_id in enumerate(places)}
            found = [each for each in found if order[each.document_id] < limit]
            found.sort(key=lambda passage: order[passage.document_id])
            return _cut(found, max_chars)
        return _cut(found[:limit], max_chars)

    async def content(self, document: Document, first: int, limit: int) -> list[Chunk]:
        chunks = self._chunks_of(document)
        return [chunks[number] for number in sorted(chunks) if first <= number < first + limit]

    async def embedded(self, document: Document, first: int, limit: int) -> EmbeddedChunks:
        chunks = tuple(await self.content(document, first, limit))
        return EmbeddedChunks(FAKE_INDEX, chunks, np.ones((len(chunks), 1), dtype=np.float32))

    async def _matches(
        self, words: set[str], collection: str, filters: Filter | None
    ) -> list[Passage]:
        """Return the published chunks that contain some of the words."""
        attributes = await self._attributes_in(collection)
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
                score=len(words & _words(chunk.text)) / len(words),
                collection=collection,
                attributes=attributes.get(document.id, {}),
                version=document.version,
                media_type=document.media_type,
            )
            for document in self._published_in(collection)
            if filters is None or matches(filters, attributes.get(document.id, {}))
            for chunk in self._chunks_of(document).values()
            if words & _words(chunk.text)
        ]

    async def _attributes_in(self, collection: str) -> dict[str, Attributes]:
        if self.catalogue is None:
            return {}
        ids = [document.id for document in self._published_in(collection)]
        current = await self.catalogue.documents.current(collection, ids)
        return {document_id: version.attributes for document_id, version in current.items()}

    def _chunks_of(self, document: Document) -> dict[int, Chunk]:
        key = document.collection, document.id, document.version
        return self.versions.get(key, {})

    def _published_in(self, collection: str) -> list[Document]:
        """Return the published documents of a collection in the order of their ids."""
        return [self.published[key] for key in sorted(self.published) if key[0] == collection]

    def _check_exists(self, collection: str) -> None:
        if collection not in self.made and not is_default(collection):
            raise unknown_collection(collection)

    async def collections(self) -> list[str]:
        return sorted(self.made)

    async def create(self, collection: str) -> None:
        self.made.add(collection)

    async def drop(self, collection: str) -> bool:
        existed = collection in self.made
        self.made.discard(collection)
        keys = {key[:2] for key in self.versions} | set(self.published)
        for key in keys:
            if key[0] == collection:
                self._remove(key)
        return existed

    async def backup(self, name: str) -> bool:
        del name
        return False

    async def purge(self, age_s: float) -> bool:  # noqa: ARG002 - nothing is on a disk
        return True

    async def indexes(self) -> list[StoredIndex]:
        return []

    async def inventory(
        self,
        index: str,
        limit: int,
        after: str | None = None,
        document: tuple[str, str] | None = None,
    ) -> list[StoredPoint]:
        """List nothing: there are no indexes."""
        del index, limit, after, document
        return []

    async def documents(self, collection: str, limit: int, after: str | None) -> DocumentList:
        self._check_exists(collection)
        found = [
            document
            for document in self._published_in(collection)
            if after is None or document.id > after
        ]
        page = tuple(found[:limit])
        return DocumentList(page, page[-1].id if len(found) > limit else None)

    async def document(self, collection: str, document_id: str, version: int) -> Document:
        found = self.published.get((collection, document_id))
        if found is None or found.version != version:
            raise unknown_document(document_id)
        return found

    async def unmoved_collections(self) -> list[str]:
        return sorted(self.made)

    async def move_collections(self) -> int:
        return 0

    async def delete(self, collection: str, document_id: str) -> bool:
        return self._remove((collection, document_id))

    def _remove(self, key: tuple[str, str]) -> bool:
        """Remove a document by its collection and id; return whether it existed."""
        versions = [each for each in self.versions if each[:2] == key]
        chunks = [self.versions.pop(each) for each in versions]
        document = self.published.pop(key, None)
        return bool(chunks) or document is not None


def _paragraphs(text: str) -> list[str]:
    return [part.strip() for part in _BLANK_LINE.split(text) if part.strip()]


def _cut(passages: list[Passage], max_chars: int) -> list[Passage]:
    """Return the passages as far as their texts have `max_chars` characters together."""
    kept: list[Passage] = []
    for passage in passages:
        if max_chars <= 0:
            break
        kept.append(replace(passage, text=passage.text[:max_chars]))
        max_chars -= len(passage.text)
    return kept


def _words(*texts: str) -> set[str]:
    return {word for text in texts for word in _WORD.findall(text.lower())}
