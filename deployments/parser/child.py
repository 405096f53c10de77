"""Child process that parses one file: content on standard input, reply on standard output."""

from __future__ import annotations

import json
import logging
import mmap
import os
import resource
import signal
import sys
from typing import TYPE_CHECKING

from deployments.child_processes import limit
from deployments.errors import InvalidRequest, Unprocessable
from deployments.parser.chunking.chunker import Chunker
from deployments.parser.messages import (
    ChunkedDocument,
    pack_document,
    pack_error,
    pack_unpacked,
)
from deployments.parser.reading.content import Content, title_of_filename
from deployments.parser.reading.embedded_pictures import Pictures
from deployments.parser.reading.formats import detect
from deployments.parser.reading.readers import reader_of, whole_file
from deployments.parser.reading.unpacking import unpack_some
from deployments.priority import lower_priority
from deployments.types import UnpackPosition

if TYPE_CHECKING:
    from deployments.parser.messages import Task

_MAX_OPEN_FILES = 64
_RECOGNISED = 3  # the descriptor of texts that were read by OCR
_PICTURES = 3  # the descriptor of the file for pictures


def parse_file(task: Task) -> int:
    """Parse standard input; return 0 if a reply was written, a document or an error."""
    lower_priority(task.nice)  # parsing is background work
    recognised = _recognised() if task.recognised else {}
    # Output that a library prints must not end up in the reply.
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    # Files within a file may need readers that are imported once this process is confined.
    sys.dont_write_bytecode = True
    # pypdf's warnings quote the document.
    logging.disable(logging.CRITICAL)
    try:
        reply = _reply(sys.stdin.buffer.read(), task, recognised)
    except BaseException as error:  # noqa: BLE001 - a panic in a Rust library is no Exception
        # Type and location only: the message may quote the document.
        sys.stderr.write(f"\n{type(error).__name__} {_place(error)}\n")
        return 1
    with answer:
        answer.write(reply)
    return 0


class _PictureFile:
    """Keeps pictures in a file that has its full size already: this process may write none."""

    def __init__(self) -> None:
        self._mapped: mmap.mmap | None = None

    def append(self, data: bytes) -> None:
        """Append a picture."""
        if self._mapped is None:
            self._mapped = mmap.mmap(_PICTURES, 0)
        self._mapped.write(data)


def _recognised() -> dict[str, str]:
    """Return the texts by page number, or by the keys of pictures."""
    with os.fdopen(_RECOGNISED, "rb") as file:
        texts: dict[str, str] = json.load(file)
        return texts


def _reply(data: bytes, task: Task, recognised: dict[str, str]) -> bytes:
    try:
        if task.unpack is not None:
            _confine(task)
            position = UnpackPosition(**task.unpack)
            return pack_unpacked(unpack_some(data, position, task.max_file_bytes))
        return pack_document(_parse(data, task, recognised))
    except InvalidRequest as error:
        return pack_error(error)
    except MemoryError:
        pass  # Leaving the frames above frees the memory that the error message needs.
    msg = "The file needs more memory to read than is allowed."
    return pack_error(Unprocessable(msg, code="too_complex"))


def _parse(data: bytes, task: Task, recognised: dict[str, str]) -> ChunkedDocument:
    kind = detect(data, task.filename)
    pages = {int(key): text for key, text in recognised.items() if key.isdecimal()}
    pictures = Pictures(recognised, _PictureFile() if task.pictures else None)
    read = reader_of(kind, whole_file(task.max_pages, pictures), pages)
    chunker = Chunker(
        task.tokenizer_file,
        chunk_tokens=task.chunk_tokens,
        max_chunks=task.max_chunks,
        overlap_tokens=task.overlap_tokens,
    )
    # After the imports above, which may store their bytecode; so far the file has only been
    # searched for signatures and names.
    _confine(task)
    try:
        content = read(data, task.filename, max_chars=task.max_chars)
    except Unprocessable as error:
        if error.code != "no_text":
            raise
        if not pictures.ocr_requests:
            messages = [error.message, *(each.message for each in pictures.warnings())]
            raise Unprocessable(" ".join(messages), code=error.code) from error
        content = Content(title_of_filename(task.filename), kind, "")
    wanted = bool(content.ocr_wanted or pictures.ocr_requests)
    without_text = wanted and not content.text.strip()
    chunks = () if without_text else chunker.chunks(content)
    return ChunkedDocument(
        content.title,
        content.media_type,
        None if content.page_starts is None else len(content.page_starts),
        chunks,
        chunker.name,
        content.warnings + pictures.warnings(),
        content.ocr_wanted,
        tuple(pictures.ocr_requests),
    )


def _confine(task: Task) -> None:
    """Set the resource limits of this process."""
    limit(resource.RLIMIT_AS, task.memory_bytes)
    # The kernel sends SIGXCPU at the first figure and kills at the second.
    limit(resource.RLIMIT_CPU, task.cpu_s, task.cpu_s + 1)
    limit(resource.RLIMIT_NOFILE, _MAX_OPEN_FILES)
    limit(resource.RLIMIT_FSIZE, 0)
    limit(resource.RLIMIT_CORE, 0)
    # The parent enforces the timeout; this alarm is for a parent that has died.
    signal.alarm(task.wall_s)


def _place(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    return f"in {trace.tb_frame.f_globals.get('__name__')}, line {trace.tb_lineno}"
