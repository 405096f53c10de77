"""Read Markdown: its title is that of the front matter, or the first top-level heading."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from deployments.parser.reading.binary_text import without_data
from deployments.parser.reading.content import (
    Content,
    Heading,
    check_text,
    clean,
    one_line,
    title_of_filename,
)
from deployments.parser.reading.formats import Format, decode
from deployments.parser.reading.titles import tidy_title

if TYPE_CHECKING:
    from collections.abc import Iterator

FRONT_MATTER: Final = re.compile(
    r"---[ \t]*\n\w[^\n:]*:.*\n(?:.*\n){0,99}?(?:---|\.\.\.)[ \t]*(?:\n|$)"
    r"|\+\+\+[ \t]*\n\w[^\n=]*=.*\n(?:.*\n){0,99}?\+\+\+[ \t]*(?:\n|$)"
)
"""Metadata at the beginning of a file, in YAML or TOML."""
_TITLE: Final = re.compile(r"^title[ \t]*[:=][ \t]*(\S.*)$", re.MULTILINE | re.IGNORECASE)
_HTML_HEADING: Final = re.compile(r"<h1(?:\s[^<>]{0,500})?>([^\n]{1,500}?)</h1>", re.IGNORECASE)
_HTML_TAG: Final = re.compile(r"<[^<>]{0,500}>")
_IMAGE: Final = re.compile(r"!\[[^\[\]]{0,200}\]\([^()\s]{0,500}\)")
_LINK: Final = re.compile(r"\[([^\[\]]{0,200})\]\([^()\s]{0,500}\)")
_FENCE: Final = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_ATX: Final = re.compile(r" {0,3}(#{1,6})[ \t]+(\S.*)")
_UNDERLINE: Final = re.compile(r" {0,3}(=+|-+) *")
_MAX_SETEXT_CHARS: Final = 200


def read_markdown(data: bytes, filename: str, *, max_chars: int) -> Content:
    """Read Markdown; the text stays as it is, but for pictures that are written in it."""
    text = clean(without_data(decode(data)))
    check_text(text, max_chars)
    title = _front_title(text) or _heading_title(text)
    return Content(title or title_of_filename(filename), Format.MARKDOWN, text, markdown=True)


def markdown_headings(text: str) -> Iterator[Heading]:
    """Yield the headings of a text, those in fenced code left out."""
    front = FRONT_MATTER.match(text)
    start = front.end() if front else 0
    fence = ""
    above: tuple[int, str] | None = None  # a line that may be underlined
    for raw in text[start:].split("\n"):
        end = start + len(raw)
        found = _FENCE.match(raw)
        if fence:
            if found and found[1].startswith(fence) and not found[2].strip():
                fence = ""
            above = None
        elif found and not (found[1][0] == "`" and "`" in found[2]):
            fence, above = found[1], None
        elif heading := _ATX.fullmatch(raw):
            title = one_line(re.sub(r"[ \t]+#+[ \t]*$", "", heading[2]))
            if title.strip("#"):
                yield Heading(start, end, len(heading[1]), title)
            above = None
        elif above and _UNDERLINE.fullmatch(raw):
            yield Heading(above[0], end, 1 if "=" in raw else 2, one_line(above[1]))
            above = None
        else:
            prose = raw.strip() and len(raw) <= _MAX_SETEXT_CHARS and not raw.startswith("    ")
            # A paragraph of several lines is no heading, nor is a quote or a list.
            alone = above is None and start_of_paragraph(text, start)
            above = (start, raw) if prose and alone and raw.lstrip()[0] not in ">|-*+" else None
        start = end + 1


def start_of_paragraph(text: str, start: int) -> bool:
    """Tell whether no text is on the line above an offset."""
    return start == 0 or not text[text.rfind("\n", 0, max(start - 1, 0)) + 1 : start].strip()


def _front_title(text: str) -> str:
    front = FRONT_MATTER.match(text)
    found = _TITLE.search(front[0]) if front else None
    title = found[1].strip() if found else ""
    if title[:1] in {'"', "'"} and title[:1] == title[-1:]:
        title = title[1:-1]
    return one_line(title)


def _heading_title(text: str) -> str:
    """Return the first top-level heading, which may be written in HTML."""
    for each in markdown_headings(text):
        title = one_line(_LINK.sub(r"\1", _IMAGE.sub("", each.title)))
        if each.level == 1 and tidy_title(title):
            return title  # with its emphasis, as in the text
    found = _HTML_HEADING.search(text)
    return tidy_title(_HTML_TAG.sub("", found[1])) if found else ""
