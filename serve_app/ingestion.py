"""One upload: parsed, embedded and stored hidden, then published whole."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from deployments.errors import DeadlineExceeded, NotFound, Overloaded, TooLarge
from deployments.types import Document

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastapi import UploadFile

    from serve_app.services import Services
    from serve_app.settings import AppSettings

_BLOCK_BYTES = 1 << 20
_FILENAME_CHARS = 200


class Ingestion:
    """Uploads of this ingress; the same file twice at once is done once."""

    def __init__(self, services: Services, settings: AppSettings) -> None:
        self._services = services
        self._limits = settings.limits
        self._batch = settings.retriever.add_batch_chunks
        self._open = 0
        # A lock lives as long as an upload of its document holds or awaits it.
        self._locks: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def add(self, upload: UploadFile, collection: str) -> tuple[Document, bool]:
        """Return the document once it can be searched, and whether it is new.

        Whatever goes wrong, nothing of a new document stays behind.
        """
        if self._open >= self._limits.max_uploads:
            msg = "too many uploads at once; try again shortly"
            raise Overloaded(msg)
        self._open += 1
        try:
            async with asyncio.timeout(self._limits.upload_timeout_s):
                return await self._add_once(upload, collection)
        except TimeoutError:
            msg = "the document took longer to read than the time allowed"
            raise DeadlineExceeded(msg) from None
        finally:
            self._open -= 1

    async def _add_once(self, upload: UploadFile, collection: str) -> tuple[Document, bool]:
        data = await self._read(upload)
        document_id = f"doc_{hashlib.sha256(data).hexdigest()[:32]}"
        key = (collection, document_id)
        lock = self._locks.setdefault(key, asyncio.Lock())
        async with lock:
            with contextlib.suppress(NotFound):
                found = await self._services.retriever.document(collection, document_id)
                return found, False
            filename = _shown_name(upload.filename)
            return await self._ingest(data, document_id, collection, filename), True

    async def _read(self, upload: UploadFile) -> bytes:
        blocks, size = [], 0
        while block := await upload.read(_BLOCK_BYTES):
            size += len(block)
            if size > self._limits.max_upload_bytes:
                msg = f"the file is over the bound of {self._limits.max_upload_bytes} bytes"
                raise TooLarge(msg, param="file")
            blocks.append(block)
        return b"".join(blocks)

    async def _ingest(
        self, data: bytes, document_id: str, collection: str, filename: str
    ) -> Document:
        parsed = await self._services.parser.parse(data, filename)
        document = Document(
            id=document_id,
            collection=collection,
            filename=filename,
            title=parsed.title or filename,
            media_type=parsed.media_type,
            size_bytes=len(data),
            pages=parsed.pages,
            chunks=len(parsed.chunks),
            created_at=time.time(),
        )
        retriever = self._services.retriever
        async with self._nothing_left(document):
            for start in range(0, len(parsed.chunks), self._batch):
                await retriever.add(document, parsed.chunks[start : start + self._batch])
            await retriever.publish(document)
        return document

    @contextlib.asynccontextmanager
    async def _nothing_left(self, document: Document) -> AsyncIterator[None]:
        try:
            yield
        except BaseException:
            # Also when the client left: the clean-up must outlive the cancelled request.
            clean_up = asyncio.ensure_future(self._discard(document))
            with contextlib.suppress(Exception):
                await asyncio.shield(clean_up)
            raise

    async def _discard(self, document: Document) -> None:
        """Remove what is hidden; the same file may have been published by another ingress."""
        retriever = self._services.retriever
        try:
            await retriever.document(document.collection, document.id)
        except NotFound:
            await retriever.delete(document.collection, document.id)


def _shown_name(filename: str | None) -> str:
    """The client's name for the file, to show and never to open: no folders, no control signs."""
    name = (filename or "").replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(sign for sign in name if sign.isprintable())[:_FILENAME_CHARS] or "unnamed"
