"""Tar headers (ustar): of regular files with short names, and nothing else.

`tarfile` reads far more than an archive of a collection needs: extended headers of any length,
sparse files, links, devices and sizes in base 256.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from deployments.errors import Unprocessable

BLOCK_BYTES = 512
MAX_MEMBER_BYTES = 8**11 - 1
"""The largest size that 11 octal digits hold, 8 GiB."""
END = bytes(2 * BLOCK_BYTES)
"""Two blocks of zeros, the last bytes of an archive."""
BAD_ARCHIVE = "bad_archive"
"""Code of the error for an archive that cannot be imported."""

_NAME = re.compile(rb"[a-z0-9_.-]+(?:/[a-z0-9_.-]+)*")
_OCTAL = re.compile(rb"[0-7]{11}[\0 ]")
_CHECKSUM = slice(148, 156)
_SIGNATURE = b"ustar\0" + b"00"
_GZIP = b"\x1f\x8b"
_REGULAR = (b"0", b"\0")


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive."""

    name: str
    size_bytes: int

    @property
    def padding_bytes(self) -> int:
        """Return the number of zeros between its content and the next header."""
        return -self.size_bytes % BLOCK_BYTES


def bad_archive(reason: str) -> Unprocessable:
    """Return the error for an archive that cannot be imported."""
    msg = f"This archive cannot be imported: {reason}."
    return Unprocessable(msg, code=BAD_ARCHIVE)


def encode(member: Member) -> bytes:
    """Return the header of a member; raise ValueError if it has no room for name or size."""
    name = member.name.encode("ascii")
    if len(name) > 100 or not 0 <= member.size_bytes <= MAX_MEMBER_BYTES:  # noqa: PLR2004 - ustar
        msg = f"{member.name} does not fit into a tar header"
        raise ValueError(msg)
    header = bytearray(BLOCK_BYTES)
    header[: len(name)] = name
    header[100:108] = b"0000644\0"
    header[108:116] = header[116:124] = b"0000000\0"
    header[124:136] = b"%011o\0" % member.size_bytes
    header[136:148] = b"00000000000\0"
    header[156:157] = b"0"
    header[257:265] = _SIGNATURE
    header[_CHECKSUM] = b"%06o\0 " % _checksum(header)
    return bytes(header)


def decode(header: bytes) -> Member | None:
    """Read a header; None for a block of zeros, with which an archive ends.

    Raises Unprocessable for what is not the header of a regular file.
    """
    if not any(header):
        return None
    if header.startswith(_GZIP):
        msg = "it is compressed: unpack it with gunzip first"
        raise bad_archive(msg)
    stored = header[_CHECKSUM].rstrip(b"\0 ")
    if header[257:265] != _SIGNATURE or stored != b"%06o" % _checksum(header):
        msg = "it is not a tar file in the form of ustar, or is damaged"
        raise bad_archive(msg)
    name = header[:100].rstrip(b"\0")
    if not _NAME.fullmatch(name) or any(header[345:500]):
        msg = "a member has a name that does not belong into an archive of a collection"
        raise bad_archive(msg)
    shown = name.decode("ascii")
    if header[156:157] not in _REGULAR or any(header[157:257]):
        msg = f"{shown} is not a regular file"
        raise bad_archive(msg)
    if not _OCTAL.fullmatch(header[124:136]):
        msg = f"the size of {shown} cannot be read"
        raise bad_archive(msg)
    return Member(shown, int(header[124:135], 8))


def _checksum(header: bytes | bytearray) -> int:
    return sum(header) - sum(header[_CHECKSUM]) + 8 * ord(" ")
