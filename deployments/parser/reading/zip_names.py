"""Names of the files in a ZIP file: their paths, sanitised and decoded."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Final

from deployments.parser.reading.content import clean
from deployments.text.decoding import decode_text

if TYPE_CHECKING:
    import zipfile
    from collections.abc import Sequence

_LEFTOVERS: Final = frozenset(("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini"))
_UTF_8: Final = 0x800  # a flag of a member
_CP437: Final = "cp437"  # the encoding of the format; programs also use others
_AFTER_WESTERN_CP437: Final = 0xA6  # from here on symbols, which are letters in other encodings
_MAX_NAME_CHARS: Final = 200  # leaves room for a number within the 255 of an exported document


def names_of(infos: Sequence[zipfile.ZipInfo]) -> list[str | None]:
    """Return the paths of members; None for folders and system files."""
    return [
        None if info.is_dir() else _cleaned(name)
        for info, name in zip(infos, _decoded(infos), strict=True)
    ]


def _cleaned(name: str) -> str | None:
    """Return a path without `..`, a root and invisible characters."""
    shown = "".join(sign for sign in clean(name).replace("\\", "/") if sign.isprintable())
    parts = [part for part in PurePosixPath(shown).parts if part not in {"..", "/", "//"}]
    if any(part in _LEFTOVERS or part.startswith("._") for part in parts):
        return None
    return shortened("/".join(parts)) or "unnamed"


def shortened(path: str) -> str:
    """Return the end of a long path, beginning with a whole name of a folder or file."""
    end = path[-_MAX_NAME_CHARS:]
    if len(path) > len(end) and path[-_MAX_NAME_CHARS - 1] != "/":
        end = end.partition("/")[2] or end
    return end


def _decoded(infos: Sequence[zipfile.ZipInfo]) -> list[str]:
    """Return the names of members, of which `zipfile` decodes all but UTF-8 as CP437."""
    names = [info.filename for info in infos]
    unmarked = [
        number
        for number, info in enumerate(infos)
        if not info.flag_bits & _UTF_8 and not info.filename.isascii()
    ]
    try:
        raw = [names[number].encode(_CP437).replace(b"\n", b" ") for number in unmarked]
    except UnicodeEncodeError:
        return names
    if not raw or all(sign < _AFTER_WESTERN_CP437 for sign in b"".join(raw)):
        return names
    # All at once, as a name alone is too short to guess its encoding.
    decoded = decode_text(b"\n".join(raw)).split("\n")
    if len(decoded) == len(raw):
        for number, name in zip(unmarked, decoded, strict=True):
            names[number] = name
    return names
