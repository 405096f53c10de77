"""Exports: a collection as an archive, a document at a time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployments.archives.headers import END
from deployments.archives.layout import CHUNKS, CONTENT, LAST, MANIFEST, VECTORS, member_name
from deployments.archives.records import (
    FORMAT,
    MAJOR,
    MAX_WARNINGS,
    MINOR,
    Chunks,
    DocumentRecord,
    Embedding,
    End,
    Manifest,
    Part,
    Sizes,
    Vectors,
    warning_record,
)
from deployments.archives.writing import PartFile, lines_of, record_member
from deployments.catalogue.entries import DocumentStatus, PageQuery
from deployments.contents import content_path
from deployments.errors import (
    EMBEDDING_MODEL_CHANGED,
    Conflict,
    NotFound,
    ServiceError,
    Unavailable,
)
from deployments.kept_files import file_id_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from deployments.catalogue.entries import CollectionEntry, DocumentEntry
    from deployments.catalogue.owned import OwnedCatalogue
    from deployments.file_store import FileStore
    from deployments.interfaces import Retriever
    from deployments.types import Document
    from serve_app.documents.files import KeptFiles

_DOCUMENTS_AT_ONCE = 100
_CHUNKS_AT_ONCE = 64
_ATTEMPTS = 10  # of a document that is replaced again and again
_PAUSE_S = 0.3
_OTHER_MODEL = "the vectors are of another embedding model than those before: export again"


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What to export: with `after`, only what follows this document of an interrupted export.

    That one had `exported` documents, and vectors of `fingerprint`.
    """

    vectors: bool = False
    after: str | None = None
    exported: int = 0
    fingerprint: str | None = None


class Exports:
    """Exports of the collections of one owner."""

    def __init__(
        self, retriever: Retriever, catalogue: OwnedCatalogue, files: FileStore, kept: KeptFiles
    ) -> None:
        self._retriever = retriever
        self._catalogue = catalogue
        self._files = files
        self._kept = kept

    async def open(self, collection: str, request: ExportRequest) -> AsyncGenerator[bytes, None]:
        """Return the archive in pieces; raises NotFound for the collection.

        Raises Conflict for a collection of version 0.1 that is not moved, or if the vectors that an
        interrupted export has are of another model.
        """
        entry = await self._catalogue.collections.get(collection)
        index = await self._catalogue.collections.index(collection)
        embedding = None
        if index.name is not None:
            embedding = Embedding(model=index.model, fingerprint=index.name)
        elif index.completed:
            msg = "version 0.1 has stored this collection: it can be exported once it is moved"
            raise Conflict(msg, code=EMBEDDING_MODEL_CHANGED)
        found = embedding.fingerprint if embedding else None
        if request.fingerprint not in {None, found}:
            raise Conflict(_OTHER_MODEL, code="embedding_model_changed", param="fingerprint")
        return self._pieces(entry, request, embedding)

    async def _pieces(
        self, entry: CollectionEntry, request: ExportRequest, embedding: Embedding | None
    ) -> AsyncGenerator[bytes, None]:
        vectors = request.vectors and embedding is not None
        fingerprint = embedding.fingerprint if vectors and embedding else None
        if request.after is None:
            yield record_member(MANIFEST, _manifest(entry, embedding, vectors=vectors))
        documents, after = request.exported, request.after
        while True:
            page = await self._catalogue.documents.page(
                entry.id, PageQuery(_DOCUMENTS_AT_ONCE, after), DocumentStatus.COMPLETED
            )
            for found in page.entries:
                after = found.document.id
                async with contextlib.aclosing(self._document(found, fingerprint)) as pieces:
                    whole = False
                    async for piece in pieces:
                        whole = True
                        yield piece
                documents += whole
            if not page.more:
                break
        yield record_member(LAST, End(documents=documents)) + END

    async def _document(
        self, entry: DocumentEntry, fingerprint: str | None
    ) -> AsyncGenerator[bytes, None]:
        """Yield a document in one of its versions; nothing if it has been deleted."""
        with contextlib.ExitStack() as files:
            for attempt in range(_ATTEMPTS):
                try:
                    read = await self._read(entry, fingerprint, files)
                    break
                except (Unavailable, NotFound):
                    if attempt + 1 == _ATTEMPTS:
                        raise
                    await asyncio.sleep(_PAUSE_S)
                    files.close()
                current = await self._current(entry.document)
                if current is None:
                    return
                entry = current
            record, parts = read
            yield record_member(member_name(record.id, "document.json"), record)
            for name, part in parts:
                async with contextlib.aclosing(part.member(member_name(record.id, name))) as pieces:
                    async for piece in pieces:
                        yield piece

    async def _current(self, document: Document) -> DocumentEntry | None:
        try:
            entry = await self._catalogue.documents.get(document.collection, document.id)
        except NotFound:
            return None
        return entry if entry.status is DocumentStatus.COMPLETED else None

    async def _read(
        self, entry: DocumentEntry, fingerprint: str | None, files: contextlib.ExitStack
    ) -> tuple[DocumentRecord, list[tuple[str, PartFile]]]:
        """Read a document into files; raise Unavailable if its version is replaced meanwhile."""
        document = entry.document
        chunks = files.enter_context(PartFile())
        parts = [(CHUNKS, chunks)]
        vectors, dimensions = None, 0
        if fingerprint is None:
            for first in range(0, document.chunks, _CHUNKS_AT_ONCE):
                some = await self._retriever.content(document, first, _CHUNKS_AT_ONCE)
                await chunks.write(lines_of(some))
        else:
            vectors = files.enter_context(PartFile())
            parts.append((VECTORS, vectors))
            for first in range(0, document.chunks, _CHUNKS_AT_ONCE):
                stored = await self._retriever.embedded(document, first, _CHUNKS_AT_ONCE)
                if stored.index != fingerprint:
                    raise ServiceError(_OTHER_MODEL, code="embedding_model_changed")
                dimensions = stored.vectors.shape[1]
                await chunks.write(lines_of(stored.chunks))
                await vectors.write(stored.vectors.astype("<f4").tobytes())
        content = await self._content(document, files)
        if content is not None:
            parts.append((CONTENT, content))
        digest, author = await self._history(document)
        sizes = entry.chunking
        record = DocumentRecord.model_construct(
            id=document.id,
            name=document.filename,
            title=document.title,
            media_type=document.media_type,
            size_bytes=document.size_bytes,
            pages=document.pages,
            created=document.created_at,
            version=document.version,
            author=author,
            chunker=document.chunker,
            chunking=None
            if sizes is None
            else Sizes(max_tokens=sizes.max_tokens, overlap_tokens=sizes.overlap_tokens),
            warnings=[warning_record(each) for each in document.warnings[:MAX_WARNINGS]],
            language=document.language,
            attributes=dict(document.attributes),
            sha256=(content.digest if content else digest) or None,
            chunks=Chunks(bytes=chunks.size_bytes, sha256=chunks.digest, count=document.chunks),
            vectors=None
            if vectors is None
            else Vectors(bytes=vectors.size_bytes, sha256=vectors.digest, dimensions=dimensions),
            content=None
            if content is None
            else Part(bytes=content.size_bytes, sha256=content.digest),
        )
        return record, parts

    async def _history(self, document: Document) -> tuple[str, str]:
        """Return the digest and the author of a version."""
        query = PageQuery(1, str(document.version - 1))
        page = await self._catalogue.versions.page(document.collection, document.id, query)
        if not page.entries or page.entries[0].document.version != document.version:
            msg = "the document is being replaced"
            raise Unavailable(msg)
        return page.entries[0].digest, page.entries[0].author

    async def _content(self, document: Document, files: contextlib.ExitStack) -> PartFile | None:
        """Read the original of a version; None if it is not kept."""
        name = self._catalogue.full_name(document.collection)
        sources = (
            self._files.blocks(content_path(name, document.id, document.version)),
            self._kept.content(file_id_of(document.id)),
        )
        for blocks in sources:
            file = files.enter_context(PartFile())
            try:
                async with contextlib.aclosing(blocks):
                    async for block in blocks:
                        await file.write(block)
            except NotFound:
                continue
            if file.size_bytes == document.size_bytes:
                return file
        return None


def _manifest(entry: CollectionEntry, embedding: Embedding | None, *, vectors: bool) -> Manifest:
    return Manifest(
        format=FORMAT,
        version=f"{MAJOR}.{MINOR}",
        created=time.time(),
        name=entry.name,
        metadata=dict(entry.metadata),
        expires_days=entry.expires_days,
        embedding=embedding,
        vectors=vectors,
    )
