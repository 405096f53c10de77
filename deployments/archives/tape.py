"""An uploaded archive in the file store, in parts of one length, read from any byte on."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from deployments.archives.headers import BLOCK_BYTES, Member, bad_archive, decode
from deployments.archives.records import MAX_LINE_BYTES
from deployments.archives.scanner import check_zeros
from deployments.errors import NotFound

if TYPE_CHECKING:
    import hashlib
    from collections.abc import AsyncGenerator
    from types import TracebackType
    from typing import Self

    from deployments.file_store import FileStore

PART_BYTES = 16 * 1024**2
"""Of each part but the last. Serve's HTTP proxy keeps a part in memory until it is taken."""


def part_path(folder: str, number: int) -> str:
    """Return the path of a part, counted from 0."""
    return f"{folder}/{number:06d}"


class Tape:
    """Reads an archive; an async context manager, which closes its files.

    Raises Unprocessable where the archive ends too early.
    """

    def __init__(self, files: FileStore, folder: str, size_bytes: int, start: int = 0) -> None:
        self._files = files
        self._folder = folder
        self._size_bytes = size_bytes
        self.position = start
        self._began = -1  # where the part that is being read was opened
        self._blocks: AsyncGenerator[bytes, None] | None = None
        self._block = memoryview(b"")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._close()

    def at(self, start: int) -> Tape:
        """Return another tape over the same archive."""
        return Tape(self._files, self._folder, self._size_bytes, start)

    @property
    def at_end(self) -> bool:
        """Return whether nothing is left."""
        return self.position >= self._size_bytes

    async def header(self) -> Member | None:
        """Read a header; None for a block of zeros."""
        return decode(await self.read(BLOCK_BYTES))

    async def record(self, member: Member) -> bytes:
        """Read the whole content of a member."""
        data = await self.read(member.size_bytes)
        await self.pad(member)
        return data

    async def pad(self, member: Member) -> None:
        """Read the zeros between the content of a member and the next header."""
        check_zeros(await self.read(member.padding_bytes))

    async def read(self, size_bytes: int) -> bytes:
        """Read so many bytes."""
        pieces = [piece async for piece in self.pieces(size_bytes)]
        return b"".join(pieces)

    async def pieces(self, size_bytes: int) -> AsyncGenerator[bytes, None]:
        """Yield so many bytes in pieces of at most a block of the file store."""
        while size_bytes:
            if not self._block:
                await self._next_block()
            piece = self._block[:size_bytes]
            self._block = self._block[len(piece) :]
            self.position += len(piece)
            size_bytes -= len(piece)
            yield bytes(piece)

    async def lines(self, part: hashlib._Hash, size_bytes: int) -> AsyncGenerator[bytes, None]:
        """Yield the lines in so many bytes, and hash them into `part`."""
        rest = b""
        async for piece in self.pieces(size_bytes):
            part.update(piece)
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                yield line
            if len(rest) > MAX_LINE_BYTES:
                msg = f"a line of chunks has more than {MAX_LINE_BYTES} bytes"
                raise bad_archive(msg)
        if rest:
            msg = "the last line of chunks has no end"
            raise bad_archive(msg)

    async def _next_block(self) -> None:
        if self.at_end:
            msg = "it is not whole: it ends too early"
            raise bad_archive(msg)
        if self._blocks is None:
            number, start = divmod(self.position, PART_BYTES)
            self._began = self.position
            self._blocks = self._files.blocks(part_path(self._folder, number), start)
        try:
            self._block = memoryview(await anext(self._blocks, b""))
        except NotFound:
            msg = "a part of it was not received, or was deleted"
            raise bad_archive(msg) from None
        if self._block:
            return
        await self._close()
        if self.position % PART_BYTES or self.position == self._began:
            msg = "a part of it is shorter than the others"
            raise bad_archive(msg)

    async def _close(self) -> None:
        if self._blocks is not None:
            async with contextlib.aclosing(self._blocks):
                self._blocks = None


class MemoryTape(Tape):
    """Reads a part of an archive that is in memory."""

    def __init__(self, data: bytes, start: int = 0) -> None:
        self._data = data
        self._blocks = None
        self._block = memoryview(data)[start:]
        self.position = start

    def at(self, start: int) -> Tape:
        return MemoryTape(self._data, start)

    @property
    def at_end(self) -> bool:
        return self.position >= len(self._data)

    async def _next_block(self) -> None:
        msg = "it is not whole: it ends too early"
        raise bad_archive(msg)
