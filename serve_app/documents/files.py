"""Files as OpenAI keeps them: whole, by id, until they are deleted."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from deployments.errors import InvalidRequest, NotFound, Unprocessable
from deployments.records import from_record
from serve_app.documents.file_checks import shown_name, size_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from fastapi import UploadFile

    from deployments.file_store import FileStore
    from serve_app.settings import LimitSettings

_ID = re.compile(r"file-[0-9a-f]{32}")
_READ_AT_ONCE = 32
_CARD_BYTES = 4096
NO_OWNER = "_"
"""Stands in a path for an owner who has no name; no owner is called so."""


@dataclass(frozen=True, slots=True)
class KeptFile:
    """What is known of a file; `created_at` in seconds since the epoch."""

    id: str
    filename: str
    purpose: str
    size_bytes: int
    created_at: int


class KeptFiles:
    """The files of one owner. Ids begin with the time, so their order is that of uploading.

    In the store a file has its card, padded to a fixed length, before its content: both are
    there or neither is.
    """

    def __init__(self, files: FileStore, owner: str, limits: LimitSettings) -> None:
        self._files = files
        self._root = f"kept/{owner or NO_OWNER}"
        self._limits = limits

    async def keep(self, upload: UploadFile, purpose: str) -> KeptFile:
        """Store a file; raises TooLarge, Unprocessable if it is empty, or InvalidRequest."""
        size = await asyncio.to_thread(size_of, upload.file, self._limits.max_upload_bytes)
        if size == 0:
            msg = "the file is empty"
            raise Unprocessable(msg, param="file")
        if len(await self._files.names(self._root)) >= self._limits.max_files:
            msg = f"{self._limits.max_files} files are kept already, the most: delete some"
            raise InvalidRequest(msg, code="too_many_files", param="file")
        now_ms = time.time_ns() // 1_000_000
        file = KeptFile(
            id=f"file-{now_ms:012x}{secrets.token_hex(10)}",
            filename=shown_name(upload.filename),
            purpose=purpose,
            size_bytes=size,
            created_at=now_ms // 1000,
        )
        card = json.dumps(asdict(file)).encode().ljust(_CARD_BYTES)
        await self._files.put(self._path(file.id), upload.file, card)
        return file

    async def file(self, file_id: str) -> KeptFile:
        """Find a file; raises NotFound."""
        if not is_file_id(file_id):
            raise _no_file()
        try:
            card = await self._files.get(self._path(file_id), _CARD_BYTES)
        except NotFound:
            raise _no_file() from None
        return from_record(KeptFile, json.loads(card))

    def content(self, file_id: str) -> AsyncGenerator[bytes, None]:
        """Read what was uploaded, a piece at a time; raises NotFound."""
        return self._files.blocks(self._path(file_id), _CARD_BYTES)

    async def files(
        self, *, purpose: str | None, limit: int, after: str | None, newest_first: bool
    ) -> tuple[list[KeptFile], bool]:
        """List files from behind the id `after`, and say whether there are more."""
        names = sorted(await self._files.names(self._root), reverse=newest_first)
        if after is not None:
            names = [name for name in names if (name < after if newest_first else name > after)]
        found: list[KeptFile] = []
        for start in range(0, len(names), _READ_AT_ONCE):
            some = names[start : start + _READ_AT_ONCE]
            read = await asyncio.gather(*map(self.file, some), return_exceptions=True)
            for file in read:
                if isinstance(file, NotFound):
                    continue  # deleted just now
                if isinstance(file, BaseException):
                    raise file
                if purpose in {None, file.purpose}:
                    found.append(file)
            if len(found) > limit:
                break
        return found[:limit], len(found) > limit

    async def remove(self, file_id: str) -> None:
        """Delete a file; raises NotFound."""
        await self.file(file_id)
        await self._files.delete(self._path(file_id))

    def _path(self, file_id: str) -> str:
        return f"{self._root}/{file_id}"


def is_file_id(text: str) -> bool:
    """Say whether a file could have this id, which then is safe as part of a path."""
    return _ID.fullmatch(text) is not None


def _no_file() -> NotFound:
    msg = "there is no such file"
    return NotFound(msg, param="file_id")
