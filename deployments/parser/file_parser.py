"""Parse files of the file store into batches of chunks there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployments.chunk_batches import write_batches
from deployments.types import ParsedDocument

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from deployments.file_store import FileStore
    from deployments.parser.sandbox import Sandbox
    from deployments.types import Chunk, ParseSpec


class FileParser:
    """Implement `deployments.interfaces.Parser` over a file store and a sandbox.

    The file goes by its descriptor from the store to the child process: this process never
    holds its content.
    """

    def __init__(self, sandbox: Sandbox, files: FileStore, max_file_bytes: int) -> None:
        self._sandbox = sandbox
        self._files = files
        self._max_file_bytes = max_file_bytes

    async def parse(self, spec: ParseSpec) -> ParsedDocument:
        """See `deployments.interfaces.Parser`."""
        source = self._files.opened(spec.path, self._max_file_bytes, spec.start_byte)
        parsed = await self._sandbox.parse(
            source, spec.filename, short=spec.short, owner=spec.owner, chunking=spec.chunking
        )
        document = parsed.document
        written = document.chunks
        if spec.max_chars is not None:
            written = tuple(_until(written, spec.max_chars))
        inline = written if spec.inline and len(written) <= spec.batch_chunks else ()
        batches = 0
        if not inline:
            batches = await write_batches(
                self._files, spec.chunks_folder, written, spec.batch_chunks
            )
        return ParsedDocument(
            title=document.title,
            media_type=document.media_type,
            pages=document.pages,
            chunks=len(document.chunks),
            batches=batches,
            cpu_s=parsed.cpu_s,
            inline=inline,
            chunker=document.chunker,
            warnings=document.warnings,
        )

    async def check_health(self) -> None:
        """Return always: every file has a process of its own, so nothing here can break."""

    def close(self) -> None:
        """Stop all processes."""
        self._sandbox.close()


def _until(chunks: Iterable[Chunk], max_chars: int) -> Iterator[Chunk]:
    """Yield chunks until their texts have `max_chars` characters."""
    left = max_chars
    for chunk in chunks:
        if left <= 0:
            return
        yield chunk
        left -= len(chunk.text)
