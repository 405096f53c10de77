"""Read files within a file: attachments of mails and members of archives."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from deployments.errors import InvalidRequest, TooLarge, Unprocessable
from deployments.parser.reading.embedded_pictures import Pictures
from deployments.parser.reading.zip_members import Unpacked
from deployments.types import DocumentWarning, WarningCode

if TYPE_CHECKING:
    from collections.abc import Callable

    from deployments.parser.reading.content import Content, Heading
    from deployments.parser.reading.outlined_text import OutlinedText

MAX_DEPTH: Final = 3
"""A file in a ZIP file that is attached to a mail lies at depth 2."""
MAX_FILES: Final = 5_000
"""Read within one uploaded file."""
_MAX_NAMED: Final = 10  # in a warning


@dataclass(slots=True)
class Unread:
    """The files that were not read, with the reasons."""

    names: list[str] = field(default_factory=list)
    total: int = 0

    def note(self, name: str) -> None:
        """Note a file that is not even tried."""
        self.total += 1
        self.names.append(name)

    def warning(self, code: str, what: str) -> DocumentWarning:
        """Return the warning that names them; `what` is the plural of what they are."""
        message = f"{len(self.names)} of {self.total} {what} were not read: {self.listed()}."
        return DocumentWarning(code, message)

    def listed(self) -> str:
        """Return the first names."""
        return _first(self.names)


@dataclass(frozen=True, slots=True)
class Within:
    """What is shared by all files within one uploaded file.

    `read_file` reads one from its content and name, up to so many characters.
    """

    read_file: Callable[[bytes, str, Within, int], Content]
    max_pages: int = 2000
    depth: int = 0
    unpacked: Unpacked = field(default_factory=Unpacked)
    pictures: Pictures = field(default_factory=Pictures)
    read: list[str] = field(default_factory=list)

    def deeper(self) -> Within:
        """Return the same for what lies one level deeper."""
        return replace(self, depth=self.depth + 1)


def add_file(  # noqa: PLR0913 - what a nested file needs
    text: OutlinedText,
    data: bytes,
    name: str,
    within: Within,
    unread: Unread,
    *,
    heading: str,
    max_chars: int,
) -> tuple[DocumentWarning, ...]:
    """Add the text of a file below a heading; return its warnings.

    What cannot be read is noted in `unread`. TooLarge is raised only for the bounds that all files
    share: what they unpack to, and the length of the text of all.
    """
    unread.total += 1
    if within.depth >= MAX_DEPTH or len(within.read) >= MAX_FILES:
        unread.names.append(name)
        return ()
    within.read.append(name)
    try:
        content = within.read_file(data, name, within.deeper(), max_chars)
    except TooLarge:
        if within.unpacked.exceeded:
            raise
        unread.names.append(f"{name} (too large)")
        return ()
    except InvalidRequest as error:
        if not (isinstance(error, Unprocessable) and error.code in {"empty_file", "no_text"}):
            reason = " (a small picture)" if error.code == "small_image" else ""
            unread.names.append(f"{name}{reason}")
        return ()
    except (MemoryError, RecursionError):
        raise
    except Exception:  # noqa: BLE001 - a library met a damaged file: the others are read
        unread.names.append(name)
        return ()
    if not content.text.strip():
        reason = " (no text but in pictures)" if content.ocr_wanted else ""
        unread.names.append(f"{name}{reason}")
        return ()
    text.heading(heading)
    text.append(content, 1)
    return tuple(
        DocumentWarning(each.code, f"{name}: {each.message}{_named_pages(each.pages)}")
        for each in content.warnings
        if each.code != WarningCode.PAGES_BY_OCR  # one warning counts all pictures
    )


def _named_pages(pages: tuple[int, ...]) -> str:
    if not pages:
        return ""
    return f" Pages: {_first(list(map(str, pages)))}."


def _first(names: list[str]) -> str:
    more = len(names) - _MAX_NAMED
    return ", ".join(names[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def headings_of(content: Content) -> tuple[Heading, ...]:
    """Return the headings of a text, also of one in Markdown."""
    if content.outline is not None:
        return content.outline
    if not content.markdown:
        return ()
    from deployments.parser.reading.markdown import markdown_headings

    return tuple(markdown_headings(content.text))
