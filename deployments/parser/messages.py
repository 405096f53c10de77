"""Messages between the parser and its child process: task and reply, as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from deployments.errors import InvalidRequest, TooLarge, Unprocessable, UnsupportedMedia
from deployments.parser.reading.content import MAX_SECTION_CHARS
from deployments.parser.reading.embedded_pictures import MAX_PICTURES, OcrRequest
from deployments.parser.reading.unpacking import Unpacking, max_unpacked_bytes
from deployments.priority import LOWEST_PRIORITY
from deployments.records import warnings_from
from deployments.types import Chunk, DocumentWarning, UnpackedFile, UnpackPosition

if TYPE_CHECKING:
    from collections.abc import Mapping

_ERRORS = {error.__name__: error for error in (TooLarge, Unprocessable, UnsupportedMedia)}
_BYTES_PER_CHAR = 4
_BYTES_PER_CHUNK = 128 + _BYTES_PER_CHAR * MAX_SECTION_CHARS
_BYTES_PER_PICTURE = 256
_BYTES_OF_FRAME = 64 * 1024
_BYTES_OF_FILES = 1024**2  # names and messages of files that are unpacked at once


@dataclass(frozen=True, slots=True)
class Task:
    """One file to read: its name and limits; its content is the child's standard input.

    `recognised` says that what was read by OCR is on the next descriptor after standard error: JSON
    of texts by page number, or by the keys of pictures. `pictures` says that a file is there, into
    which the pictures in the document are put. With `unpack`, a ZIP file is unpacked from this
    position on, and files of more than `max_file_bytes` are left out.
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
    unpack: Mapping[str, int] | None = None
    max_file_bytes: int = 0

    @property
    def max_reply_bytes(self) -> int:
        """Return an upper bound for the size of a valid reply."""
        if self.unpack is not None:
            return max_unpacked_bytes(self.max_file_bytes) + _BYTES_OF_FILES
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
    pictures_wanted: tuple[OcrRequest, ...] = ()


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


def pack_unpacked(unpacking: Unpacking) -> bytes:
    """Serialize files that were unpacked: their records on one line, and then their contents."""
    head = {
        "files": [asdict(file) for file in unpacking.files],
        "next": None if unpacking.next is None else asdict(unpacking.next),
    }
    return b"\n".join((json.dumps(head).encode(), b"".join(unpacking.contents)))


def unpack_unpacked(reply: bytes) -> Unpacking:
    """Return the files in a reply, or raise the error in it.

    Raises:
        ValueError: the reply was not written by this module.
    """
    end = reply.find(b"\n")
    fields = json.loads(reply if end < 0 else reply[:end])
    _raise_error(fields)
    files = [UnpackedFile(**file) for file in fields["files"]]
    at, contents = end + 1, []
    for file in files:
        if file.code is None:
            contents.append(reply[at : at + file.size_bytes])
            at += file.size_bytes
    if at != len(reply):
        msg = "the contents are not as long as their records say"
        raise ValueError(msg)
    after = fields["next"]
    return Unpacking(
        UnpackPosition(), files, contents, next=UnpackPosition(**after) if after else None
    )


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
    _raise_error(fields)
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
        tuple(OcrRequest(*each) for each in fields["pictures_wanted"]),
    )


def _raise_error(fields: Mapping[str, str]) -> None:
    if "error" in fields:
        kind = _ERRORS.get(fields["error"], Unprocessable)
        raise kind(fields["message"], code=fields["code"])
