"""Parse files of the file store into batches of chunks there."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from dataclasses import replace
from typing import TYPE_CHECKING, BinaryIO

from deployments.chunk_batches import write_batches
from deployments.errors import InvalidRequest, Unprocessable
from deployments.parser.languages import language_of
from deployments.parser.ocr.recognition import PICTURE, pictures_left, without_text
from deployments.parser.reading.embedded_pictures import MAX_STORED_BYTES, OcrRequest
from deployments.parser.sandbox import Parsed
from deployments.types import SHORT_PARSE_EXCEEDED, ParsedDocument, UnpackedFiles

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

    from deployments.file_store import FileStore
    from deployments.parser.messages import ChunkedDocument
    from deployments.parser.ocr.recognition import Recognition, Recognizer
    from deployments.parser.sandbox import Sandbox
    from deployments.types import Chunk, ParseSpec, UnpackSpec


class FileParser:
    """Implement `deployments.interfaces.Parser` and `Unpacker` over a file store and a sandbox.

    The file goes by its descriptor from the store to the child process: this process never
    holds its content, but for some files of a ZIP file, which the child may not write.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        files: FileStore,
        max_file_bytes: int,
        recognizer: Recognizer | None = None,
    ) -> None:
        """Keep the parts; without a recognizer, pictures of text are not read."""
        self._sandbox = sandbox
        self._files = files
        self._max_file_bytes = max_file_bytes
        self._recognizer = recognizer

    async def parse(self, spec: ParseSpec) -> ParsedDocument:
        """See `deployments.interfaces.Parser`."""
        with contextlib.ExitStack() as files:
            pictures = None
            if self._recognizer is not None and spec.ocr and not spec.short:
                pictures = files.enter_context(_picture_file())
            parsed = await self._read(spec, None, pictures)
            if parsed.document.ocr_wanted or parsed.document.pictures_wanted:
                try:
                    parsed = await self._with_ocr(spec, parsed, pictures)
                except InvalidRequest as error:
                    error.cpu_s += parsed.cpu_s
                    raise
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
            language=await asyncio.to_thread(language_of, document.chunks),
        )

    async def _with_ocr(self, spec: ParseSpec, parsed: Parsed, pictures: BinaryIO | None) -> Parsed:
        """Parse again with the texts of pages, or of pictures, that only OCR can read.

        Raises:
            Unprocessable: `no_text` or `unreadable_text`; with `SHORT_PARSE_EXCEEDED` it is not
                short, as recognition takes seconds.
        """
        document = parsed.document
        if self._recognizer is None or not spec.ocr:
            disabled = self._recognizer is None
            if not document.chunks:
                raise without_text(document.warnings, disabled=disabled)
            if not document.pictures_wanted:
                return parsed
            left = pictures_left(len(document.pictures_wanted), disabled=disabled)
            return replace(parsed, document=replace(document, warnings=(*document.warnings, left)))
        if spec.short:
            msg = "The file needs OCR to read."
            raise Unprocessable(msg, code=SHORT_PARSE_EXCEEDED)
        found = await self._recognised(self._recognizer, spec, document, pictures)
        cpu_s = parsed.cpu_s + found.cpu_s
        if found.texts:
            try:
                again = await self._read(spec, found.texts)
            except InvalidRequest as error:
                error.cpu_s += found.cpu_s
                raise
            document, cpu_s = again.document, cpu_s + again.cpu_s
        if not document.chunks:
            empty = without_text(document.warnings, tried=found.warnings)
            empty.cpu_s = found.cpu_s
            raise empty
        warnings = document.warnings + found.warnings
        return Parsed(replace(document, warnings=warnings), cpu_s)

    async def _recognised(
        self,
        recognizer: Recognizer,
        spec: ParseSpec,
        document: ChunkedDocument,
        pictures: BinaryIO | None,
    ) -> Recognition:
        """Recognise pages of the file, or else the pictures that were found in it."""
        if document.ocr_wanted or pictures is None:
            async with self._opened(spec) as file:
                start, kind = file.tell(), document.media_type
                pages = [OcrRequest(str(page), kind, page, start) for page in document.ocr_wanted]
                return await recognizer.read(file, pages, spec.owner)
        return await recognizer.read(pictures, document.pictures_wanted, spec.owner, PICTURE)

    async def _read(
        self,
        spec: ParseSpec,
        recognised: Mapping[str, str] | None,
        pictures: BinaryIO | None = None,
    ) -> Parsed:
        return await self._sandbox.parse(
            self._opened(spec),
            spec.filename,
            short=spec.short,
            owner=spec.owner,
            chunking=spec.chunking,
            recognised=recognised,
            pictures=pictures,
        )

    def _opened(self, spec: ParseSpec) -> AbstractAsyncContextManager[BinaryIO]:
        return self._files.opened(spec.path, self._max_file_bytes, spec.start_byte)

    async def unpack(self, spec: UnpackSpec) -> UnpackedFiles:
        """See `deployments.interfaces.Unpacker`."""
        file = self._files.opened(spec.path, self._max_file_bytes)
        done, cpu_s = await self._sandbox.unpack(
            file, spec.position, self._max_file_bytes, spec.owner
        )
        contents = iter(done.contents)
        for number, each in enumerate(done.files, spec.position.files):
            if each.code is None:
                await self._files.put(f"{spec.folder}/{number}", next(contents))
        return UnpackedFiles(tuple(done.files), done.next, cpu_s)

    async def check_health(self) -> None:
        """Return always: every file has a process of its own, so nothing here can break."""

    def close(self) -> None:
        """Stop all processes."""
        self._sandbox.close()
        if self._recognizer is not None:
            self._recognizer.close()


def _picture_file() -> BinaryIO:
    """Return a file without a name, of the size that pictures may have together.

    It takes no place on the disk until something is written.
    """
    file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 - the caller closes it
    file.truncate(MAX_STORED_BYTES)
    return file


def _until(chunks: Iterable[Chunk], max_chars: int) -> Iterator[Chunk]:
    """Yield chunks until their texts have `max_chars` characters."""
    left = max_chars
    for chunk in chunks:
        if left <= 0:
            return
        yield chunk
        left -= len(chunk.text) - chunk.overlap_chars
