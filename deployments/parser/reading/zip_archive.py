"""Read ZIP files as one document: each file in it is a section, named by its path.

For ZIP files attached to a vector store or a mail, and those stored by earlier versions of this
service. `unpacking` makes a document of each file in an uploaded one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from deployments.errors import Unprocessable
from deployments.parser.reading.content import title_of_filename
from deployments.parser.reading.formats import Format
from deployments.parser.reading.nested import Unread, Within, add_file
from deployments.parser.reading.outlined_text import OutlinedText
from deployments.parser.reading.zip_members import ZipMembers
from deployments.parser.reading.zip_names import names_of
from deployments.types import DocumentWarning, WarningCode

if TYPE_CHECKING:
    from deployments.parser.reading.content import Content

_WHAT: Final = "This ZIP file"


def read_zip(data: bytes, filename: str, *, max_chars: int, within: Within) -> Content:
    """Read all files in a ZIP file, but for the leftovers of operating systems.

    Raises:
        TooLarge: it has too many files, or unpacks to too much.
        Unprocessable: none of its files could be read (`no_text`), or all of them are
            protected by a password (`encrypted_document`).
    """
    members = ZipMembers(data, _WHAT, within.unpacked)
    text = OutlinedText(max_chars)
    unread = Unread()
    warnings: list[DocumentWarning] = []
    encrypted: Unprocessable | None = None
    for info, name in zip(members.infos, names_of(members.infos), strict=True):
        if name is None:
            continue
        try:
            content = members.read(info)
        except Unprocessable as error:
            encrypted = error if error.code == "encrypted_document" else encrypted
            unread.note(name)
            continue
        warnings += add_file(text, content, name, within, unread, heading=name, max_chars=max_chars)
    if unread.names:
        warnings.append(unread.warning(WarningCode.PARTLY_READ, "files"))
    if text.blank:
        if encrypted is not None:
            raise encrypted
        named = f": {unread.listed()}" if unread.names else ""
        msg = f"None of the {unread.total} files in this ZIP file could be read{named}."
        raise Unprocessable(msg, code="no_text")
    return text.content(title_of_filename(filename), Format.ZIP, warnings)
