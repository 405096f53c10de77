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
from deployments.kept_files import CARD_BYTES, kept_path
from deployments.serving.request_context import detached
from serve_app.documents.file_checks import inspect_file, shown_name

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from fastapi import UploadFile

    from deployments.catalogue.entries import EntryPage, PageQuery
    from deployments.catalogue.owned import OwnedFiles
    from deployments.file_store import FileStore
    from serve_app.settings import LimitSettings

_ID = re.compile(r"file-[0-9a-f]{32}")


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
        self._owner = owner
        self._limits = limits

    async def keep(self, upload: UploadFile, purpose: str) -> FileEntry:
        """Store a file; raises TooLarge, Unprocessable if it is empty, or InvalidRequest."""
        seen = await asyncio.to_thread(inspect_file, upload.file, self._limits.max_upload_bytes)
        if seen.size_bytes == 0:
            msg = "the file is empty"
            raise Unprocessable(msg, param="file")
        await self._catalogue.check_quota(seen.size_bytes)
        now_ms = time.time_ns() // 1_000_000
        file = FileEntry(
            id=f"file-{now_ms:012x}{secrets.token_hex(10)}",
            filename=shown_name(upload.filename),
            purpose=purpose,
            size_bytes=seen.size_bytes,
            created_at=now_ms // 1000,
            digest=seen.digest,
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
        fields = asdict(file)
        del fields["digest"]  # which version 0.1 does not know
        card = json.dumps(fields).encode().ljust(CARD_BYTES)
        await self._files.put(self.path(file.id), content, card)
        try:
            await self._catalogue.add(file)
        except InvalidRequest:
            await self._files.delete(self.path(file.id))
            raise

    async def file(self, file_id: str) -> FileEntry:
        """Find a file; raises NotFound."""
        return await self._catalogue.get(file_id)

    def content(self, file_id: str) -> AsyncGenerator[bytes, None]:
        """Read what was uploaded, a piece at a time; raises NotFound."""
        return self._files.blocks(self.path(file_id), CARD_BYTES)

    async def head(self, file_id: str, size_bytes: int) -> bytes:
        """Read what a file begins with; raises NotFound."""
        return (await self._files.get(self.path(file_id), CARD_BYTES + size_bytes))[CARD_BYTES:]

    async def files(self, query: PageQuery, purpose: str | None) -> EntryPage[FileEntry]:
        """List files."""
        return await self._catalogue.page(query, purpose)

    async def remove(self, file_id: str) -> None:
        """Delete a file; raises NotFound."""
        await self.file(file_id)
        await self._catalogue.remove(file_id)
        if not await self._catalogue.content_is_held(file_id):
            await self._files.delete(self.path(file_id))
            await self._catalogue.content_removed(file_id)

    def path(self, file_id: str) -> str:
        """Return the path of a file in the store; its content begins at `CARD_BYTES`."""
        return kept_path(self._owner, file_id)


def is_file_id(text: str) -> bool:
    """Say whether a file could have this id, which then is safe as part of a path."""
    return _ID.fullmatch(text) is not None
