"""Members of a ZIP file, read with bounds that do not trust what the file declares."""

from __future__ import annotations

import io
import lzma
import posixpath
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from deployments.errors import TooLarge, Unprocessable
from deployments.parser.reading.xml_trees import damaged, parse_xml

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deployments.parser.reading.xml_trees import XmlElement

MAX_MEMBERS: Final = 20_000
MAX_UNPACKED_BYTES: Final = 400 * 1024**2
"""Of all members of a file together, with those of ZIP files in it."""
_BLOCK_BYTES: Final = 1 << 20
_DIRECTORY_MAGIC: Final = b"PK\x01\x02"
_ENCRYPTED: Final = 1  # a flag of a member
_DAMAGE: Final = (
    *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError, OSError),
    *(RuntimeError, lzma.LZMAError),
)


@dataclass(slots=True)
class Unpacked:
    """Counts the unpacked bytes of one uploaded file; raises TooLarge at the limit."""

    size_bytes: int = 0

    @property
    def exceeded(self) -> bool:
        """Whether the limit is reached."""
        return self.size_bytes > MAX_UNPACKED_BYTES

    def add(self, size_bytes: int) -> None:
        """Count some bytes."""
        self.size_bytes += size_bytes
        if self.exceeded:
            msg = (
                f"The file unpacks to more than {MAX_UNPACKED_BYTES // 1024**2} MB, far more than "
                "a document of text has."
            )
            raise TooLarge(msg)


class ZipMembers:
    """Reads members by their names."""

    def __init__(
        self, data: bytes, what: str = "This file", unpacked: Unpacked | None = None
    ) -> None:
        """Read the directory.

        Raises:
            TooLarge: there are more than `MAX_MEMBERS`.
            Unprocessable: it is no ZIP file, or damaged.
        """
        if data.count(_DIRECTORY_MAGIC) > MAX_MEMBERS:  # quicker than reading them
            msg = f"The file has more than {MAX_MEMBERS:,} files in it. Split it and try again."
            raise TooLarge(msg)
        self._what = what
        self.unpacked = unpacked or Unpacked()
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
        except (zipfile.BadZipFile, ValueError, NotImplementedError, OSError) as error:
            raise damaged(what) from error
        self.infos = self._archive.infolist()
        self._by_name = {info.filename: info for info in self.infos}

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def names(self, prefix: str = "") -> Iterator[str]:
        """Yield the names that begin with `prefix`, in the order of the file."""
        return (info.filename for info in self.infos if info.filename.startswith(prefix))

    def read(self, member: str | zipfile.ZipInfo, max_bytes: int | None = None) -> bytes:
        """Return the content of a member.

        Raises:
            TooLarge: all that was read is more than `MAX_UNPACKED_BYTES`, or the member is larger
                than `max_bytes`.
            Unprocessable: there is no such member, or it is damaged (`damaged_document`) or
                encrypted (`encrypted_document`).
        """
        info = self._info(member)
        if max_bytes is not None and info.file_size > max_bytes:  # what no reader exceeds
            msg = f"It is larger than {max_bytes:,} bytes, the most that are read of a file."
            raise TooLarge(msg)
        blocks = []
        try:
            with self._archive.open(info) as file:
                while block := file.read(_BLOCK_BYTES):
                    self.unpacked.add(len(block))
                    blocks.append(block)
        except _DAMAGE as error:
            raise damaged(self._what) from error
        return b"".join(blocks)

    def read_bounded(self, name: str, max_bytes: int) -> bytes:
        """Return the content of a member that does not count for `MAX_UNPACKED_BYTES`.

        Raises TooLarge if it is longer than `max_bytes`, else as `read` does.
        """
        info = self._info(name)
        try:
            with self._archive.open(info) as file:
                content = file.read(max_bytes + 1) if info.file_size <= max_bytes else None
        except _DAMAGE as error:
            raise damaged(self._what) from error
        if content is None or len(content) > max_bytes:
            msg = f"{self._what} has a part of more than {max_bytes:,} bytes."
            raise TooLarge(msg)
        return content

    def _info(self, member: str | zipfile.ZipInfo) -> zipfile.ZipInfo:
        info = self._by_name.get(member) if isinstance(member, str) else member
        if info is None:
            raise damaged(self._what)
        if info.flag_bits & _ENCRYPTED:
            msg = f"{self._what} is protected by a password. Save it without one and try again."
            raise Unprocessable(msg, code="encrypted_document")
        return info

    def xml(self, name: str) -> XmlElement:
        """Return the root of a member that is XML; see `parse_xml` for what is raised."""
        return parse_xml(self.read(name), self._what)

    def xml_if_any(self, name: str) -> XmlElement | None:
        """Return the root of a member that is XML; None if there is none, or it is damaged."""
        if name not in self:
            return None
        try:
            return self.xml(name)
        except Unprocessable:
            return None

    def check_sizes(self) -> None:
        """Unpack all members once, for a library that reads them without bounds."""
        unpacked = Unpacked()
        for info in self.infos:
            try:
                with self._archive.open(info) as file:
                    while block := file.read(_BLOCK_BYTES):
                        unpacked.add(len(block))
            except TooLarge:
                raise
            except Exception as error:
                raise damaged(self._what) from error

    def related(self, part: str) -> dict[str, tuple[str, str]]:
        """Return type and path of the parts that an Office part refers to, by their ids."""
        folder, name = posixpath.split(part)
        root = self.xml_if_any(f"{folder}/_rels/{name}.rels")
        found = {}
        for each in root if root is not None else ():
            if each.get("TargetMode") != "External":
                target = each.get("Target") or ""
                path = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
                found[each.get("Id") or ""] = (each.get("Type", "").rpartition("/")[2], path)
        return found
