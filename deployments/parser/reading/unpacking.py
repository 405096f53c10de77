"""Unpack a ZIP file in steps; each file in it becomes a document."""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from deployments.errors import InvalidRequest, TooLarge, Unprocessable
from deployments.parser.reading.formats import Format, detect
from deployments.parser.reading.nested import MAX_FILES
from deployments.parser.reading.zip_members import Unpacked, ZipMembers
from deployments.parser.reading.zip_names import names_of, shortened
from deployments.types import UnpackedFile, UnpackPosition

if TYPE_CHECKING:
    import zipfile

_WHAT: Final = "This ZIP file"
_MAX_FILES_AT_ONCE: Final = 256
_MAX_BYTES_AT_ONCE: Final = 8 * 1024**2
"""A step ends with the file that exceeds it."""
_DAMAGED: Final = Unprocessable(
    "It is damaged in the ZIP file, or compressed in a way that is not read.",
    code="damaged_document",
)


@dataclass(slots=True)
class Unpacking:
    """The unpacked files, and the contents of the readable ones, in the same order.

    `next` is the next position; None at the end.
    """

    position: UnpackPosition
    files: list[UnpackedFile] = field(default_factory=list)
    contents: list[bytes] = field(default_factory=list)
    size_bytes: int = 0
    next: UnpackPosition | None = None

    @property
    def full(self) -> bool:
        """Whether the reply is full."""
        return len(self.files) >= _MAX_FILES_AT_ONCE or self.size_bytes >= _MAX_BYTES_AT_ONCE

    def add(self, name: str, data: bytes) -> None:
        """Add a file that can be read."""
        digest = hashlib.sha256(data).hexdigest()
        self._add(UnpackedFile(name, len(data), digest))
        self.contents.append(data)
        self.size_bytes += len(data)

    def refuse(self, name: str, error: InvalidRequest) -> None:
        """Add a file that cannot be read."""
        self._add(UnpackedFile(name, code=error.code, message=error.message))

    def _add(self, file: UnpackedFile) -> None:
        if self.position.files + len(self.files) >= MAX_FILES:
            msg = f"The ZIP file has more than {MAX_FILES:,} files in it. Split it and try again."
            raise TooLarge(msg)
        self.files.append(file)


def max_unpacked_bytes(max_file_bytes: int) -> int:
    """Return the most bytes that one step can unpack."""
    return _MAX_BYTES_AT_ONCE + max_file_bytes


def unpack_some(data: bytes, position: UnpackPosition, max_file_bytes: int) -> Unpacking:
    """Unpack the next files of a ZIP file; files of a ZIP file in it count as its own.

    Folders and system files are skipped. Files that cannot be read have a code.

    Raises:
        TooLarge: all have more than `MAX_FILES` files, or unpack to too much.
        Unprocessable: it is damaged.
    """
    unpacked = Unpacked(position.unpacked_bytes)
    done = Unpacking(position)
    members = ZipMembers(data, _WHAT, unpacked)
    names = names_of(members.infos)
    inner_start = position.inner_member
    for number in range(position.member, len(members.infos)):
        info, name = members.infos[number], names[number]
        if name is not None:
            if done.full:
                done.next = _after(done, unpacked, UnpackPosition(number))
                return done
            # The bytes of a partly unpacked inner ZIP file are counted already.
            again = ZipMembers(data, _WHAT) if inner_start else members
            content = _content(again, info, name, done, max_file_bytes)
            if content is not None and not _is_zip(content, name):
                done.add(name, content)
            elif content is not None:
                inner = _unpack_inner(content, name, done, unpacked, inner_start, max_file_bytes)
                if inner is not None:
                    done.next = _after(done, unpacked, UnpackPosition(number, inner))
                    return done
        inner_start = 0
    return done


def _unpack_inner(  # noqa: PLR0913, PLR0917 - both files, and where to go on
    data: bytes,
    outer_name: str,
    done: Unpacking,
    unpacked: Unpacked,
    start: int,
    max_file_bytes: int,
) -> int | None:
    """Unpack the files of a ZIP file within another one; return the next position, None at its end.

    A ZIP file in it is refused.
    """
    try:
        members = ZipMembers(data, _WHAT, unpacked)
    except InvalidRequest as error:
        done.refuse(outer_name, error)
        return None
    names = names_of(members.infos)
    for number in range(start, len(members.infos)):
        inner_name = names[number]
        if inner_name is None:
            continue
        if done.full:
            return number
        name = shortened(f"{outer_name}/{inner_name}")
        content = _content(members, members.infos[number], name, done, max_file_bytes)
        if content is not None and _is_zip(content, name):
            msg = "It is a ZIP file within another one in this ZIP file: upload it by itself."
            done.refuse(name, Unprocessable(msg, code="nested_too_deep"))
        elif content is not None:
            done.add(name, content)
    return None


def _content(
    members: ZipMembers, info: zipfile.ZipInfo, name: str, done: Unpacking, max_file_bytes: int
) -> bytes | None:
    """Return a file of a format that is read; None if it was refused."""
    try:
        if stat.S_ISLNK(info.external_attr >> 16):
            msg = "It is a link to another file, which is not followed."
            raise Unprocessable(msg, code="link")
        content = members.read(info, max_file_bytes)
        detect(content, name)
    except TooLarge as error:
        if members.unpacked.exceeded:
            raise
        done.refuse(name, error)
    except InvalidRequest as error:
        damaged = error.code == _DAMAGED.code
        done.refuse(name, _DAMAGED if damaged else error)
    else:
        return content
    return None


def _is_zip(content: bytes, name: str) -> bool:
    return detect(content, name) is Format.ZIP


def _after(done: Unpacking, unpacked: Unpacked, position: UnpackPosition) -> UnpackPosition:
    """Return a position with the counts of files and bytes before it."""
    files = done.position.files + len(done.files)
    return replace(position, files=files, unpacked_bytes=unpacked.size_bytes)
