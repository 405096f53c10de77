"""Messages between the parser and its child process: task and reply, as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass

from deployments.errors import InvalidRequest, TooLarge, Unprocessable, UnsupportedMedia
from deployments.parser.reading.content import MAX_SECTION_CHARS
from deployments.parser.reading.embedded_pictures import MAX_PICTURES, Wanted
from deployments.priority import LOWEST_PRIORITY
from deployments.records import warnings_from
from deployments.types import Chunk, DocumentWarning

_ERRORS = {error.__name__: error for error in (TooLarge, Unprocessable, UnsupportedMedia)}
_BYTES_PER_CHAR = 4
_BYTES_PER_CHUNK = 128 + _BYTES_PER_CHAR * MAX_SECTION_CHARS
_BYTES_PER_PICTURE = 256
_BYTES_OF_FRAME = 64 * 1024


@dataclass(frozen=True, slots=True)
class Task:
    """One file to read: its name and limits; its content is the child's standard input.

    `recognised` says that what was read by OCR is on the next descriptor after standard error: JSON
    of texts by page number, or by the keys of pictures. `pictures` says that a file is there, into
    which the pictures in the document are put.
    """

    filename: str
    tokenizer_file: str
    chunk_tokens: int
    max_pages: int
    max_chars: int
    max_chunks: int
    cpu_s: int
    wall_s: int
    memory_bytes: int
    overlap_tokens: int = 0
    nice: int = LOWEST_PRIORITY
    recognised: bool = False
    pictures: bool = False

    @property
    def max_reply_bytes(self) -> int:
        """Return an upper bound for the size of a valid reply."""
        # Of each chunk, the next one repeats what is its own at most: an overlap, or the head of a
        # table.
        return (
            _BYTES_PER_CHAR * self.max_chars * 2
            + _BYTES_PER_CHUNK * self.max_chunks
            + _BYTES_PER_PICTURE * MAX_PICTURES
            + _BYTES_OF_FRAME
        )


@dataclass(frozen=True, slots=True)
class ChunkedDocument:
    """A parsed file with its chunks; `pages` is None for formats without pages.

    `chunker` names the version and the strategy that cut it, `warnings` say what was not read.
    `ocr_wanted` are its pages, and `pictures_wanted` the pictures in it, that only OCR can read.
    Without another text, it has no chunks.
    """

    title: str
    media_type: str
    pages: int | None
    chunks: tuple[Chunk, ...]
    chunker: str = ""
    warnings: tuple[DocumentWarning, ...] = ()
    ocr_wanted: tuple[int, ...] = ()
    pictures_wanted: tuple[Wanted, ...] = ()


def pack_document(document: ChunkedDocument) -> bytes:
    """Serialize a document, its chunks as rows."""
    rows = [
        (c.text, c.tokens, c.page_start, c.page_end, c.section, c.separator, c.overlap_chars, c.ocr)
        for c in document.chunks
    ]
    reply = {
        "title": document.title,
        "media_type": document.media_type,
        "pages": document.pages,
        "chunks": rows,
        "chunker": document.chunker,
        "warnings": [asdict(each) for each in document.warnings],
        "ocr_wanted": document.ocr_wanted,
        "pictures_wanted": document.pictures_wanted,
    }
    return json.dumps(reply, ensure_ascii=False, separators=(",", ":")).encode()


def pack_error(error: InvalidRequest) -> bytes:
    """Serialize the error for which the file is refused."""
    kind = type(error).__name__
    return json.dumps({"error": kind, "code": error.code, "message": error.message}).encode()


def unpack(reply: bytes) -> ChunkedDocument:
    """Return the document in a reply, or raise the error in it.

    Raises:
        ValueError: the reply was not written by this module.
    """
    fields = json.loads(reply)
    if "error" in fields:
        kind = _ERRORS.get(fields["error"], Unprocessable)
        raise kind(fields["message"], code=fields["code"])
    chunks = tuple(
        Chunk(number, text, tokens, first, last, section, separator, overlap, ocr)
        for number, (text, tokens, first, last, section, separator, overlap, ocr) in enumerate(
            fields["chunks"]
        )
    )
    return ChunkedDocument(
        fields["title"],
        fields["media_type"],
        fields["pages"],
        chunks,
        fields["chunker"],
        warnings_from(fields["warnings"]),
        tuple(fields["ocr_wanted"]),
        tuple(Wanted(*each) for each in fields["pictures_wanted"]),
    )
