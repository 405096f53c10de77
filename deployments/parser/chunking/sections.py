"""The headings that stand above a place in a text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deployments.parser.reading.content import MAX_SECTION_CHARS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from deployments.parser.chunking.blocks import Block

_JOINT = " > "


def sections_at(starts: Iterable[int], blocks: Sequence[Block], title: str) -> list[str]:
    """Name the sections in which some places lie.

    Args:
        starts: the places, in ascending order. A heading that begins at one is not above it.
        blocks: those of the text.
        title: the document's, which is not repeated.

    Returns:
        The headings above each place, outermost first, joined by " > ", of at most
        `MAX_SECTION_CHARS`: the innermost of them.
    """
    headings = [block for block in blocks if block.level]
    path: list[Block] = []
    sections = []
    read = 0
    for start in starts:
        while read < len(headings) and headings[read].start <= start:
            heading = headings[read]
            while path and path[-1].level >= heading.level:
                path.pop()
            path.append(heading)
            read += 1
        sections.append(_joined([h.title for h in path if h.start < start], title))
    return sections


def _joined(headings: Sequence[str], title: str) -> str:
    parts = [heading for heading in headings if heading and not _begins(title, heading)]
    while len(parts) > 1 and len(_JOINT.join(parts)) > MAX_SECTION_CHARS:
        parts = parts[1:]
    return _JOINT.join(parts)[:MAX_SECTION_CHARS].rstrip()


def _begins(title: str, heading: str) -> bool:
    """Tell whether the title says it already: a web page's goes on with the name of the site."""
    return f"{title} ".casefold().startswith(f"{heading} ".casefold())
