"""Members of an archive, written in order."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from typing import TYPE_CHECKING

from pydantic import TypeAdapter

from deployments.archives.headers import Member, encode
from deployments.types import Chunk

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
    from types import TracebackType
    from typing import Self

    from deployments.archives.records import Record

_CHUNK = TypeAdapter(Chunk)
_SPOOLED_BYTES = 1024**2
_BLOCK_BYTES = 256 * 1024


def record_member(name: str, record: Record) -> bytes:
    """Return the member of a record."""
    return small_member(name, record.model_dump_json().encode())


def small_member(name: str, data: bytes) -> bytes:
    """Return the member of some bytes."""
    member = Member(name, len(data))
    return encode(member) + data + bytes(member.padding_bytes)


def lines_of(chunks: Iterable[Chunk]) -> bytes:
    """Return the lines of chunks in chunks.jsonl."""
    return b"".join(_CHUNK.dump_json(chunk) + b"\n" for chunk in chunks)


class PartFile:
    """A file of a document, kept in memory or in a temporary file until its length is known.

    A context manager, which removes it.
    """

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(_SPOOLED_BYTES)  # noqa: SIM115 - closed at exit
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    @property
    def digest(self) -> str:
        """Return the SHA-256 of what was written, in hexadecimal."""
        return self._digest.hexdigest()

    async def write(self, data: bytes) -> None:
        """Append some bytes."""
        self.size_bytes += len(data)
        self._digest.update(data)
        await asyncio.to_thread(self._file.write, data)

    async def member(self, name: str) -> AsyncGenerator[bytes, None]:
        """Yield the file as a member of an archive."""
        member = Member(name, self.size_bytes)
        yield encode(member)
        self._file.seek(0)
        while block := await asyncio.to_thread(self._file.read, _BLOCK_BYTES):
            yield block
        yield bytes(member.padding_bytes)
