"""Search every byte of a folder for a word, in the encodings in which it could be stored."""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

_GROUP = 3  # base64 encodes three bytes as four characters


def files_with(folder: Path, *wanted: str | bytes) -> list[str]:
    """Name the files below a folder that contain a word, or have it in their name.

    Text is looked for as UTF-8, UTF-16, hexadecimal and base64; bytes as they are.
    """
    forms = {form for one in wanted for form in _forms(one)}
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if any(form in _all_of(path, folder) for form in forms)
    )


def _all_of(path: Path, folder: Path) -> bytes:
    content = _written(path) if path.is_file() else b""
    return str(path.relative_to(folder)).encode() + b"\0" + content


def _written(path: Path) -> bytes:
    """Return what has been written to a file, without its holes, which may be far larger."""
    parts, end = [], 0
    with path.open("rb") as file, contextlib.suppress(OSError):  # no data after `end`
        while True:
            start = os.lseek(file.fileno(), end, os.SEEK_DATA)
            end = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            parts.append(os.pread(file.fileno(), end - start, start))
    return b"".join(parts)


def _forms(wanted: str | bytes) -> Iterator[bytes]:
    if isinstance(wanted, bytes):
        yield wanted
        return
    yield from (wanted.encode(encoding) for encoding in ("utf-8", "utf-16-le", "utf-16-be"))
    plain = wanted.encode()
    yield plain.hex().encode()
    for before in range(_GROUP):
        # Only what does not depend on the bytes around it.
        start = -before % _GROUP
        end = start + (len(plain) - start) // _GROUP * _GROUP
        yield base64.b64encode(plain[start:end])
