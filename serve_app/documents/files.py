"""Files as OpenAI keeps them: whole, by id, until they are deleted."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, BinaryIO

from deployments.catalogue.entries import FileEntry
from deployments.errors import InvalidRequest, Unprocessable
from deployments.file_store import KEPT, folder_of
from deployments.serving.request_context import detached
from serve_app.documents.file_checks import shown_name, size_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from fastapi import UploadFile

    from deployments.catalogue.entries import EntryPage, PageQuery
    from deployments.catalogue.owned import OwnedFiles
    from deployments.file_store import FileStore
    from serve_app.settings import LimitSettings

_ID = re.compile(r"file-[0-9a-f]{32}")
_CARD_BYTES = 4096


class KeptFiles:
    """The files of one owner. Ids begin with the time, so their order is that of uploading.

    In the store a file has its card, padded to a fixed length, before its content, as version 0.1
    reads it. The catalogue is the truth about which files exist.
    """

    def __init__(
        self, catalogue: OwnedFiles, files: FileStore, owner: str, limits: LimitSettings
    ) -> None:
        self._catalogue = catalogue
        self._files = files
        self._root = folder_of(KEPT, owner)
        self._limits = limits

    async def keep(self, upload: UploadFile, purpose: str) -> FileEntry:
        """Store a file; raises TooLarge, Unprocessable if it is empty, or InvalidRequest."""
        size = await asyncio.to_thread(size_of, upload.file, self._limits.max_upload_bytes)
        if size == 0:
            msg = "the file is empty"
            raise Unprocessable(msg, param="file")
        await self._catalogue.check_quota(size)
        now_ms = time.time_ns() // 1_000_000
        file = FileEntry(
            id=f"file-{now_ms:012x}{secrets.token_hex(10)}",
            filename=shown_name(upload.filename),
            purpose=purpose,
            size_bytes=size,
            created_at=now_ms // 1000,
        )
        storing = detached(self._store(file, upload.file))
        try:
            await asyncio.shield(storing)
        except asyncio.CancelledError:
            # The client has disconnected. Without an entry, the content would never be removed.
            with contextlib.suppress(Exception):
                await storing
            raise
        return file

    async def _store(self, file: FileEntry, content: BinaryIO) -> None:
        card = json.dumps(asdict(file)).encode().ljust(_CARD_BYTES)
        await self._files.put(self._path(file.id), content, card)
        try:
            await self._catalogue.add(file)
        except InvalidRequest:
            await self._files.delete(self._path(file.id))
            raise

    async def file(self, file_id: str) -> FileEntry:
        """Find a file; raises NotFound."""
        return await self._catalogue.get(file_id)

    def content(self, file_id: str) -> AsyncGenerator[bytes, None]:
        """Read what was uploaded, a piece at a time; raises NotFound."""
        return self._files.blocks(self._path(file_id), _CARD_BYTES)

    async def files(self, query: PageQuery, purpose: str | None) -> EntryPage[FileEntry]:
        """List files."""
        return await self._catalogue.page(query, purpose)

    async def remove(self, file_id: str) -> None:
        """Delete a file; raises NotFound."""
        await self.file(file_id)
        # The content first: a deletion that was interrupted can be repeated.
        await self._files.delete(self._path(file_id))
        await self._catalogue.remove(file_id)

    def _path(self, file_id: str) -> str:
        return f"{self._root}/{file_id}"


def is_file_id(text: str) -> bool:
    """Say whether a file could have this id, which then is safe as part of a path."""
    return _ID.fullmatch(text) is not None


def document_id_of(file_id: str) -> str:
    """Return the id of the document that a file becomes in a vector store."""
    return f"doc_{file_id.removeprefix('file-')}"


def file_id_of(document_id: str) -> str:
    """Return the id of a document as a file, as OpenAI's clients see it."""
    return f"file-{document_id.removeprefix('doc_')}"
