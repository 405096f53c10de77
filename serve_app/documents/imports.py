"""Imports: an archive is received in parts, and then imported by a job."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import tempfile
import time
from typing import TYPE_CHECKING

from deployments.archives.scanner import Scanner
from deployments.archives.tape import PART_BYTES, part_path
from deployments.errors import (
    PARTS_MISSING,
    InvalidRequest,
    NotFound,
    Overloaded,
    TooLarge,
    Unavailable,
)
from deployments.file_store import ARCHIVES, folder_of
from deployments.job_ids import job_id_for
from deployments.serving.request_context import detached
from deployments.types import VECTOR_STORE_PREFIX, ImportSpec, JobKind, Submitted
from serve_app.http.bounds import size_in_words

if TYPE_CHECKING:
    from collections.abc import AsyncIterable
    from typing import BinaryIO

    from deployments.catalogue.owned import OwnedCatalogue
    from deployments.file_store import FileStore
    from deployments.interfaces import Jobs

MAX_UPLOADS = 2
"""Archives of one owner that may lie in the file store at once."""
_SPOOLED_BYTES = 1024**2
_FREE_BYTES = 1024**3  # that an import leaves on the disk
_HEAD_BYTES = 128 * 1024


class Imports:
    """The imports of one owner. Clients choose the id of an import, and may repeat every call."""

    def __init__(
        self,
        jobs: Jobs,
        catalogue: OwnedCatalogue,
        files: FileStore,
        owner: str,
        max_bytes: int,
    ) -> None:
        """Import archives of at most `max_bytes`."""
        self._jobs = jobs
        self._catalogue = catalogue
        self._files = files
        self._owner = owner
        self._folder = folder_of(ARCHIVES, owner)
        self._max_bytes = max_bytes

    async def receive(self, import_id: str, number: int, blocks: AsyncIterable[bytes]) -> int:
        """Store a part, counted from 0; all but the last have `PART_BYTES`. Return its size.

        Raises TooLarge, Unprocessable for what is no archive, InvalidRequest over the quota, and
        Overloaded if there are too many archives or there is no room for it.
        """
        if (number + 1) * PART_BYTES > self._max_bytes + PART_BYTES - 1:
            raise self._too_large()
        await self._check_room(import_id)
        with tempfile.SpooledTemporaryFile(_SPOOLED_BYTES) as file:
            size = 0
            async for block in blocks:
                size += len(block)
                if size > PART_BYTES:
                    msg = f"a part has at most {PART_BYTES} bytes"
                    raise TooLarge(msg)
                await asyncio.to_thread(file.write, block)
            if not size:
                msg = "the part is empty"
                raise InvalidRequest(msg)
            if number == 0:
                file.seek(0)
                Scanner().feed(file.read(_HEAD_BYTES))
            await self._catalogue.files.check_quota(number * PART_BYTES + size)
            file.seek(0)
            await self._put(part_path(f"{self._folder}/{import_id}", number), file)  # type: ignore[arg-type]
            return size

    async def _put(self, path: str, file: BinaryIO) -> None:
        """Store a part to the end even if the client leaves, as the file is closed after it."""
        storing = detached(self._files.put(path, file))
        try:
            await asyncio.shield(storing)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):
                await storing
            raise

    async def _check_room(self, import_id: str) -> None:
        known = await self._files.names(self._folder)
        if import_id not in known and len(known) >= MAX_UPLOADS:
            # The sweep leaves empty folders.
            known = [one for one in known if await self._files.names(f"{self._folder}/{one}")]
        if import_id not in known and len(known) >= MAX_UPLOADS:
            msg = f"{MAX_UPLOADS} archives are here already: wait until they are imported"
            raise Overloaded(msg)
        free = await self._files.free_bytes()
        if free is not None and free < _FREE_BYTES:
            msg = "there is no room for archives on the disk of this service"
            raise Unavailable(msg, code="no_room")

    async def parts(self, import_id: str) -> list[int]:
        """Return the numbers of the parts that were received; raises NotFound."""
        names = await self._files.names(f"{self._folder}/{import_id}")
        if not names:
            raise _unknown()
        return [int(name) for name in names if name.isdecimal()]

    async def begin(self, import_id: str, size_bytes: int, name: str | None) -> Submitted:
        """Return the job that imports the archive, once all its parts are here.

        Raises NotFound for an archive of which nothing is here, and InvalidRequest if parts are
        missing.
        """
        if size_bytes > self._max_bytes:
            raise self._too_large()
        now_ms = time.time_ns() // 1_000_000
        collection = f"{VECTOR_STORE_PREFIX}{now_ms:012x}{secrets.token_hex(6)}"
        spec = ImportSpec(collection, name, size_bytes, f"{self._folder}/{import_id}")
        count = -(-size_bytes // PART_BYTES)
        here = await self._files.names(spec.upload_path)
        missing = sorted({f"{number:06d}" for number in range(count)} - set(here))
        if not missing:
            return await self._jobs.submit_import(spec, import_id)
        with contextlib.suppress(NotFound):  # it was begun before, and its parts are not needed
            job = await self._jobs.job(job_id_for(self._owner, JobKind.IMPORT, import_id))
            return Submitted(job, created=False)
        if not here:
            raise _unknown()
        msg = f"part {int(missing[0])} of {count} is missing"
        raise InvalidRequest(msg, code=PARTS_MISSING, param="size_bytes")

    async def remove(self, import_id: str) -> None:
        """Remove the parts of an archive; raises NotFound."""
        await self.parts(import_id)
        await self._files.delete(f"{self._folder}/{import_id}")

    def _too_large(self) -> TooLarge:
        most = size_in_words(self._max_bytes)
        msg = f"The archive is larger than {most}, which is the most that this service imports."
        return TooLarge(msg)


def _unknown() -> NotFound:
    return NotFound("there is no such import", param="import_id")
